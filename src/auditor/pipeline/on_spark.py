"""Audits on Apache Spark: the engine with the steps and the rules."""

from __future__ import annotations

from typing import Any

from auditor.engine.spark import inputs, partitions, session
from auditor.engine.spark.reading import Reading
from auditor.pipeline import Audit, Run, orders_of
from auditor.pipeline.partition import Context, Partition
from auditor.settings import Settings


def audit(
    data: Any,
    settings: Settings,
    *,
    spark: Any = None,
    update_baseline: bool = False,
    partitions: int | None = None,
    scratch: str | None = None,
) -> Audit:
    """Audit what ``auditor.engine.spark.audit`` describes; ``update_baseline`` as for ``auditor.pipeline.audit``."""
    run = Run(settings, is_update=update_baseline)
    session.require()
    own = spark or getattr(data, "sparkSession", None) or session.start(settings.master)
    return _audit(run, data, session.Session(own, scratch=scratch), partitions)


def _audit(run: Run, data: Any, at_work: session.Session, count: int | None) -> Audit:
    context = Context(orders_of(run.settings), run.book)
    with at_work.configured():
        given = inputs.inputs_of(data, at_work, run.lexicon, run.settings.used_mappings)
        count = count or partitions.partitions_for(given)
        there = partitions.Partitions(at_work, partitions.Making(context, Partition), count)
        try:
            loaded = there.read(given, Reading(run.lexicon, run.settings.used_mappings, count))
            return run.audit_partitions(there, loaded)
        finally:
            there.close()
