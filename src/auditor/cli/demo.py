"""``audit demo``: the answer before the first question."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from auditor.cli import console, options, output
from auditor.errors import SettingsError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def demo(
    *,
    formats: options.Formats = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Keep the export in this directory.", show_default=False),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="PATH", help="Keep the export under this name.", show_default=False),
    ] = None,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
) -> int:
    """Audit a small export of an imaginary product, with every failure mode planted. Needs no network.

    The report is that of default settings, whatever is configured here. Its gate fails, as it should; the
    exit status is 0 all the same.
    """
    from auditor import demo as traffic  # noqa: PLC0415  # only this command needs it
    from auditor import pipeline  # noqa: PLC0415  # brings numpy
    from auditor.settings import Settings  # noqa: PLC0415  # as above

    options.choice("--color", color, options.COLORS)
    if directory and keep:
        raise SettingsError("--dir and --keep exclude each other")
    target = directory / traffic.FILE_NAME if directory else keep
    outputs = output.plan(options.formats_from(formats), [str(target)] if target else [], quiet=quiet)
    outputs = tuple(replace(to, path=to.path and to.path.resolve()) for to in outputs)
    with contextlib.ExitStack() as stack:
        if target is None:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="audit-demo-"))
            stack.enter_context(contextlib.chdir(place))  # so that the report names the file, not the place
        path = target or Path(traffic.FILE_NAME)
        output.check_places([path])
        output.write_files({path: traffic.export()})
        result = pipeline.audit([str(path)], Settings(exit_zero=True))
    output.deliver(result.report, outputs, console.screen(color))
    if not quiet:
        _say_what_next(target, [finding.rule for finding in result.report.findings])
    return result.report.gate.exit_code


def _say_what_next(kept: Path | None, rules: list[str]) -> None:
    if kept:
        console.note(f"the export is {kept}")
    if rules:
        console.note(f"next: audit explain {rules[0]}, then audit YOUR-TRACES.json")
