"""The parts of an OTLP JSON export request that an audit needs, typed; attribute values stay raw bytes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from auditor.load.otlp_values import ABSENT

Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A time; what lies outside is brought to 0, which the protocol reads as unknown, by the repair of the record."""


class KeyValue(msgspec.Struct, gc=False):
    """One attribute; the value is left as it stands in the file."""

    key: str = ""
    value: msgspec.Raw = ABSENT


class Status(msgspec.Struct, gc=False, frozen=True):
    """Only the code is read: the message may quote a prompt."""

    code: int = 0


class Span(msgspec.Struct, gc=False):
    """The fields of a span that an audit needs."""

    traceId: str = ""  # noqa: N815  # the protocol's spelling
    spanId: str = ""  # noqa: N815
    parentSpanId: str = ""  # noqa: N815
    flags: int = 0
    name: str = ""
    kind: int = 0
    startTimeUnixNano: Nanoseconds = 0  # noqa: N815
    endTimeUnixNano: Nanoseconds = 0  # noqa: N815
    attributes: list[KeyValue] = []
    events: msgspec.Raw = ABSENT
    links: msgspec.Raw = ABSENT
    status: Status = Status()


class Event(msgspec.Struct, gc=False):
    """A span event."""

    name: str = ""
    attributes: list[KeyValue] = []


class Link(msgspec.Struct, gc=False):
    """A span link; ids may be lists of byte numbers."""

    traceId: msgspec.Raw = ABSENT  # noqa: N815
    spanId: msgspec.Raw = ABSENT  # noqa: N815


class Scope(msgspec.Struct, gc=False, frozen=True):
    """An instrumentation scope."""

    name: str = ""
    version: str = ""


class ScopeSpans(msgspec.Struct, gc=False):
    """Spans of one scope, which is left as it stands in the file: an export repeats few of them."""

    scope: msgspec.Raw = ABSENT
    spans: list[Span] = []


class ResourceSpans(msgspec.Struct, gc=False):
    """Spans of one resource."""

    resource: msgspec.Raw = ABSENT
    scopeSpans: list[ScopeSpans] = []  # noqa: N815


class Request(msgspec.Struct, gc=False):
    """One export request; the raw fields tell why a record holds no spans."""

    resourceSpans: list[ResourceSpans] | None = None  # noqa: N815
    resourceLogs: msgspec.Raw = ABSENT  # noqa: N815
    resourceMetrics: msgspec.Raw = ABSENT  # noqa: N815
    resource_spans: msgspec.Raw = ABSENT


class RawRequest(msgspec.Struct, gc=False):
    """A request whose parts are decoded one after the other."""

    resourceSpans: list[msgspec.Raw] | None = None  # noqa: N815


class RawResourceSpans(msgspec.Struct, gc=False):
    """Spans of one resource, scope by scope."""

    resource: msgspec.Raw = ABSENT
    scopeSpans: list[msgspec.Raw] = []  # noqa: N815


class RawScopeSpans(msgspec.Struct, gc=False):
    """Spans of one scope, span by span."""

    scope: Scope = Scope()
    spans: list[msgspec.Raw] = []


class Resource(msgspec.Struct, gc=False):
    """A resource."""

    attributes: list[KeyValue] = []
