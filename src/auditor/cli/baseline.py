"""The baseline as a file: checked before the work, written whole after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auditor.cli import console, output
from auditor.cli.exits import INCOMPLETE
from auditor.errors import SettingsError
from auditor.model.report import Report
from auditor.report.wording import count


def place_of(path: Path | None, outputs: Sequence[output.Output], inputs: Sequence[str]) -> Path:
    """Say where this run's baseline goes; raises ``SettingsError`` where it has no place or would destroy something."""
    if path is None:
        raise SettingsError("--update-baseline needs a place", hint="--baseline PATH, or baseline in auditor.toml")
    from auditor import baseline  # noqa: PLC0415  # only where one is written

    output.check_places([path, *(to.path for to in outputs if to.path)], inputs)
    if not baseline.may_be_replaced(path):
        raise SettingsError(
            f"{path} is there and is no baseline; it is not overwritten", hint="remove it, or name another file"
        )
    return path


def save(path: Path, content: bytes, report: Report, *, quiet: bool) -> None:
    """Write the baseline and say what is in it; a run that strict settings call incomplete is none to build on."""
    if report.gate.exit_code == INCOMPLETE:
        if not quiet:
            console.note(f"{path} is not written: the run is incomplete (--no-strict writes it all the same)")
        return
    output.write_files({path: content})
    if not quiet:
        known = sum(finding.baseline is not None for finding in report.findings)
        console.note(f"{path} is written: {count(known, 'known finding')}; commit it")
