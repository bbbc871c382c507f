"""``audit rules``: the catalogue."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import typer

from auditor.cli import console, options
from auditor.cli.exits import PASSED

if TYPE_CHECKING:
    from auditor.rule import Rule
    from auditor.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_WIDTH = 100


@app.command()
def rules(
    *, paths: options.RulesPath = None, config: options.ConfigFile = None, no_config: options.NoConfig = False
) -> int:
    """List every rule that is installed, what it finds, and what an input must have for it to be checked."""
    from auditor.registry import load_rules  # noqa: PLC0415  # brings the rule packages

    settings = options.settings_from({"rules_paths": paths}, config=config, no_config=no_config)
    found = load_rules(settings.rules_paths)
    console.write("".join(_entry(rule, settings) for rule in found) + "audit explain RULE prints a rule's page.\n")
    return PASSED


def _entry(rule: Rule, settings: Settings) -> str:
    said = settings.rule(rule.id)
    marks = [] if said.enabled else ["switched off"]
    if said.required:
        marks.append("required")
    if said.fail_on:
        marks.append(f"fails the gate from {said.fail_on}")
    head = f"{rule.id}  ({', '.join(marks)})" if marks else rule.id
    lines = [head, *_indented(rule.title)]
    if rule.needs:
        lines += _indented(f"needs {rule.needs}")
    return "\n".join(lines) + "\n\n"


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
