"""Formats that a CI reads: where they go, beside what else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_builders import Audit, Pipeline

from auditor.cli import output


def test_annotations_follow_the_terminal_report(audit: Audit) -> None:
    done = audit("a.json", "-f", "github")

    *report, last = done.out.splitlines()
    assert last.startswith("::notice title=trace-auditor::31.4 %25 of $10.00 has no tenant")
    assert any("31.4 %" in line for line in report)
    assert not any(line.startswith("::") for line in report)


def test_annotations_stand_alone_when_quiet(audit: Audit) -> None:
    done = audit("a.json", "-q", "-f", "github")

    assert done.out.startswith("::notice ")
    assert len(done.out.splitlines()) == 1


def test_annotations_follow_another_report_on_stdout(audit: Audit) -> None:
    done = audit("a.json", "-f", "github", "-f", "markdown")

    assert done.out.startswith("### ")
    assert done.out.splitlines()[-1].startswith("::notice ")


def test_the_summary_is_added_to_the_file_that_github_names(
    audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "summary.md").write_text("from the step before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(home / "summary.md"))

    done = audit("a.json", "-q", "-f", "github-summary")

    assert (done.code, done.out, done.err) == (0, "", "")
    text = (home / "summary.md").read_text()
    assert text.startswith("from the step before\n### ")
    assert "31.4 % of $10.00 has no tenant" in text


def test_without_being_asked_nothing_is_written_to_the_summary(
    audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(home / "summary.md"))

    audit("a.json", "-f", "github")

    assert not (home / "summary.md").exists()


def test_a_summary_without_its_variable_is_refused_before_the_work(audit: Audit, pipeline: Pipeline) -> None:
    done = audit("a.json", "-f", "github-summary")

    assert done.code == 2
    assert done.err.startswith("audit: GITHUB_STEP_SUMMARY is not set\nhint: ")
    assert not pipeline.calls


def test_all_formats_at_once(audit: Audit, home: Path) -> None:
    names = ("json", "markdown", "sarif", "junit", "github", "github-summary", "gitlab", "openmetrics", "otlp")

    done = audit("a.json", "-q", *(part for name in names for part in ("-f", f"{name}={name}.out")))

    assert (done.code, done.out, done.err) == (0, "", "")
    assert sorted(path.name for path in home.iterdir()) == sorted(f"{name}.out" for name in names)
    assert json.loads((home / "sarif.out").read_text())["version"] == "2.1.0"


@pytest.mark.parametrize(("formats", "wanted"), [(["otlp=a"], False), (["otlp=a", "sarif=b"], True), ([], False)])
def test_inputs_are_read_again_only_for_formats_that_name_places(
    home: Path, formats: list[str], *, wanted: bool
) -> None:
    assert home.is_dir()

    assert output.wants_places(output.plan(formats)) is wanted
