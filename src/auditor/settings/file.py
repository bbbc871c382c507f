"""The settings file: where it is, and whether it may be followed."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

from auditor.errors import SettingsError
from auditor.settings.entries import ENTRIES
from auditor.settings.values import shown

FILE_NAME = "auditor.toml"


def find_file(directory: Path) -> Path | None:
    """Find the settings file that holds for a directory: the nearest up to the git root, or none.

    Outside a git repository only the directory itself is looked at, so that a file which happens to lie in a
    shared parent cannot change a verdict or name code to run.
    """
    here = directory.resolve()
    chain = (here, *here.parents)
    root = next((place for place in chain if (place / ".git").exists()), here)
    for place in chain[: chain.index(root) + 1]:
        own = Path(os.path.relpath(place / FILE_NAME))
        if own.is_file():
            return own
        project = own.with_name("pyproject.toml")
        if project.is_file() and _has_section(project):
            return project
    return None


def _has_section(project: Path) -> bool:
    """Say whether a ``pyproject.toml`` has our section; a broken one that never names us is not judged."""
    return "auditor" in _text(project) and "auditor" in table_of(_parse(project).get("tool"))


def _parse(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_text(path), parse_float=_finite)
    except ValueError as error:  # not TOML, or a number that is not finite
        raise SettingsError(f"{path}: not TOML: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error


def _finite(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(f"{text} is not a number that a setting can have")
    return number


def table_of(value: object) -> dict[str, object]:
    """Return the table, or an empty one where there is something else or nothing."""
    return value if isinstance(value, dict) else {}


def read_file(path: Path) -> dict[str, object]:
    """Read and check one settings file; raises ``SettingsError`` that names the file and the key."""
    content = _parse(path)
    if path.name == "pyproject.toml":
        tool = content.get("tool")
        section = table_of(tool).get("auditor", {})
        if not isinstance(section, dict):
            raise SettingsError(f"{path}: tool.auditor: expected a table")
        content = section
    _check(content, path)
    return content


def _check(content: Mapping[str, object], path: Path) -> None:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # only when there is a file to check

    validator = Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(content), key=lambda error: [str(part) for part in error.absolute_path])
    if not errors:
        return
    first = errors[0]
    place = _dotted(first.absolute_path)
    if first.validator == "additionalProperties":
        unknown = min(set(first.instance) - set(first.schema.get("properties", ())))
        name = f"{place}.{unknown}" if place else unknown
        elsewhere = first.schema.get("x-elsewhere", {}).get(unknown)
        hint = f"did you mean {elsewhere}?" if elsewhere else _suggest(name, tuple(first.schema.get("properties", ())))
        raise SettingsError(f"{path}: unknown key {name}", hint=hint)
    if first.validator == "required":
        missing = min(set(first.validator_value) - set(first.instance))
        raise SettingsError(f"{path}: {place} has no {missing}", hint=first.schema.get("x-required", {}).get(missing))
    expected = first.schema.get("x-expected", first.message)
    value = first.instance
    raise SettingsError(f"{path}: {place} is {shown(value)}, expected {expected}")


def _dotted(parts: Iterable[object]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _suggest(name: str, siblings: tuple[str, ...]) -> str | None:
    """Name the key that was probably meant: one that looks like it here, or one of another section."""
    section, _, leaf = name.rpartition(".")
    close = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.6)
    if close:
        return f"did you mean {f'{section}.' if section else ''}{close[0]}?"
    leaves = {entry.key.rpartition(".")[2]: entry.key for entry in ENTRIES}
    elsewhere = difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)
    if elsewhere:
        home, _, own = leaves[elsewhere[0]].rpartition(".")
        return f"did you mean {own} under [{home}]?" if home else f"did you mean {own}, outside any section?"
    return f"keys are {', '.join(siblings)}" if siblings else None


def schema() -> dict[str, object]:
    """Return the JSON Schema of the settings file, as shipped."""
    import json  # noqa: PLC0415  # only when there is a file to check

    text = Path(__file__).with_name("settings.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, object] = json.loads(text)
    return loaded
