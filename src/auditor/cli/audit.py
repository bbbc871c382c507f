"""``audit FILES``: audit, show, judge."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from auditor import __version__
from auditor.cli import options
from auditor.cli.exits import PASSED
from auditor.errors import SettingsError
from auditor.settings import BY_KEY


class _WithCommands(TyperCommand):
    """The default command, whose help lists the named ones too."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # the signature is click's
        from auditor.cli.main import COMMANDS  # noqa: PLC0415  # it imports this module

        with formatter.section("Commands"):
            formatter.write_dl([(command.name, command.summary) for command in COMMANDS.values()])
        with formatter.section("More"):
            formatter.write_dl(
                [
                    ("audit COMMAND --help", "what a command takes"),
                    ("./name", "a file that is named like a command"),
                ]
            )


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _limit(key: str) -> Any:
    entry = BY_KEY[key]
    metavar = "USD" if key.endswith("_usd") else "SHARE"
    return typer.Option(entry.flag, metavar=metavar, help=options.help_of(key), show_default=False)


@app.command(cls=_WithCommands)
def audit(
    *,
    files: options.Files = None,
    formats: options.Formats = None,
    tenant_key: options.TenantKey = None,
    mapping: options.UseMapping = None,
    rollup: options.Rollup = None,
    pricing: options.Pricing = None,
    cost_source: options.CostSource = None,
    rules: options.RulesPath = None,
    max_unattributed: Annotated[str | None, _limit("gate.max_unattributed")] = None,
    max_unattributed_usd: Annotated[str | None, _limit("gate.max_unattributed_usd")] = None,
    max_lost: Annotated[str | None, _limit("gate.max_lost")] = None,
    max_unmetered: Annotated[str | None, _limit("gate.max_unmetered")] = None,
    max_unpriced: Annotated[str | None, _limit("gate.max_unpriced")] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="[RULE=]LEVEL",
            help=f"Repeatable. {options.help_of('fail_on')}",
            show_default=False,
        ),
    ] = None,
    baseline: options.Baseline = None,
    baseline_tolerance: options.BaselineTolerance = None,
    update_baseline: options.UpdateBaseline = False,
    exit_zero: Annotated[
        bool | None,
        typer.Option("--exit-zero/--no-exit-zero", help=options.help_of("exit_zero"), show_default=False),
    ] = None,
    strict: options.Strict = None,
    hash_ids: options.HashIds = None,
    jobs: options.Jobs = None,
    memory: options.Memory = None,
    temp_dir: options.TempDir = None,
    engine: options.Engine = None,
    master: options.Master = None,
    save_columns: Annotated[
        Path | None,
        typer.Option(
            "--save-columns",
            metavar="DIR",
            help="Keep what was read as Parquet: audit DIR audits it again, at other prices or gates.",
            show_default=False,
        ),
    ] = None,
    config: options.ConfigFile = None,
    no_config: options.NoConfig = False,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
    version: Annotated[bool, typer.Option("--version", help="Print the version.", show_default=False)] = False,
) -> int:
    """Say what share of the LLM spend in FILES has no tenant, where it was lost, what repairs give back."""
    given = dict(locals())
    if version:
        typer.echo(f"audit {__version__}")
        return PASSED
    paths = options.given(files)
    _refuse_misspelt_command(paths)

    from auditor.cli import judging  # noqa: PLC0415  # not for --help and --version

    return judging.judge(judging.prepare(paths, given), paths)


def _refuse_misspelt_command(paths: Sequence[str]) -> None:
    """``audit ledgr x.json``: better than "no such file"."""
    from auditor.cli.main import COMMANDS  # noqa: PLC0415  # it imports this module

    first = paths[0]
    if first in COMMANDS and not Path(first).exists():
        raise SettingsError(f"the command comes first: audit {first}", hint=f"audit {first} --help")
    if os.sep in first or "." in first or Path(first).exists():
        return
    close = difflib.get_close_matches(first, COMMANDS, n=1, cutoff=0.6)
    if close:
        raise SettingsError(f"{first} is neither a file nor a command", hint=f"did you mean audit {close[0]}?")
