r"""Attribute values of formats that have no lists: these stand as JSON text inside a text (``"[\"acme\"]"``).

Jaeger's and Zipkin's exporters write arrays so, captured HTTP headers among them. Some formats write counts as
floats, too. Everything else is plain JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

from auditor.load.otlp_values import UNDECODABLE, PlainValue, Values, decode_counts, decode_json

_scalars = msgspec.json.Decoder(list[str | int | float])


def decode_text(data: bytes) -> Any:
    """Decode a plain JSON value; a text that is a JSON list becomes the list. Never raises."""
    value = decode_json(data)
    if isinstance(value, str) and value[:1] == "[":
        try:
            inner = orjson.loads(value)
        except UNDECODABLE:
            return value
        return inner if isinstance(inner, list) else value
    return value


def decode_text_scalars(raws: Iterable[msgspec.Raw]) -> list[PlainValue] | None:
    """Decode several values that should be texts or whole numbers; ``None`` when one of them is neither."""
    try:
        values = _scalars.decode(b"[" + b",".join(raws) + b"]")
    except UNDECODABLE:
        return None
    found = []
    for value in values:
        if isinstance(value, str):
            if value[:1] == "[":
                return None
            found.append(PlainValue(value))
        elif isinstance(value, int):
            found.append(PlainValue(None, value))
        elif value.is_integer():
            found.append(PlainValue(None, int(value)))
        else:
            return None
    return found


TEXT_VALUES = Values(decode_text, decode_text_scalars, decode_counts)
r"""``"acme"``, ``12``, ``12.0``, ``"[\"acme\"]"``"""
