"""One answer on an export that is worth several processes: the benchmark's, 200,000 spans, 200 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auditor.engine.local import Partitions
from auditor.model.report import Report
from auditor.pipeline import audit
from auditor.report.json_v1 import digest
from auditor.settings import Settings

GENERATOR = Path(__file__).parents[2] / "bench" / "generate.py"
SPANS = 200_000
PLENTY, LITTLE = 1 << 40, 64 << 20
"""Bytes of memory: more than enough, and the least that the command takes."""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "spans.jsonl"
    subprocess.run([sys.executable, str(GENERATOR), "--spans", str(SPANS), "--out", str(path)], check=True)
    return path


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Of each step that partitions take: how many processes there are, and whether partitions are stored between."""
    seen: list[tuple[int, bool]] = []
    each = Partitions.each

    def noted(self: Partitions, *step: Any) -> list[Any]:
        told = each(self, *step)
        seen.append((len(self._workers), self._is_stored))
        return told

    monkeypatch.setattr(Partitions, "each", noted)
    return seen


def said(path: Path, export: Path, **options: Any) -> str:
    """The digest of an audit in this process and those that it starts."""
    save_columns = options.pop("save_columns", None)
    report = audit([str(path)], Settings(**options), keep_calls=False, save_columns=save_columns).report
    return checked(report, export)


def checked(report: Report, export: Path) -> str:
    """The digest of a report that holds what was planted."""
    truth = json.loads(export.with_name(export.name + ".truth.json").read_bytes())
    assert (report.totals.spans, report.totals.calls) == (truth["spans"], truth["totals"]["calls"])
    return digest(report)


@pytest.fixture(scope="module")
def answer(export: Path) -> str:
    """Of one process that holds everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Partitions, "each")
        return said(export, export, jobs=1, memory=PLENTY)


def test_200_000_spans_have_one_answer(
    export: Path, answer: str, engines: list[tuple[int, bool]], tmp_path: Path
) -> None:
    columns = tmp_path / "columns"

    assert said(export, export, jobs=2, memory=PLENTY, save_columns=columns) == answer
    assert set(engines) == {(2, False)}
    engines.clear()

    assert said(export, export, jobs=2, memory=LITTLE) == answer
    assert set(engines) == {(2, True)}

    assert said(columns, export, jobs=1, memory=PLENTY) == answer


# Spark's own sockets and processes are not ours to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_they_have_it_on_spark_too(export: Path, answer: str, spark: Any) -> None:
    from auditor.engine.spark import audit as audit_on_spark  # noqa: PLC0415  # needs pyspark

    assert checked(audit_on_spark(str(export), Settings(), spark=spark), export) == answer
