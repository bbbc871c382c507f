"""Audits on Apache Spark, for traces that lie in a lake: ``audit`` is the function for notebooks and ``spark-submit``.

Executors read and work on partitions in Python (``mapInArrow``, ``applyInArrow``), Spark moves the data between them,
and the rules run once, on the driver. Nothing but the DataFrame API is used, so that managed, serverless and remote
(Spark Connect) sessions do as well. Executors need this package and nothing else of the driver's. See docs/spark.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from auditor.model.report import Report
from auditor.settings import Settings

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


def audit(
    data: Any | Paths,
    settings: Settings | None = None,
    *,
    spark: Any = None,
    partitions: int | None = None,
    scratch: str | None = None,
) -> Report:
    """Audit a Spark DataFrame, or paths, and return the report; the one that ``audit`` gives for the same spans.

    A DataFrame holds one of the tables that are read as Parquet (such as ``otel_traces``), or records as lines of JSON
    in a column ``value``. Paths are files that all executors reach under the same name, in any format that is read
    here, or addresses with a scheme (``s3a://…``) of Parquet or of records a line.

    Without ``settings`` the defaults hold. ``spark`` is the session; the DataFrame's own, the active one, or a new one
    where it is not given. ``partitions`` overrides how many there are. ``scratch`` is an address where states are
    written between rounds, for platforms that cannot persist; what was written is emptied at the end.

    Raises ``InputError`` when nothing is readable or no call is found, ``SettingsError`` for settings that cannot be
    followed or where Spark cannot be started, ``SparkFailedError`` when Spark gives up.
    """
    from auditor.pipeline.on_spark import audit as run  # noqa: PLC0415  # the one import upwards: see pyproject.toml

    return run(data, settings or Settings(), spark=spark, partitions=partitions, scratch=scratch).report
