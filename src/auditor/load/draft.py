"""Drafts a mapping for a log that no format fits: guesses from names of keys what stands where.

Values decide units of time and whether a key holds a number, a text or a flag. None of them leaves: a draft has
names of keys only. Guesses are guesses: the draft says so, and whoever uses it reads it first.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import PurePath
from typing import Any

import orjson

from auditor.errors import InputError
from auditor.load.builder import count_of, flag_of, text_of
from auditor.load.csv_rows import csv_records, header_of
from auditor.load.row_values import ns_of_iso, object_of
from auditor.load.rows import WRAPPERS
from auditor.load.sources import Opened, Source
from auditor.model.mapping import ISO, SourceMapping

LOOKED_AT = 200
"""Records from which keys are taken."""
DEPTH = 6
LONGEST = 1 << 22
"""Bytes of a record that is looked at."""
_OF_DIGITS = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))
"""From which number on a moment after 1973 is written in which unit."""

_TENANTS = ("tenant", "customer", "org", "account", "client", "company", "workspace", "team")
"""Of several keys that may hold the tenant, the order in which they are tried."""
_COUNTS = frozenset({"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "total_tokens"})
_SEVERAL = frozenset({"tenant", "metadata"})
_STATUS = re.compile(r"(http|response)?status(code)?")


def draft(source: Source) -> SourceMapping | None:
    """Guess a mapping for an input; ``None`` where it has no rows with keys that tell of model calls."""
    try:
        opened = Opened(source)
        try:
            rows, path = _rows(opened)
        finally:
            opened.close()
    except InputError:
        return None
    keys: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in _flat(row, "", 0):
            keys.setdefault(key, []).append(value)
    fields: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for concept, pattern in _names().items():
        found = [key for key in keys if key not in taken and _fits(concept, key, keys[key], pattern)]
        if found:
            found.sort(key=_tenant_rank if concept == "tenant" else lambda key: (key.count("."), len(key)))
            fields[concept] = tuple(found if concept in _SEVERAL else found[:1])
            taken.update(fields[concept])
    if "model" not in fields and not fields.keys() & _COUNTS:
        return None
    status = next((key for key in keys if _STATUS.fullmatch(_letters(key.rpartition(".")[2]))), "")
    is_http = bool(status) and all((count_of(value) or 0) >= 100 for value in keys[status])
    return SourceMapping(
        name=re.sub(r"[^A-Za-z0-9_-]+", "-", PurePath(source.name).name.partition(".")[0]).strip("-") or "source",
        rows=path,
        cost_unit=_cost_unit(fields),
        time_unit=_time_unit(keys[fields["time"][0]]) if "time" in fields else ISO,
        duration_unit=_duration_unit(fields),
        fields=fields,
        failed={status: (">=400",)} if is_http else {},
    )


@cache
def _names() -> dict[str, str]:
    text = resources.files("auditor.load").joinpath("draft_names.toml").read_text("utf-8")
    names: dict[str, str] = tomllib.loads(text)["names"]
    return names


def _rows(opened: Opened) -> tuple[list[dict[str, Any]], str]:
    """The first rows of an input, and the path of their list in a document that has one."""
    is_table = bool(header_of(opened.head()))
    records = csv_records(opened) if is_table else opened.records()
    rows: list[dict[str, Any]] = []
    path = ""
    for data, _, _ in islice(records, LOOKED_AT):
        if len(data) > LONGEST:
            continue
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict) and not rows:
            path, inner = _list_in(value)
            value = inner if path else value
        entries = value if isinstance(value, list) else [value]
        rows += [entry for entry in entries[:LOOKED_AT] if isinstance(entry, dict)]
    # What the loader opens by itself needs no path.
    return rows[:LOOKED_AT], "" if path in WRAPPERS else path


def _list_in(document: Mapping[str, Any], lead: str = "") -> tuple[str, list[Any]]:
    """The path of the first list of objects in a document that is no row itself."""
    if any(re.search(r"model|token", key, re.IGNORECASE) for key in document):
        return "", []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"{lead}{key}", value
        if isinstance(value, dict) and not lead.count(".") > 1:
            path, inner = _list_in(value, f"{lead}{key}.")
            if path:
                return path, inner
    return "", []


def _flat(value: Mapping[str, Any], lead: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Paths and values of all that stands in a row, objects included."""
    for key, inner in value.items():
        path = f"{lead}{key}"
        opened = object_of(inner)
        if opened:
            yield path, opened
            if depth < DEPTH:
                yield from _flat(opened, f"{path}.", depth + 1)
        elif inner is not None and inner != "":
            yield path, inner


def _fits(concept: str, key: str, values: list[Any], pattern: str) -> bool:
    leaf, parent = _letters(key.rpartition(".")[2]), _letters(key.rpartition(".")[0].rpartition(".")[2])
    if not (re.fullmatch(pattern, leaf) or re.fullmatch(pattern, parent + leaf)):
        return False
    if concept == "id" and "." in key:
        return False
    good = sum(_can_be(concept, value) for value in values)
    if concept in {"time", "end"} and not _time_unit(values):
        return False
    # A log has odd rows; what most of them hold is meant.
    return 2 * good > len(values)


def _can_be(concept: str, value: Any) -> bool:
    if concept == "metadata":
        return isinstance(value, dict)
    if concept == "tags":
        return isinstance(value, list)
    if isinstance(value, dict | list):
        return False
    if concept in _COUNTS:
        return count_of(value) is not None
    if concept in {"streamed", "cache_hit"}:
        return flag_of(value) is not None
    if concept in {"cost", "duration"}:
        return _number(value) is not None
    if concept in {"time", "end"}:
        return bool(ns_of_iso(value)) or _number(value) is not None
    return bool(text_of(value))


def _letters(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _tenant_rank(key: str) -> tuple[int, int]:
    leaf = _letters(key)
    return next((rank for rank, word in enumerate(_TENANTS) if word in leaf), len(_TENANTS)), len(key)


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _time_unit(values: list[Any]) -> str:
    """How moments are written; empty for what is none."""
    if any(ns_of_iso(value) for value in values if _number(value) is None):
        return ISO
    number = max((_number(value) or 0.0 for value in values), default=0.0)
    return next((unit for least, unit in _OF_DIGITS if number >= least), "")


def _cost_unit(fields: Mapping[str, tuple[str, ...]]) -> str:
    leaf = _letters(fields["cost"][0]) if "cost" in fields else ""
    return "microdollars" if "micro" in leaf else "cents" if "cent" in leaf else "usd"


def _duration_unit(fields: Mapping[str, tuple[str, ...]]) -> str:
    leaf = re.split(r"[^A-Za-z0-9]", fields["duration"][0])[-1].lower() if "duration" in fields else ""
    if re.search(r"(^|duration|latency|elapsed|took|time)(s|secs?|seconds)$", leaf):
        return "s"
    return next((unit for unit in ("us", "ns") if leaf.endswith(unit)), "ms")
