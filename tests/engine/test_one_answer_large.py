"""One answer on an export that is worth several processes: the benchmark's, 200,000 spans, 200 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auditor.engine.local import Partitions
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


def test_200_000_spans_have_one_answer(export: Path, engines: list[tuple[int, bool]], tmp_path: Path) -> None:
    truth = json.loads(export.with_name(export.name + ".truth.json").read_bytes())
    columns = tmp_path / "columns"

    def said(path: Path, *, jobs: int, memory: int, save_columns: Path | None = None) -> str:
        settings = Settings(jobs=jobs, memory=memory)
        report = audit([str(path)], settings, keep_calls=False, save_columns=save_columns).report
        assert (report.totals.spans, report.totals.calls) == (truth["spans"], truth["totals"]["calls"])
        return digest(report)

    wanted = said(export, jobs=1, memory=PLENTY)
    assert engines == []

    assert said(export, jobs=2, memory=PLENTY, save_columns=columns) == wanted
    assert set(engines) == {(2, False)}
    engines.clear()

    assert said(export, jobs=2, memory=LITTLE) == wanted
    assert set(engines) == {(2, True)}

    assert said(columns, jobs=1, memory=PLENTY) == wanted
