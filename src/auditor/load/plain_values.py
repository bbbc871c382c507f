"""Turns Python values into attributes whose values are plain JSON, as ``SpanReader`` takes them with ``JSON_VALUES``.

For formats that hold values as Python objects (protobuf, Arrow, rows that were decoded whole).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import orjson

from auditor.load.builder import ID_FIELDS, MAX_SAMPLED_TEXT, TOKEN_FIELDS
from auditor.load.otlp_types import KeyValue
from auditor.load.otlp_values import ABSENT, UNDECODABLE, PlainValue, Values

READ_AT_ONCE = frozenset({*ID_FIELDS, *TOKEN_FIELDS})
"""Ids and counts: their values are always read, and hardly ever the same."""
SHORT = MAX_SAMPLED_TEXT + 2
"""Bytes of the longest text of an unknown key that is kept, as JSON: with its quotes."""

_encode = msgspec.json.encode


def raw_of(value: Any) -> msgspec.Raw:
    """Encode a value as plain JSON; absent for ``None``, NaN and what JSON cannot hold.

    Whole floats become integers: tables with absent values keep their counts as floats.
    """
    if isinstance(value, str):
        try:
            return msgspec.Raw(_encode(value))
        except UnicodeEncodeError:
            return ABSENT
    if value is None:
        return ABSENT
    if isinstance(value, float):
        if not math.isfinite(value):
            return ABSENT
        return msgspec.Raw(_encode(int(value) if value.is_integer() else value))
    try:
        return msgspec.Raw(_encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return ABSENT


def is_short(value: Any) -> bool:
    """Say whether the value of an unknown key is worth keeping, to suggest it as a key of tenants."""
    if isinstance(value, str):
        return len(value) <= MAX_SAMPLED_TEXT
    return isinstance(value, int | float)


def attributes_of(pairs: Iterable[tuple[str, Any]], known: dict[str, int]) -> list[KeyValue]:
    """Attributes in their order; of unknown keys (``known``: key to code) only short values are kept."""
    found = []
    for key, value in pairs:
        if key in known or is_short(value):
            raw = raw_of(value)
            if raw is not ABSENT:
                found.append(KeyValue(key, raw))
    return found


def cost_of(value: Any) -> Any:
    """A cost, unless it is the 0 that stands for none."""
    try:
        return value if float(value) > 0 else None
    except (TypeError, ValueError):
        return None


def object_of(value: Any) -> dict[str, Any]:
    """An object that may be written as JSON text; empty for anything else."""
    if isinstance(value, str) and value[:1] == "{":
        try:
            value = orjson.loads(value)
        except UNDECODABLE:
            return {}
    return value if isinstance(value, dict) else {}


def plain_of(value: Any) -> PlainValue | None:
    """A text or a whole number; ``None`` for anything else."""
    if isinstance(value, str):
        return PlainValue(value)
    if type(value) is int:
        return PlainValue(None, value)
    if isinstance(value, float) and value.is_integer():
        return PlainValue(None, int(value))
    return None


def one_by_one(decode: Callable[[bytes], Any]) -> Values:
    """Values of a format whose reader hands over ids and counts as ``PlainValue``, read already, where it can."""

    def scalars(values: Iterable[msgspec.Raw | PlainValue]) -> list[PlainValue] | None:
        found = []
        for value in values:
            plain = value if isinstance(value, PlainValue) else plain_of(decode(bytes(value)))
            if plain is None:
                return None
            found.append(plain)
        return found

    return Values(decode, scalars)
