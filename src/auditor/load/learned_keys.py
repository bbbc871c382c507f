"""Decoders that know the attribute keys of an export.

Instrumentations set a few hundred keys between them. Each key that was seen becomes a type of its own, told apart
by the key as msgspec tells a tagged union apart: the decoder then makes no text of it, and a span's keys are the
types of its attributes, which cost nothing to hash. Ids and counts, of which the value is always read, are decoded
at once; values that nobody asks for are skipped.

A record with a key that is not known yet, or with an id or a count that is neither a text nor a whole number, does
not fit: it is for the plain decoder, and what keys it has are learned from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import GenericAlias
from typing import Annotated, Any, Union

import msgspec

from auditor.load.builder import ID_FIELDS, PRESENCE_BELOW, TOKEN_FIELDS
from auditor.load.otlp_types import Request, ResourceSpans, ScopeSpans, Span
from auditor.load.otlp_values import ABSENT, PlainValue
from auditor.model.lexicon import RANKS, Lexicon, is_technical
from auditor.model.spans import MAX_COUNT

MAX_KEYS = 1 << 11
"""Keys beyond these stay unknown: an export that makes keys up is read by the plain decoder."""
PATIENCE = 64
"""So many more records that do not fit, although all keys are known, than records that do: it is given up."""


class KnownValue(PlainValue, gc=False, frozen=True, forbid_unknown_fields=True):
    """A text or a whole number, and nothing else."""


class KnownCount(PlainValue, gc=False, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A count of tokens that is written as a number, and nothing else."""

    stringValue: None = None  # noqa: N815
    intValue: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]  # noqa: N815


class LearnedKeys:
    """Decodes requests and spans whose attribute keys have all been seen."""

    def __init__(
        self,
        lexicon: Lexicon,
        *,
        span: type[msgspec.Struct] = Span,
        attributes: str = "attributes",
        fields: Callable[[str], list[Any]] | None = None,
        request: Callable[[Any], Any] | None = None,
    ) -> None:
        """For a format like OTLP: ``span`` has the list ``attributes``, ``request`` makes the type of a record.

        ``fields`` tells by its key what else there is of an attribute, ``request`` is given the type of a span.
        """
        self._lexicon = lexicon
        self._base = span
        self._attributes = attributes
        self._fields = fields or self._otlp_fields
        self._request_of = request or _request_of
        self._types: dict[str, Any] = {}
        self._unused = 0
        self._waited = 0
        self._rebuilds = 0
        self._misfits = 0
        self._request: msgspec.json.Decoder[Any] | None = None
        self._span: msgspec.json.Decoder[Any] | None = None

    def request(self, record: bytes | memoryview | msgspec.Raw) -> Any:
        """Decode a request; ``None`` when it does not fit. Raises ``msgspec.DecodeError`` when it is not JSON."""
        if self._request is None:
            return None
        try:
            request = self._request.decode(record)
        except msgspec.ValidationError:
            return None
        self._misfits -= self._misfits > 0
        return request

    def spans(self, raws: Iterable[msgspec.Raw]) -> list[Any] | None:
        """Decode spans; ``None`` when one of them does not fit."""
        if self._span is None:
            return None
        decode = self._span.decode
        try:
            spans = [decode(raw) for raw in raws]
        except msgspec.ValidationError:
            return None
        self._misfits -= self._misfits > 0
        return spans

    def learn(self, spans: Iterable[Any]) -> None:
        """Take over the keys of spans that did not fit."""
        known = self._types
        for span in spans:
            for pair in getattr(span, self._attributes) or ():
                if pair.key not in known and len(known) < MAX_KEYS:
                    known[pair.key] = self._type(pair.key)
                    self._unused += 1
        if not self._unused:
            self._misfits += 1
            if self._misfits > PATIENCE:
                self._request = self._span = None
        elif self._waited >= self._rebuilds:
            self._build()
        else:
            # Making a decoder costs more than reading a record: it waits longer each time.
            self._waited += 1

    def _type(self, key: str) -> Any:
        return msgspec.defstruct(
            "Attribute", self._fields(key), tag_field="key", tag=key, namespace={"key": key}, gc=False
        )

    def _otlp_fields(self, key: str) -> list[Any]:
        code = self._lexicon.span_codes.get(key)
        if code is None and is_technical(key):
            return []
        if code is not None and code // RANKS in ID_FIELDS:
            return [("value", KnownValue, KnownValue())]
        if code is not None and code // RANKS in TOKEN_FIELDS:
            return [("value", KnownCount)]
        if code is None or code >= PRESENCE_BELOW:
            return [("value", msgspec.Raw, ABSENT)]
        return []

    def _build(self) -> None:
        self._unused = self._waited = 0
        self._rebuilds += 1
        attribute: Any = Union[tuple(self._types.values())]  # noqa: UP007  # made at run time
        span = with_members(self._base, self._attributes, attribute)
        self._request = msgspec.json.Decoder(self._request_of(span), strict=False)
        self._span = msgspec.json.Decoder(span, strict=False)


def _request_of(span: Any) -> Any:
    return with_members(Request, "resourceSpans", resource_spans_of(span))


def resource_spans_of(span: Any) -> Any:
    """The type of ``ResourceSpans`` with such spans."""
    return with_members(ResourceSpans, "scopeSpans", with_members(ScopeSpans, "spans", span))


def with_members(base: type[msgspec.Struct], name: str, member: Any) -> Any:
    """Make a struct like ``base`` but for the members of one list."""
    kind, default = GenericAlias(list, (member,)), getattr(base(), name)
    return msgspec.defstruct(
        base.__name__, [(name, kind if default == [] else kind | None, default)], bases=(base,), gc=False
    )
