"""``audit diff BEFORE AFTER``: what got worse, better, is new or gone, and what changed with it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import console, options, output
from auditor.errors import SettingsError
from auditor.report import Screen
from auditor.settings import Settings

if TYPE_CHECKING:
    from auditor.compare import Side

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_HEAD = 4096
"""Bytes by which a saved report is told from traces."""
_NAMES = ("terminal", "markdown", "json")


@dataclass(frozen=True, slots=True)
class _Output:
    format: str
    path: Path | None


@app.command()
def diff(
    *,
    before: Annotated[
        str,
        typer.Argument(
            metavar="BEFORE",
            help="Traces, or a report that -f json=PATH saved; told apart by content.",
            show_default=False,
        ),
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="As BEFORE.", show_default=False)],
    max_worse: Annotated[
        str | None,
        typer.Option("--max-worse", metavar="SHARE", help=options.help_of("gate.max_worse"), show_default=False),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT[=PATH]",
            help=f"Repeatable: {', '.join(_NAMES)}; to a file, or one of them to stdout.",
            show_default=False,
        ),
    ] = None,
    tenant_key: options.TenantKey = None,
    mapping: options.UseMapping = None,
    rollup: options.Rollup = None,
    pricing: options.Pricing = None,
    cost_source: options.CostSource = None,
    rules: options.RulesPath = None,
    exit_zero: Annotated[
        bool | None,
        typer.Option("--exit-zero/--no-exit-zero", help=options.help_of("exit_zero"), show_default=False),
    ] = None,
    config: options.ConfigFile = None,
    no_config: options.NoConfig = False,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
) -> int:
    """Compare two audits at equal traffic: shares are of each side's own spend.

    The exit status is 1 when more points of the spend than --max-worse are new or worse; what got better elsewhere
    takes nothing off them. Baselines and suppressions play no part.
    """
    options.choice("--color", color, options.COLORS)
    settings = options.settings_from(
        {
            "gate.max_worse": max_worse,
            "tenant_keys": tenant_key,
            "use_mappings": mapping,
            "rollup": rollup,
            "pricing": pricing,
            "cost_source": cost_source,
            "rules_paths": rules,
            "exit_zero": exit_zero,
        },
        config=config,
        no_config=no_config,
        quiet=quiet,
    )
    if before == after == output.STDOUT:
        raise SettingsError("only one side can come from stdin")
    outputs = _plan(formats or (), (before, after), quiet=quiet)

    from auditor.compare import compare  # noqa: PLC0415  # not for --help
    from auditor.report.difference import FORMATS  # noqa: PLC0415  # as above

    difference = compare(
        _side(before, settings, quiet=quiet),
        _side(after, settings, quiet=quiet),
        max_worse=settings.gate.max_worse,
        exit_zero=settings.exit_zero,
    )
    files = {to.path: FORMATS[to.format](difference, Screen()) for to in outputs if to.path}
    output.write_files(files)
    for to in outputs:
        if to.path is None:
            console.write(FORMATS[to.format](difference, console.screen(color)))
    return difference.exit_code


def _plan(formats: Sequence[str], inputs: Sequence[str], *, quiet: bool) -> tuple[_Output, ...]:
    outputs = tuple(map(_output, formats))
    on_stdout = sum(to.path is None for to in outputs)
    if on_stdout > 1:
        raise SettingsError("only one format can go to stdout", hint="give the others a path: -f json=diff.json")
    output.check_places((to.path for to in outputs if to.path), inputs)
    return outputs if on_stdout or quiet else (_Output("terminal", None), *outputs)


def _output(text: str) -> _Output:
    name, equals, path = text.partition("=")
    if name not in _NAMES:
        close = difflib.get_close_matches(name, _NAMES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise SettingsError(f"a diff has no format {name!r}", hint=f"{meant}formats: {', '.join(_NAMES)}")
    if equals and not path:
        raise SettingsError(f"-f {text} names no file", hint=f"-f {name}=PATH, or -f {name} for stdout")
    return _Output(name, Path(path) if path and path != output.STDOUT else None)


def _side(name: str, settings: Settings, *, quiet: bool) -> Side:
    from auditor.compare import Side  # noqa: PLC0415  # not for --help

    if _is_saved(name):
        from auditor.cli.convert import load  # noqa: PLC0415  # only for saved reports

        return Side(name, load(name, quiet=quiet), is_saved=True)

    from auditor import pipeline  # noqa: PLC0415  # brings numpy
    from auditor.cli.progress import Progress  # noqa: PLC0415  # only for traces

    with Progress(quiet=quiet) as progress:
        done = pipeline.audit([name], settings.without_gate(), progress=progress, keep_calls=False)
    return Side(name, done.report, is_saved=False)


def _is_saved(name: str) -> bool:
    """Say whether a file is a report of ours: its first key tells."""
    path = Path(name)
    if name == output.STDOUT or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False  # reading it as traces says what is wrong with it
    return head.lstrip().startswith(b"{") and b'"schema_version"' in head and b'"json-v' in head
