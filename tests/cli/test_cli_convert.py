"""``audit convert``: what it reads and refuses, and where it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_builders import Audit, Pipeline, a_report

from auditor.model.report import Readiness
from auditor.report import Screen, json_v1, renderer
from auditor.report.json_v1 import render

FIELDS = (
    "tenant_id user_id workflow_id environment feature input_tokens output_tokens cache_read_tokens cache_write_tokens"
)
REPORT = a_report(exit_code=1, readiness=tuple(Readiness(name, 0.5, 0.5) for name in FIELDS.split()))


@pytest.fixture
def saved(home: Path) -> Path:
    path = home / "audit.json"
    path.write_bytes(render(REPORT))
    return path


def test_a_saved_report_is_written_in_other_formats(audit: Audit, saved: Path, home: Path, pipeline: Pipeline) -> None:
    done = audit("convert", saved, "-q", "-f", "sarif=a.sarif", "-f", "markdown=a.md")

    assert (done.code, done.out, done.err) == (0, "", "")
    assert (home / "a.md").read_bytes() == renderer("markdown")(REPORT, Screen())
    assert (home / "a.sarif").read_bytes() == renderer("sarif")(REPORT, Screen())
    assert not pipeline.calls


def test_without_a_format_it_is_shown(audit: Audit, saved: Path) -> None:
    assert "31.4 %" in audit("convert", saved).out


def test_it_reads_stdin(process: Audit, saved: Path) -> None:
    done = process("convert", "-", "-f", "json", stdin=saved.read_bytes())

    assert (done.code, done.out.encode(), done.err) == (0, saved.read_bytes(), "")


def test_a_report_that_was_changed_is_said_to_be(audit: Audit, saved: Path) -> None:
    document = json.loads(saved.read_bytes())
    document["totals"]["calls"] += 1
    saved.write_text(json.dumps(document))

    assert "does not have the digest" in audit("convert", saved).err
    assert not audit("convert", saved, "-q", "-f", "github").err


def test_it_does_not_overwrite_what_it_reads(audit: Audit, saved: Path) -> None:
    done = audit("convert", saved, "-f", f"markdown={saved}")

    assert done.code == 2
    assert saved.read_bytes() == json_v1.render(REPORT)


@pytest.mark.parametrize("name", ["gone.json", "."])
def test_what_cannot_be_read_is_named(audit: Audit, name: str) -> None:
    done = audit("convert", name)

    assert done.code == 3
    assert done.err.startswith(f"audit: {name}: ")


def test_traces_are_no_report(audit: Audit, home: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "fixtures/exports/samples/otlp-logfire-openai.json", home / "traces.json")

    done = audit("convert", "traces.json")

    assert done.code == 3
    assert done.err.startswith("audit: traces.json: not a report: ")
