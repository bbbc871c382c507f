"""``audit FILES``: what reaches the pipeline, and where the report goes."""

from __future__ import annotations

import json
import os
import stat
from decimal import Decimal
from pathlib import Path

import pytest
from cli_builders import Audit, Pipeline, a_report

from auditor.cli import output
from auditor.cli.progress import Progress
from auditor.model.report import Confidence


def test_flags_become_settings(audit: Audit, pipeline: Pipeline) -> None:
    done = audit(
        "a.json", "b", "--tenant-key", "org", "--tenant-key", "team", "--rollup", "request",
        "--pricing", "p.toml", "--cost-source", "reported", "--rules", "r.py", "--max-unattributed", "5%",
        "--max-unattributed-usd", "12.5", "--max-lost", "0.02", "--max-unmetered", "none",
        "--max-unpriced", "1%",
        "--fail-on", "likely", "--fail-on", "async-drop=certain", "--exit-zero", "--strict", "--hash-ids",
    )  # fmt: skip

    assert (done.code, done.err) == (0, "")
    assert pipeline.paths == ["a.json", "b"]
    settings = pipeline.settings
    assert settings.tenant_keys == ("org", "team")
    assert settings.rollup == "request"
    assert settings.pricing == Path("p.toml")
    assert settings.cost_source == "reported"
    assert settings.rules_paths == (Path("r.py"),)
    assert settings.gate.max_unattributed == Decimal("0.05")
    assert settings.gate.max_unattributed_usd == 12_500_000_000_000
    assert settings.gate.max_lost == Decimal("0.02")
    assert settings.gate.max_unmetered is None
    assert settings.gate.max_unpriced == Decimal("0.01")
    assert settings.rule("header-stripping").fail_on is Confidence.LIKELY
    assert settings.rule("async-drop").fail_on is Confidence.CERTAIN
    assert settings.exit_zero
    assert settings.strict
    assert settings.hash_ids


def test_no_strict_beats_ci(audit: Audit, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    audit("a.json")
    assert pipeline.settings.strict

    audit("a.json", "--no-strict")
    assert not pipeline.settings.strict


def test_variables_name_the_file_the_formats_and_the_limits(
    audit: Audit, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    (home / "other.toml").write_text("hash_ids = true\n")
    monkeypatch.setenv("AUDITOR_CONFIG", "other.toml")
    monkeypatch.setenv("AUDITOR_FORMAT", "json=a.json markdown=b.md")
    monkeypatch.setenv("AUDITOR_MAX_LOST", "7%")

    assert audit("x.json").code == 0

    assert pipeline.settings.hash_ids
    assert pipeline.settings.gate.max_lost == Decimal("0.07")
    assert json.loads((home / "a.json").read_bytes())["schema_version"]
    assert (home / "b.md").exists()


def test_the_terminal_report_goes_to_stdout_beside_files(audit: Audit, home: Path) -> None:
    done = audit("x.json", "-f", "json=a.json", "-f", "markdown=b.md")

    assert "31.4 %" in done.out
    assert sorted(path.name for path in home.iterdir()) == ["a.json", "b.md"]


def test_one_other_format_can_have_stdout(audit: Audit) -> None:
    assert json.loads(audit("x.json", "-f", "json").out)["schema_version"]
    assert json.loads(audit("x.json", "--format", "json=-").out)["schema_version"]


def test_quiet_says_nothing_that_was_not_asked_for(audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_MY_OWN_VARIABLE", "1")

    assert audit("x.json").err == "note: AUDITOR_MY_OWN_VARIABLE is not a setting and is ignored\n"
    done = audit("x.json", "--quiet", "-f", "json=a.json")

    assert (done.out, done.err) == ("", "")
    assert (home / "a.json").exists()
    assert json.loads(audit("x.json", "-q", "-f", "json").out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "json", "-f", "markdown"], "only one format can go to stdout"),
        (["-f", "jsn"], "no report format is called 'jsn'"),
        (["-f", "json="], "-f json= names no file"),
        (["-f", "json=x.json"], "x.json is an input; writing there would destroy it"),
        (["-f", "json=./link"], "link is an input; writing there would destroy it"),
        (["-f", "json=a", "-f", "markdown=./a"], "two formats are to be written to a"),
        (["-f", "json=folder"], "folder is a directory"),
        (["-f", "json=gone/a.json"], "gone/a.json: there is no directory"),
    ],
)
def test_a_place_of_no_use_is_refused_before_the_work(
    arguments: list[str], message: str, audit: Audit, pipeline: Pipeline, home: Path
) -> None:
    (home / "x.json").write_text("{}")
    (home / "link").symlink_to("x.json")
    (home / "folder").mkdir()

    done = audit("x.json", *arguments)

    assert done.code == 2
    assert message in done.err
    assert pipeline.calls == 0
    assert (home / "x.json").read_text() == "{}"


def test_no_file_is_written_unless_all_are(audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "b.md").write_text("old")
    stage = output._stage

    def full_disk(target: Path, content: bytes) -> Path:
        if target.name == "b.md":
            raise OSError(28, "No space left on device")
        return stage(target, content)

    monkeypatch.setattr(output, "_stage", full_disk)

    done = audit("x.json", "-f", "json=a.json", "-f", "markdown=b.md")

    assert (done.code, done.err) == (2, "audit: b.md cannot be written: No space left on device\n")
    assert [path.name for path in home.iterdir()] == ["b.md"]
    assert (home / "b.md").read_text() == "old"


def test_an_overwritten_file_keeps_its_mode_and_its_link(audit: Audit, home: Path) -> None:
    (home / "real.json").write_text("old")
    (home / "real.json").chmod(0o640)
    (home / "link.json").symlink_to("real.json")

    audit("x.json", "-f", "json=link.json", "-f", "markdown=new.md")

    assert (home / "link.json").is_symlink()
    assert json.loads((home / "real.json").read_bytes())
    assert stat.S_IMODE((home / "real.json").stat().st_mode) == 0o640
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((home / "new.md").stat().st_mode) == 0o666 & ~mask


def test_a_pipe_is_written_to_and_stays(audit: Audit, home: Path) -> None:
    reading = None
    os.mkfifo(home / "pipe")
    try:
        reading = os.open(home / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        assert audit("x.json", "-q", "-f", "json=pipe").code == 0
        assert os.read(reading, 10).startswith(b"{")
    finally:
        if reading is not None:
            os.close(reading)
    assert stat.S_ISFIFO((home / "pipe").stat().st_mode)


def test_files_are_written_when_the_gate_fails(audit: Audit, pipeline: Pipeline, home: Path) -> None:
    pipeline.report = a_report(exit_code=1)

    assert audit("x.json", "-f", "json=a.json").code == 1
    assert (home / "a.json").exists()


def test_settings_of_an_unknown_rule_are_refused(audit: Audit, pipeline: Pipeline) -> None:
    done = audit("x.json", "--fail-on", "header-striping=likely")

    assert done.code == 2
    assert done.err == (
        "audit: flag --fail-on: there is no rule header-striping\nhint: did you mean header-stripping?\n"
    )
    assert pipeline.calls == 0


def test_color_is_as_told(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in audit("x.json").out
    assert "\x1b[" in audit("x.json", "--color", "always").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in audit("x.json").out
    assert "\x1b[" not in audit("x.json", "--color", "never").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in audit("x.json").out


class _Terminal:
    def __init__(self, *, is_terminal: bool) -> None:
        self.text = ""
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(("is_terminal", "quiet"), [(False, False), (True, True)])
def test_progress_is_for_terminals_only(is_terminal: bool, quiet: bool) -> None:
    stream = _Terminal(is_terminal=is_terminal)
    seconds = iter(range(100))

    with Progress(quiet=quiet, stream=stream, clock=lambda: next(seconds)) as progress:  # type: ignore[arg-type]
        progress(10**9, 5_000_000)
        progress(10**9, 5_000_000)

    assert stream.text == ""


def test_progress_waits_a_second_and_cleans_up() -> None:
    stream = _Terminal(is_terminal=True)
    seconds = iter([0.0, 0.9, 2.0, 2.05])

    with Progress(stream=stream, clock=lambda: next(seconds)) as progress:  # type: ignore[arg-type]
        progress(10_000_000, 1_000)
        assert stream.text == ""
        progress(30_000_000, 4_000)
        progress(31_000_000, 4_100)

    assert stream.text == "\r\x1b[Kreading: 30 MB, 4,000 spans, 2,000 spans/s\r\x1b[K"
