"""``audit explain``: a rule's page, or one trace as a tree."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import console, options
from auditor.cli.exits import PASSED
from auditor.errors import SettingsError

if TYPE_CHECKING:
    from auditor.rule import Rule

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def explain(
    *,
    subject: Annotated[
        str, typer.Argument(metavar="RULE|TRACE_ID", help="A rule's id, or a trace's id.", show_default=False)
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help="Where the trace is.", show_default=False),
    ] = None,
    tenant_key: options.TenantKey = None,
    mapping: options.UseMapping = None,
    rollup: options.Rollup = None,
    pricing: options.Pricing = None,
    rules: options.RulesPath = None,
    hash_ids: options.HashIds = None,
    config: options.ConfigFile = None,
    no_config: options.NoConfig = False,
    color: options.Color = "auto",
) -> int:
    """Print the page of RULE; with FILES, TRACE_ID as a tree: where its tenant is known and where lost."""
    options.choice("--color", color, options.COLORS)
    settings = options.settings_from(
        {
            "tenant_keys": tenant_key,
            "use_mappings": mapping,
            "rollup": rollup,
            "pricing": pricing,
            "rules_paths": rules,
            "hash_ids": hash_ids,
        },
        config=config,
        no_config=no_config,
    )
    if files:
        from auditor import pipeline  # noqa: PLC0415  # brings numpy
        from auditor.report import trace  # noqa: PLC0415  # only for a trace

        tree = pipeline.explain_trace(subject, files, settings)
        console.write(trace.render(tree, console.screen(color)))
        return PASSED

    from auditor.registry import load_rules  # noqa: PLC0415  # brings the rule packages

    console.write(page(_find(subject, load_rules(settings.rules_paths))))
    return PASSED


def _find(subject: str, rules: Sequence[Rule]) -> Rule:
    by_id = {rule.id: rule for rule in rules}
    if subject in by_id:
        return by_id[subject]
    if _looks_like_a_trace(subject):
        raise SettingsError(f"which files is trace {subject} in?", hint=f"audit explain {subject} traces.json")
    close = difflib.get_close_matches(subject, by_id, n=1, cutoff=0.4)
    raise SettingsError(
        f"there is no rule {subject}" + (" (nor files to look for such a trace in)" if Path(subject).exists() else ""),
        hint=f"did you mean {close[0]}?" if close else "audit rules lists them",
    )


def _looks_like_a_trace(subject: str) -> bool:
    return len(subject) >= 16 and all(letter in "0123456789abcdefABCDEF" for letter in subject)


def page(rule: Rule) -> str:
    """Lay out a rule's page: its id and title, what its module says, what it needs."""
    text = inspect.cleandoc(rule.page).strip()
    needs = f"\n\nWhat it needs to be checked\n    {rule.needs}" if rule.needs else ""
    return f"{rule.id}: {rule.title}\n\n{text}{needs}\n"
