"""``audit convert REPORT.json -f …``: a saved report in any other format, without the traces."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import console, options, output
from auditor.cli.exits import PASSED
from auditor.errors import InputError

if TYPE_CHECKING:
    from auditor.model.report import Report

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

SavedReport = Annotated[
    str,
    typer.Argument(metavar="REPORT.json", help="A report that -f json wrote; - for stdin.", show_default=False),
]


@app.command()
def convert(
    *,
    saved: SavedReport,
    formats: options.Formats = None,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
) -> int:
    """Write REPORT.json in other formats. The exit status says whether that worked, and nothing of the gate."""
    options.choice("--color", color, options.COLORS)
    outputs = output.plan(options.formats_from(formats), [saved], quiet=quiet)
    output.deliver(load(saved, quiet=quiet), outputs, console.screen(color))
    return PASSED


def load(saved: str, *, quiet: bool = False) -> Report:
    """Read a saved report; raises ``InputError`` that names the file."""
    from auditor.report import saved as reader  # noqa: PLC0415  # brings orjson and jsonschema

    name = "<stdin>" if saved == output.STDOUT else saved
    try:
        data = sys.stdin.buffer.read() if saved == output.STDOUT else Path(saved).read_bytes()
    except OSError as error:
        raise InputError(f"{saved}: {error.strerror or error}") from error
    try:
        report = reader.read(data)
    except InputError as error:
        raise InputError(f"{name}: {error}", hint=error.hint) from error
    if not quiet and not reader.is_untouched(data, report):
        console.note(f"{name} does not have the digest of what it says: it was changed, or another version wrote it")
    return report
