"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import console
from auditor.errors import SettingsError
from auditor.report import RENDERERS
from auditor.settings import BY_KEY, Settings, require_known_rules, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping


def help_of(key: str) -> str:
    """Say what a setting is for, its default and its variable."""
    entry = BY_KEY[key]
    shown = entry.show(entry.default)
    default = f" Default: {shown}." if shown not in {"none", "()", "False"} else ""
    return f"{entry.help}{default} [{entry.variable}]"


Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILES",
        help="Trace exports and gateway logs: files, directories, globs, - for stdin; .gz and .zst too.",
        show_default=False,
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT[=PATH]",
        help=f"Repeatable: {', '.join(RENDERERS)}; to a file, or one of them to stdout. "
        "The terminal report goes to stdout unless another does. [AUDITOR_FORMAT, with spaces between]",
        show_default=False,
    ),
]
TenantKey = Annotated[
    list[str] | None,
    typer.Option("--tenant-key", metavar="KEY", help=f"Repeatable. {help_of('tenant_keys')}", show_default=False),
]
UseMapping = Annotated[
    list[str] | None,
    typer.Option("--mapping", metavar="NAME", help=f"Repeatable. {help_of('use_mappings')}", show_default=False),
]
Rollup = Annotated[
    str | None, typer.Option("--rollup", metavar="call|request", help=help_of("rollup"), show_default=False)
]
Pricing = Annotated[Path | None, typer.Option("--pricing", metavar="FILE", help=help_of("pricing"), show_default=False)]
Jobs = Annotated[str | None, typer.Option("--jobs", "-j", metavar="N", help=help_of("jobs"), show_default=False)]
Memory = Annotated[str | None, typer.Option("--memory", metavar="SIZE", help=help_of("memory"), show_default=False)]
TempDir = Annotated[
    Path | None, typer.Option("--temp-dir", metavar="DIR", help=help_of("temp_dir"), show_default=False)
]
Engine = Annotated[
    str | None, typer.Option("--engine", metavar="local|spark", help=help_of("engine"), show_default=False)
]
Master = Annotated[str | None, typer.Option("--master", metavar="MASTER", help=help_of("master"), show_default=False)]
CostSource = Annotated[
    str | None,
    typer.Option("--cost-source", metavar="SOURCE", help=help_of("cost_source"), show_default=False),
]
RulesPath = Annotated[
    list[str] | None,
    typer.Option("--rules", metavar="PATH", help=f"Repeatable. {help_of('rules_paths')}", show_default=False),
]
HashIds = Annotated[bool | None, typer.Option("--hash-ids/--no-hash-ids", help=help_of("hash_ids"), show_default=False)]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", metavar="PATH", help=help_of("baseline"), show_default=False)
]
BaselineTolerance = Annotated[
    str | None,
    typer.Option("--baseline-tolerance", metavar="SHARE", help=help_of("baseline_tolerance"), show_default=False),
]
UpdateBaseline = Annotated[
    bool,
    typer.Option("--update-baseline", help="Write this run's findings to the baseline.", show_default=False),
]
Strict = Annotated[bool | None, typer.Option("--strict/--no-strict", help=help_of("strict"), show_default=False)]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read this settings file instead of searching for one. [AUDITOR_CONFIG]",
        show_default=False,
    ),
]
NoConfig = Annotated[bool, typer.Option("--no-config", help="Read no settings file.", show_default=False)]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No terminal report, progress or notes; files and errors only.",
        show_default=False,
    ),
]
Color = Annotated[
    str,
    typer.Option(
        "--color",
        metavar="auto|always|never",
        help="NO_COLOR and FORCE_COLOR are obeyed too.",
        show_default=False,
    ),
]

COLORS = ("auto", "always", "never")


def settings_from(
    flags: Mapping[str, object],
    *,
    config: Path | None,
    no_config: bool,
    quiet: bool = False,
) -> Settings:
    """Resolve the settings of this run and announce what the user should know about them.

    Raises ``SettingsError``, also for settings of a rule that does not exist.
    """
    if config is not None and no_config:
        raise SettingsError("--config and --no-config exclude each other")
    named = os.environ.get("AUDITOR_CONFIG")
    file = config or (Path(named) if named and not no_config else None)
    settings = resolve(flags, environment=os.environ, file=file, search=not no_config)
    if settings.rules or settings.suppressions:
        from auditor.registry import load_rules  # noqa: PLC0415  # only settings that name rules need them

        require_known_rules(settings, (rule.id for rule in load_rules(settings.rules_paths)))
    if not quiet:
        for notice in settings.notices:
            console.note(notice)
    return settings


def formats_from(given: Sequence[str] | None) -> list[str]:
    """The formats asked for: by flag, or else by ``AUDITOR_FORMAT``."""
    return list(given or os.environ.get("AUDITOR_FORMAT", "").split())


def levels(texts: Sequence[str] | None) -> dict[str, object]:
    """Split ``--fail-on LEVEL`` and ``--fail-on RULE=LEVEL`` into settings."""
    flags: dict[str, object] = {}
    rules: dict[str, object] = {}
    for text in texts or ():
        rule_id, equals, level = text.rpartition("=")
        if equals:
            rules[rule_id] = level
        else:
            flags["fail_on"] = level
    return {**flags, "rules": rules} if rules else flags


def choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Accept one of a few words; raises ``SettingsError`` naming them."""
    if value not in choices:
        raise SettingsError(f"{name} {value}: expected one of {', '.join(choices)}")
    return value


def given(files: Sequence[str] | None) -> list[str]:
    """Require inputs; raises ``SettingsError`` where there are none."""
    if not files:
        raise SettingsError("no input given", hint="audit traces.json, or audit demo to see what it says")
    return list(files)
