"""``[[suppress]]`` of the settings file: what nobody has to repair for now, and why."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from auditor.errors import SettingsError
from auditor.model.suppression import EVERYTHING, Suppression
from auditor.settings.values import quote, read_date, read_dollars, show_dollars, shown

SECTION = "suppress"
SELECTORS = ("rule", "service", "hop", "operation", "tenant")
"""Globs that all have to match; at least one has to be there."""


def read_suppressions(content: Mapping[str, object], path: Path | None) -> Iterator[Suppression]:
    """Read the entries of a file that fits the schema; raises ``SettingsError`` naming the entry."""
    tables = content.get(SECTION)
    for number, table in enumerate(tables if isinstance(tables, list) else ()):
        place = f"{path}: {SECTION}[{number}]"
        if not any(name in table for name in SELECTORS):
            raise SettingsError(
                f"{place} does not say what it suppresses",
                hint=f"give one of {', '.join(SELECTORS)}; all that are given have to match",
            )
        try:
            expires = read_date(table["expires"]) if "expires" in table else None
        except ValueError as error:
            raise SettingsError(f"{place}.expires is {shown(table['expires'])}: {error}") from error
        try:
            max_cost = read_dollars(table["max_usd"]) if "max_usd" in table else None
        except ValueError as error:
            raise SettingsError(f"{place}.max_usd is {shown(table['max_usd'])}: {error}") from error
        yield Suppression(
            reason=table["reason"].strip(),
            **{name: table[name] for name in SELECTORS if name in table},
            owner=table.get("owner", ""),
            expires=expires,
            max_cost=max_cost,
            place=place,
        )


def require_known_rule(entry: Suppression, known: Iterable[str]) -> None:
    """Refuse an entry whose rule is none; raises ``SettingsError`` with the closest id."""
    ids = tuple(known)
    if any(fnmatchcase(rule_id, entry.rule) for rule_id in ids):
        return
    close = difflib.get_close_matches(entry.rule, ids, n=1, cutoff=0.5)
    raise SettingsError(
        f"{entry.place}: there is no rule {entry.rule}",
        hint=f"did you mean {close[0]}?" if close else "`audit rules` lists them",
    )


def to_toml(entry: Suppression) -> Iterator[str]:
    """Write an entry as the settings file would have it."""
    yield f"[[{SECTION}]]"
    for name in SELECTORS:
        glob = getattr(entry, name)
        if glob != EVERYTHING:
            yield f"{name} = {quote(glob)}"
    if all(getattr(entry, name) == EVERYTHING for name in SELECTORS):
        yield f"rule = {quote(EVERYTHING)}"
    yield f"reason = {quote(entry.reason)}"
    if entry.owner:
        yield f"owner = {quote(entry.owner)}"
    if entry.expires is not None:
        yield f"expires = {entry.expires.isoformat()}"
    if entry.max_cost is not None:
        yield f"max_usd = {quote(show_dollars(entry.max_cost))}"
