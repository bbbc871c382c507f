"""``[mapping.NAME]`` of the settings file: sources that the user declared."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from auditor.errors import SettingsError
from auditor.model.mapping import SourceMapping
from auditor.settings.values import quote

SECTION = "mapping"
_TABLES = ("fields", "billable", "failed")


def read_mappings(content: Mapping[str, object]) -> Iterator[tuple[str, SourceMapping]]:
    """Read the mappings of a file that fits the schema."""
    tables = content.get(SECTION)
    for name, table in tables.items() if isinstance(tables, dict) else ():
        units = table.get("units", {})
        yield (
            name,
            SourceMapping(
                name=name,
                files=_texts(table.get("files", [])),
                rows=table.get("rows", ""),
                cache_inside_input=table.get("cache_inside_input"),
                cost_unit=units.get("cost", "usd"),
                time_unit=units.get("time", "iso"),
                duration_unit=units.get("duration", "ms"),
                constants=MappingProxyType({key: str(value) for key, value in table.get("constants", {}).items()}),
                operations=MappingProxyType({key.lower(): text for key, text in table.get("operations", {}).items()}),
                **{
                    part: MappingProxyType({key: _texts(value) for key, value in table.get(part, {}).items()})
                    for part in _TABLES
                },
            ),
        )


def require_known_mappings(names: tuple[str, ...], known: Mapping[str, SourceMapping], place: str) -> None:
    """Refuse a name that no mapping of the settings has; raises ``SettingsError`` with the closest one."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = "audit doctor FILE drafts one; it goes into auditor.toml"
            raise SettingsError(
                f"{place}: there is no mapping {name}", hint=f"did you mean {close[0]}?" if close else hint
            )


def to_toml(mapping: SourceMapping) -> Iterator[str]:
    """Write a mapping as the settings file would have it."""
    yield f"[{SECTION}.{_key(mapping.name)}]"
    if mapping.files:
        yield f"files = {_value(mapping.files)}"
    if mapping.rows:
        yield f"rows = {quote(mapping.rows)}"
    if mapping.cache_inside_input is not None:
        yield f"cache_inside_input = {str(mapping.cache_inside_input).lower()}"
    units = {"cost": mapping.cost_unit, "time": mapping.time_unit, "duration": mapping.duration_unit}
    for part, table in (
        ("units", units),
        ("fields", mapping.fields),
        ("constants", mapping.constants),
        ("operations", mapping.operations),
        ("billable", mapping.billable),
        ("failed", mapping.failed),
    ):
        if table:
            yield f"[{SECTION}.{_key(mapping.name)}.{part}]"
            for key, value in table.items():
                yield f"{_key(key)} = {_value(value)}"


def _key(text: str) -> str:
    is_bare = text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    return text if is_bare else quote(text)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return quote(value[0]) if len(value) == 1 else "[" + ", ".join(quote(part) for part in value) + "]"
    return quote(value)


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(str(entry).lower() if isinstance(entry, bool) else str(entry) for entry in values)
