"""From flags, variables, the file and the defaults to one value per setting, with its origin."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, cast

from auditor.errors import SettingsError
from auditor.settings.entries import ENTRIES, OTHER_VARIABLES, PREFIX, TODAY, Entry
from auditor.settings.file import find_file, read_file, table_of
from auditor.settings.mappings import read_mappings, require_known_mappings
from auditor.settings.nouns import Internal, Limits, RuleSettings, Settings, Vocabulary
from auditor.settings.suppressions import read_suppressions, require_known_rule
from auditor.settings.values import NONE, read_confidence, read_date, shown

Value = TypeVar("Value")


def resolve(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    file: Path | None = None,
    search: bool = True,
) -> Settings:
    """Resolve every setting from flags (by key; ``None`` is not given), variables, one file and the defaults.

    ``file`` is read instead of searching; without ``search`` and ``file`` no file is read. No ``environment``
    means no variables, no ``directory`` the working directory.
    Raises ``SettingsError`` naming where the bad value stands.
    """
    flags = flags or {}
    environment = environment or {}
    path = file or (find_file(directory or Path.cwd()) if search else None)
    content = read_file(path) if path else {}
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for entry in ENTRIES:
        values[entry.key], origins[entry.key] = _value(entry, flags, environment, content, path)
    if origins["strict"] == "default" and environment.get("CI", "").lower() not in {"", "0", "false"}:
        values["strict"], origins["strict"] = True, "default where CI is set"
    _require_one_meaning(values, origins)
    mappings = MappingProxyType(dict(read_mappings(content)))
    require_known_mappings(cast("tuple[str, ...]", values["use_mappings"]), mappings, origins["use_mappings"])
    rules = dict(_rules(content, values["fail_on"], origins, path))
    for rule_id, level in table_of(flags.get("rules")).items():
        known = rules.get(rule_id, RuleSettings(fail_on=None))
        rules[rule_id] = replace(known, fail_on=_read(read_confidence, level, f"--fail-on {rule_id}={level}"))
        origins[f"rules.{rule_id}.fail_on"] = "flag --fail-on"
    return Settings(
        vocabulary=Vocabulary(**_section("vocabulary", values)),  # type: ignore[arg-type]  # read by ENTRIES' readers
        internal=Internal(**_section("internal", values)),  # type: ignore[arg-type]  # read by ENTRIES' readers
        gate=Limits(**_section("gate", values)),  # type: ignore[arg-type]  # read by ENTRIES' readers
        rules=MappingProxyType(rules),
        suppressions=tuple(read_suppressions(content, path)),
        mappings=mappings,
        today=_read(read_date, environment[TODAY], TODAY) if environment.get(TODAY) else None,
        origins=MappingProxyType(origins),
        file=path,
        notices=tuple(_strangers(environment)),
        **{key: value for key, value in values.items() if "." not in key},  # type: ignore[arg-type]  # as above
    )


def _section(name: str, values: Mapping[str, object]) -> dict[str, object]:
    return {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{name}.")}


def _require_one_meaning(values: Mapping[str, object], origins: Mapping[str, str]) -> None:
    """Refuse an attribute that is to mean two things: only the first could count, and silently."""
    meanings: dict[str, str] = {}
    for key in ("tenant_keys", *(entry.key for entry in ENTRIES if entry.key.startswith("vocabulary."))):
        for attribute in cast("tuple[str, ...]", values[key]):
            other = meanings.setdefault(attribute, key)
            if other != key:
                raise SettingsError(
                    f"{origins[key]}: {key} names {shown(attribute)}, which {other} ({origins[other]}) names too",
                    hint="an attribute can say one thing only",
                )


def _value(
    entry: Entry,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    content: Mapping[str, object],
    path: Path | None,
) -> tuple[object, str]:
    given = flags.get(entry.key)
    if given is not None and given != []:
        return _read(entry.read, given, entry.flag or entry.key), f"flag {entry.flag or entry.key}"
    text = environment.get(entry.variable)
    if text:
        return _read(entry.read, text, entry.variable), f"variable {entry.variable}"
    section, _, name = entry.key.rpartition(".")
    table = table_of(content.get(section)) if section else content
    if path is not None and name in table:
        value = _read(entry.read, table[name], f"{path}: {entry.key}")
        return _anchored(value, path.parent), f"file {path}"
    return entry.default, "default"


def _read(read: Callable[[object], Value], value: object, place: str) -> Value:
    try:
        return read(value)
    except ValueError as error:
        raise SettingsError(f"{place} is {shown(value)}: {error}") from error


def _anchored(value: object, folder: Path) -> object:
    """Paths in a file are relative to the file."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, tuple):
        return tuple(folder / part if isinstance(part, Path) else part for part in value)
    return value


def _rules(
    content: Mapping[str, object], fail_on: object, origins: dict[str, str], path: Path | None
) -> Iterator[tuple[str, RuleSettings]]:
    for rule_id, table in table_of(content.get("rules")).items():
        said = table_of(table)
        level = said.get("fail_on", fail_on if fail_on is not None else NONE)
        for name in said:
            origins[f"rules.{rule_id}.{name}"] = f"file {path}"
        yield (
            rule_id,
            RuleSettings(
                enabled=bool(said.get("enabled", True)),
                required=bool(said.get("required", False)),
                fail_on=_read(read_confidence, level, f"{path}: rules.{rule_id}.fail_on"),
            ),
        )


def _strangers(environment: Mapping[str, str]) -> Iterator[str]:
    """A misspelt variable would silently leave a gate open, so say that it is ignored."""
    known = {entry.variable for entry in ENTRIES} | set(OTHER_VARIABLES)
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            yield f"{name} is not a setting and is ignored" + (f"; did you mean {close[0]}?" if close else "")


def require_known_rules(settings: Settings, known: Iterable[str]) -> None:
    """Refuse settings that name a rule which does not exist; raises ``SettingsError`` with the closest id."""
    ids = tuple(known)
    for rule_id in settings.rules:
        if rule_id not in ids:
            places = sorted(origin for key, origin in settings.origins.items() if key.startswith(f"rules.{rule_id}."))
            close = difflib.get_close_matches(rule_id, ids, n=1, cutoff=0.5)
            raise SettingsError(
                f"{places[0] if places else 'settings'}: there is no rule {rule_id}",
                hint=f"did you mean {close[0]}?" if close else "`audit rules` lists them",
            )
    for entry in settings.suppressions:
        require_known_rule(entry, ids)
