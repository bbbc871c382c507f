"""OTLP spans as they stand on the wire, walked by hand: what nobody asks for is passed over and never decoded.

A library makes objects of every attribute, prompts included. Here a span is a few slices, and the slice that holds an
attribute is looked up as a whole: most come again. Only the usual spelling is read, in which encoders write fields
by number and leave out what is empty; whoever calls has a decoder for the rest.

Wire format: https://protobuf.dev/programming-guides/encoding/. Field numbers: opentelemetry-proto, trace.proto.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_TRACE_ID, _SPAN_ID, _PARENT_ID = 0x100A, 0x0812, 0x0822
"""Tags of the ids, with the lengths that they have to have, as two bytes little-endian."""
AFTER_IDS = 28
"""Bytes of a span before what comes behind its own two ids."""
_STATE, _PARENT, _NAME, _KIND, _START, _END = 0x1A, 0x22, 0x2A, 0x30, 0x39, 0x41
ATTRIBUTE, _EVENT, _LINK, _STATUS = 0x4A, 0x5A, 0x6A, 0x7A
_DROPPED = frozenset(b"\x50\x60\x70")
"""Tags of what was dropped: numbers of attributes, events and links."""
_FLAGS = b"\x85\x01"
_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A
KEY, VALUE = _FIRST, _SECOND
"""Tags of the two fields of an attribute."""
LONG = 0x80
"""A byte of a number from which on another follows."""
_VARINT_BYTES = 10
_ids = struct.Struct("<H16sH8sH8s")
_times = struct.Struct("<BQBQ")
_flags = struct.Struct("<I")
NO_TIMES = (0, 0)


class WireError(ValueError):
    """Something else than the usual spelling."""


Head = tuple[str, str, str, bytes, int, int, int, int]
"""The first fields of a span: ids of trace, span and parent as hex, name, kind, start and end, and where it goes on."""
STARTS = 5
"""Place of the start in it."""


def number_at(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends; raises ``WireError`` for one that does not end, ``IndexError`` without one."""
    value = data[at]
    if value < LONG:
        return value, at + 1
    byte = data[at + 1]
    value = value & 0x7F | (byte & 0x7F) << 7
    if byte < LONG:
        return value, at + 2
    for shift in range(14, 7 * _VARINT_BYTES, 7):
        byte = data[at + shift // 7]
        value |= (byte & 0x7F) << shift
        if byte < LONG:
            return value, at + shift // 7 + 1
    raise WireError("a number without an end")


def parts_of_request(data: bytes) -> list[tuple[int, int]]:
    """Where the ``resource_spans`` of a request are; raises ``WireError`` or ``IndexError``."""
    found = []
    at = 0
    while at < len(data):
        if data[at] != _FIRST:
            raise WireError("not a field of a request")
        size, start = number_at(data, at + 1)
        at = start + size
        found.append((start, at))
    if at != len(data):
        raise WireError("a field beyond the end of its request")
    return found


def spans_of(part: bytes, at: int, end: int) -> tuple[bytes, list[tuple[bytes, list[tuple[int, int]]]]]:
    """Of a ``ResourceSpans`` in these bounds: the resource, and scope by scope where the spans are.

    Raises ``WireError`` or ``IndexError``.
    """
    resource = b""
    scopes = []
    while at < end:
        tag = part[at]
        size, at = number_at(part, at + 1)
        stop = at + size
        if tag == _SECOND:
            scope = b""
            spans = []
            while at < stop:
                inner = part[at]
                size, at = number_at(part, at + 1)
                if inner == _SECOND:
                    spans.append((at, at + size))
                elif inner == _FIRST and not scope:
                    scope = part[at : at + size]
                elif inner != _THIRD:
                    raise WireError("not a field of ScopeSpans")
                at += size
            scopes.append((scope, spans))
        elif tag == _FIRST and not resource:
            resource = part[at:stop]
            at = stop
        elif tag == _THIRD:
            at = stop
        else:
            raise WireError("not a field of ResourceSpans")
        if at != stop:
            raise WireError("a span beyond the end of its scope")
    if at != end:
        raise WireError("a scope beyond the end of its resource")
    return resource, scopes


def head_of(span: bytes) -> Head:
    """Read the first fields of a span.

    Raises ``WireError``, ``IndexError`` or ``struct.error`` for another spelling.
    """
    first, trace, second, own, third, eight = _ids.unpack_from(span)
    if first != _TRACE_ID or second != _SPAN_ID:
        raise WireError("not the ids of a span")
    parent = ""
    kind = 0
    name = b""
    if third == _PARENT_ID:
        parent = eight.hex()
        at = _ids.size
        tag = span[at]
    else:
        at = AFTER_IDS
        tag = span[at]
        if tag == _STATE:
            size, at = number_at(span, at + 1)
            at += size
            tag = span[at]
        if tag == _PARENT:
            if span[at + 1] not in (0, 8):
                raise WireError("not the id of a parent")
            stop = at + 2 + span[at + 1]
            parent = span[at + 2 : stop].hex()
            at = stop
            tag = span[at]
    if tag == _NAME:
        size = span[at + 1]
        at += 2
        if size >= LONG:
            size, at = number_at(span, at - 1)
        name = span[at : at + size]
        at += size
        tag = span[at]
    if tag == _KIND:
        kind = span[at + 1]
        if kind >= LONG:
            raise WireError("not a kind")
        at += 2
    tag, start_ns, end_tag, end_ns = _times.unpack_from(span, at)
    if tag != _START or end_tag != _END:
        raise WireError("not both times of a span")
    return trace.hex(), own.hex(), parent, name, kind, start_ns, end_ns, at + _times.size


class Rest(NamedTuple):
    """Fields of a span that few have, as they stand."""

    events: list[bytes]
    links: list[bytes]
    status: bytes
    flags: int


def rest_of(span: bytes, at: int) -> Rest:
    """Read the fields of a span behind its attributes; raises ``WireError``, ``IndexError`` or ``struct.error``."""
    events: list[bytes] = []
    links: list[bytes] = []
    status = b""
    flags = 0
    stop = len(span)
    while at < stop:
        tag = span[at]
        if tag in _DROPPED:
            _, at = number_at(span, at + 1)
        elif span[at : at + 2] == _FLAGS:
            (flags,) = _flags.unpack_from(span, at + 2)
            at += 6
        else:
            size, begin = number_at(span, at + 1)
            at = begin + size
            if tag == _EVENT:
                events.append(span[begin:at])
            elif tag == _LINK:
                links.append(span[begin:at])
            elif tag == _STATUS:
                status = span[begin:at]
            else:
                raise WireError("not a field of Span")
    if at != stop:
        raise WireError("a field beyond the end of its span")
    return Rest(events, links, status, flags)


def pair_of(attribute: bytes) -> tuple[bytes, bytes]:
    """Key and value of an attribute; the value with its tag and length.

    Raises ``WireError`` or ``IndexError`` for another spelling.
    """
    size = attribute[1]
    begin = 2 + size
    if attribute[0] != _FIRST or size >= LONG:
        raise WireError("not the key of an attribute")
    value = attribute[begin:]
    if value:
        size, at = value[1], 2
        if size >= LONG:
            size, at = number_at(value, 1)
        if value[0] != _SECOND or at + size != len(value):
            raise WireError("not the value of an attribute")
    return attribute[2:begin], value
