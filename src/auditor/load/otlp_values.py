"""Attribute values as they stand in a file, decoded one by one: only those that somebody asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson

from auditor.model.spans import MAX_COUNT

ABSENT = msgspec.Raw(b"")
UNREADABLE = math.inf
"""Stands for a value that is there and cannot be read (1e400, bytes that are no UTF-8): no text, count or id."""
UNDECODABLE = (msgspec.DecodeError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError)
"""What decoders raise for bytes that passed as JSON while they were skipped."""


class AnyValue(msgspec.Struct, gc=False):
    """An attribute value of one of the simple kinds."""

    stringValue: str | None = None  # noqa: N815  # the protocol's spelling
    intValue: int | None = None  # noqa: N815
    doubleValue: float | None = None  # noqa: N815
    boolValue: bool | None = None  # noqa: N815
    arrayValue: msgspec.Raw = ABSENT  # noqa: N815
    kvlistValue: msgspec.Raw = ABSENT  # noqa: N815


_any_value = msgspec.json.Decoder(AnyValue, strict=False)


class PlainValue(msgspec.Struct, gc=False, frozen=True):
    """An attribute value that is a text or a whole number."""

    stringValue: str | None = None  # noqa: N815
    intValue: int | None = None  # noqa: N815


_plain_values = msgspec.json.Decoder(list[PlainValue], strict=False)


_json_scalars = msgspec.json.Decoder(list[str | int])
_counts = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]], strict=False)


class Values(NamedTuple):
    """How a format writes attribute values."""

    decode: Callable[[bytes], Any]
    """One value: text, number, bool, list, dict, or ``None`` when it is empty or odd; never raises."""
    scalars: Callable[[Iterable[msgspec.Raw]], list[PlainValue] | None]
    """Several values that should be texts or whole numbers; ``None`` when one of them is neither."""
    counts: Callable[[Iterable[msgspec.Raw]], list[int] | None] | None = None
    """Several values that should be counts, as ``count_of`` reads them; ``None`` when that takes a closer look."""


def decode_plain_values(raws: Iterable[msgspec.Raw]) -> list[PlainValue] | None:
    """Decode several values at once; ``None`` when one of them is malformed."""
    try:
        return _plain_values.decode(b"[" + b",".join(raws) + b"]")
    except UNDECODABLE:
        return None


def decode_value(data: bytes) -> Any:
    """Decode one OTLP ``AnyValue``: text, number, bool, list, dict, or ``None`` when it is empty or odd.

    Never raises: half of a span has been taken over when its values are read.
    """
    try:
        return _decode(data)
    except UNDECODABLE:
        return UNREADABLE


def _decode(data: bytes) -> Any:
    if not data or data == b"null":
        return None
    try:
        value = _any_value.decode(data)
    except msgspec.ValidationError:
        return _odd_value(orjson.loads(data))
    if value.stringValue is not None:
        return value.stringValue
    if value.intValue is not None:
        return value.intValue
    if value.boolValue is not None:
        return value.boolValue
    if value.doubleValue is not None:
        return value.doubleValue
    if value.arrayValue or value.kvlistValue:
        return _odd_value(orjson.loads(data))
    return None


def _odd_value(value: Any) -> Any:
    """Read any shape that an ``AnyValue`` takes in the wild."""
    if not isinstance(value, dict):
        return value
    for key, inner in value.items():
        reader = _ODD.get(key)
        if reader is not None and inner is not None:
            return reader(inner)
    return None


def _array(inner: Any) -> Any:
    values = inner.get("values", []) if isinstance(inner, dict) else inner
    return [_odd_value(value) for value in values] if isinstance(values, list) else None


def _map(inner: Any) -> Any:
    pairs = inner.get("values", []) if isinstance(inner, dict) else inner
    if not isinstance(pairs, list):
        return None
    return {str(pair.get("key")): _odd_value(pair.get("value")) for pair in pairs if isinstance(pair, dict)}


def _itself(inner: Any) -> Any:
    return inner


_ODD: dict[str, Callable[[Any], Any]] = {
    "stringValue": _itself,
    "intValue": _itself,
    "boolValue": _itself,
    "doubleValue": _itself,
    "arrayValue": _array,
    "kvlistValue": _map,
}


def decode_json(data: bytes) -> Any:
    """Decode a value that is written as plain JSON; never raises."""
    if not data:
        return None
    try:
        return orjson.loads(data)
    except UNDECODABLE:
        return UNREADABLE


def decode_json_scalars(raws: Iterable[msgspec.Raw]) -> list[PlainValue] | None:
    """Decode several values that are written as plain JSON; ``None`` when one is no text or whole number."""
    try:
        values = _json_scalars.decode(b"[" + b",".join(raws) + b"]")
    except UNDECODABLE:
        return None
    return [PlainValue(entry) if isinstance(entry, str) else PlainValue(None, entry) for entry in values]


def decode_counts(raws: Iterable[msgspec.Raw]) -> list[int] | None:
    """Decode several values that should be counts, quoted or not; ``None`` when that takes a closer look."""
    try:
        return _counts.decode(b"[" + b",".join(raws) + b"]")
    except UNDECODABLE:
        return None


OTLP_VALUES = Values(decode_value, decode_plain_values)
"""``{"stringValue": "acme"}``"""
JSON_VALUES = Values(decode_json, decode_json_scalars, decode_counts)
"""``"acme"``"""
