"""Attribute values of OTLP protobuf, decoded one by one: only those that somebody asks for.

A value is the field of its attribute as it stands on the wire, with tag and length: so it tells by itself where it
ends. A value that begins otherwise is plain JSON, which events and odd spans are brought into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditor.load.otlp_values import UNREADABLE, PlainValue, decode_json
from auditor.load.otlp_wire import LONG, VALUE, WireError, number_at
from auditor.load.plain_values import one_by_one

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_TEXT, _INTEGER = 0x0A, 0x18
_SIGN = 1 << 63
SHORTEST = 4
"""Bytes of a value of one byte: its own tag and length, and those of what it holds."""


def decode_proto(data: bytes) -> Any:
    """Decode a value; never raises."""
    if data[:1] != b"\x12":
        return decode_json(data)
    try:
        _, at = number_at(data, 1)
        if at == len(data):
            return None
        if data[at] == _TEXT:
            size, begin = number_at(data, at + 1)
            if begin + size == len(data):
                return data[begin:].decode()
        elif data[at] == _INTEGER:
            number, end = number_at(data, at + 1)
            if end == len(data):
                return number if number < _SIGN else number - 2 * _SIGN
        return _other(data[at:])
    except (WireError, IndexError, UnicodeDecodeError):
        return UNREADABLE


def plain_at(attribute: bytes, at: int) -> PlainValue | None:
    """A short text or whole number whose field begins here and ends the attribute; ``None`` for anything else."""
    stop = len(attribute)
    if stop - at < SHORTEST or attribute[at] != VALUE:
        return None
    size = attribute[at + 1]
    if size >= LONG or at + 2 + size != stop:
        return None
    tag, byte = attribute[at + 2], attribute[at + 3]
    if tag == _TEXT:
        if byte != size - 2:
            return None
        try:
            return PlainValue(attribute[at + 4 :].decode())
        except UnicodeDecodeError:
            return None
    if tag != _INTEGER:
        return None
    if size == 2 and byte < LONG:
        return PlainValue(None, byte)
    if size == 3 and byte >= LONG > attribute[at + 4]:
        return PlainValue(None, byte & 0x7F | attribute[at + 4] << 7)
    return None


def _other(data: bytes) -> Any:
    from google.protobuf.message import DecodeError  # noqa: PLC0415  # takes 30 ms
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue  # noqa: PLC0415

    try:
        return python_of(AnyValue.FromString(data))
    except DecodeError:
        return UNREADABLE


def python_of(value: AnyValue) -> Any:
    """Read a value; ``None`` when it is empty, bytes, or nested too deeply to be an identity."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bool_value":
            return value.bool_value
        case "array_value":
            return [python_of(inner) for inner in value.array_value.values]
        case "kvlist_value":
            return {pair.key: python_of(pair.value) for pair in value.kvlist_value.values}
    return None


PROTO_VALUES = one_by_one(decode_proto)
"""``12 06 0a 04 61 63 6d 65``"""
