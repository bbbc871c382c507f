"""``audit config show``: each setting and where it came from."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from auditor.cli import console, options
from auditor.cli.exits import PASSED
from auditor.settings import ENTRIES, Settings, mappings
from auditor.settings.suppressions import to_toml

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Show the settings that a run in this directory would have.",
)


@app.callback()
def config() -> None:
    """Show the settings that a run in this directory would have."""


@app.command()
def show(*, config: options.ConfigFile = None, no_config: options.NoConfig = False) -> int:
    """Print each value, as the settings file would have it, and where it came from."""
    settings = options.settings_from({}, config=config, no_config=no_config)
    console.write("\n".join(lines(settings)) + "\n")
    return PASSED


def lines(settings: Settings) -> Iterator[str]:
    """Write the settings as a settings file that says where each value came from."""
    yield f"# settings file: {settings.file or 'none found'}"
    section = ""
    for entry in ENTRIES:
        home, _, name = entry.key.rpartition(".")
        if home != section:
            section = home
            yield f"\n[{home}]"
        value = value_of(settings, entry.key)
        written = (
            f"{name} = {entry.to_toml(value)}" if value is not None or entry.reads_none else f"# {name} is not set"
        )
        yield f"{written}  # {settings.origins[entry.key]}"
    for rule_id in sorted(settings.rules):
        rule = settings.rules[rule_id]
        yield f"\n[rules.{rule_id}]"
        for name, text in (
            ("enabled", str(rule.enabled).lower()),
            ("required", str(rule.required).lower()),
            ("fail_on", f'"{rule.fail_on or "none"}"'),
        ):
            yield f"{name} = {text}  # {settings.origins.get(f'rules.{rule_id}.{name}', 'default')}"
    for mapping in settings.mappings.values():
        yield f"\n# file {settings.file}"
        yield from mappings.to_toml(mapping)
    for suppression in settings.suppressions:
        yield f"\n# {suppression.place}"
        yield from to_toml(suppression)


def value_of(settings: Settings, key: str) -> object:
    """Look a value up by the key of the file."""
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value
