"""Takes the spans of a format that is not OTLP one by one and hands them to a ``SpanReader``, some at a time.

A document of any size passes through in bounded memory: whenever enough spans have been read, the builder is
emptied. Where a record is a single span, the spans of many records are read together.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from auditor.load.builder import BatchBuilder, ResourceFacts, canonical_id
from auditor.load.meanings import Meaning, Meanings
from auditor.load.otlp_spans import Group, SpanReader
from auditor.load.otlp_types import KeyValue, Span
from auditor.load.otlp_values import ABSENT, UNDECODABLE, Values
from auditor.load.text_values import TEXT_VALUES
from auditor.model.lexicon import Lexicon, is_technical

PIECE = 256
"""Spans that are collected before they are read."""
WAITING = 1 << 15
"""Bytes of the longest record whose spans wait for those of others."""
HELD = 1 << 17
"""Bytes of records above which their spans wait no longer: more would not stay in the processor's cache."""
CACHED_KEYS = 1 << 16
ID_DIGITS = 16
SPLIT_ABOVE = 4 << 20
"""Bytes of a document above which its spans are decoded one by one."""
BLANKS = 64
"""Bytes that are looked at for the first that is not blank."""
CACHED_RESOURCES = 1 << 14
KINDS = {"UNSPECIFIED": 0, "INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
"""Names of span kinds in upper case, to their numbers in OTLP."""
NOTHING = 2
"""Bytes of an empty list."""
NOT_KNOWN = (None, None)
LOCAL_PARENT = 0x100
"""OTLP flags: the parent is known to be in the same process."""
REMOTE_PARENT = 0x300


class Event(msgspec.Struct, gc=False):
    """An event whose attributes are an object."""

    name: str | None = None
    attributes: dict[str, msgspec.Raw] | None = None


_events = msgspec.json.Decoder(list[Event])


class Uses(dict[str, bool]):
    """By attribute key, whether anybody asks for its value; worked out when a key is seen first."""

    def __init__(self, lexicon: Lexicon, *, with_unknown: bool) -> None:
        super().__init__()
        self._known = lexicon.span_codes
        self._prefixes = lexicon.usage_prefixes
        self._with_unknown = with_unknown

    def __missing__(self, key: str) -> bool:
        """Usage that no vocabulary knows is reported; what is unknown and technical is no tenant's key."""
        used = key in self._known or key.startswith(self._prefixes) or (self._with_unknown and not is_technical(key))
        if len(self) < CACHED_KEYS:
            self[key] = used
        return used


class Waiting(msgspec.Struct, gc=False):
    """Spans of a record, or of a part of it, that are to be read."""

    line: int
    byte: int
    resource: ResourceFacts
    scope: str
    spans: list[Span]
    asked: Hashable = None
    """What the meaning of a single span depends on; ``None`` where it is not to be remembered."""
    meaning: Meaning | None = None


class SpanWriter:
    """Feeds one input's spans to its builder.

    The spans of small records wait for each other: ``finish`` of a reader has to call ``end``.
    """

    def __init__(self, builder: BatchBuilder, *, values: Values = TEXT_VALUES) -> None:
        self.builder = builder
        self.used = Uses(builder.lexicon, with_unknown=False)
        self.told = Uses(builder.lexicon, with_unknown=True)
        """The same with the keys that may name somebody."""
        self._reader = SpanReader(builder, values=values)
        self._groups: list[Waiting] = []
        self.meanings = Meanings(builder)
        self._collected = 0
        self._held = 0
        """Bytes of the records that they came from."""
        self._first = 0
        """Where the groups of this record begin."""
        self._resource: ResourceFacts | None = None
        self._scope = ""
        self._spans: list[Span] = []
        self._resources: dict[tuple[tuple[str, Any], ...], ResourceFacts] = {}
        self._line = 0
        self._byte = 0
        self._may_wait = False

    def record(self, record: bytes | memoryview, line: int, byte: int) -> SpanWriter:
        """Read the record at this position inside a ``with`` block.

        What was collected of one that turns out not to be JSON is let go, with its hold on the bytes of the file.
        Its spans may wait for those of other records when it is small and no piece of the file: see ``held``.
        """
        self._may_wait = isinstance(record, bytes) and len(record) <= WAITING
        self._held += len(record)
        self._first = len(self._groups)
        self._resource = None
        self._line, self._byte = line, byte
        self.builder.records += 1
        return self

    def __enter__(self) -> None:
        """Begin a record."""

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """End a record."""
        if kind is not None:
            self._collected -= sum(len(group.spans) for group in self._groups[self._first :])
            del self._groups[self._first :]
            self._resource, self._spans = None, []
        elif not self._may_wait or self._held > HELD:
            self.end()

    def resume(self, line: int, byte: int) -> None:
        """Go on with a record of which something was held back."""
        if (line, byte) != (self._line, self._byte):
            self._line, self._byte = line, byte
            self._resource = None

    def reject(self, reason: str) -> None:
        """Count a part of the record that cannot be read."""
        self.builder.reject(self._line, self._byte, reason)

    def resource(self, *pairs: tuple[str, Any]) -> ResourceFacts:
        """Read the attributes of a resource, which have to be hashable; the same ones are read once."""
        facts = self._resources.get(pairs)
        if facts is None:
            if len(self._resources) >= CACHED_RESOURCES:
                self._resources.clear()
            facts = self._resources[pairs] = self.builder.resource(pairs)
        return facts

    def uses(self, span: str) -> Uses:
        """Keys whose values are asked for of a span with this id: those of the sample may have others."""
        return self.used if span > self.builder.sample_mark and len(span) == ID_DIGITS else self.told

    def attributes(self, values: Mapping[str, msgspec.Raw], span: str) -> list[KeyValue]:
        """Attributes of the span with this id that are written as an object, as far as they are asked for."""
        uses = self.uses(span)
        return [KeyValue(key, value) for key, value in values.items() if uses[key]]

    def add(self, resource: ResourceFacts, scope: str, span: Span) -> None:
        """Take a span over."""
        if resource is not self._resource or scope != self._scope:
            self._resource, self._scope, self._spans = resource, scope, []
            self._groups.append(Waiting(self._line, self._byte, resource, scope, self._spans))
        self._spans.append(span)
        self._collected += 1
        if self._collected >= PIECE:
            self.end()

    def add_alone(
        self,
        size: int,
        line: int,
        byte: int,
        resource: ResourceFacts,
        scope: str,
        span: Span,
        asked: Hashable = None,
    ) -> None:
        """Take over the only span of a record of so many bytes, which are not many, with the record.

        ``asked`` is all that the meaning of the span depends on besides resource and scope: kind, failure, keys and
        values that are asked for. ``None`` where it is not to be looked up: for a span with events or links, for one
        that may belong to the sample, and where it would hardly be the same twice.
        """
        meaning = None
        if asked is not None:
            asked = id(resource), scope, asked
            meaning = self.meanings.of(asked)
        self.builder.records += 1
        self._groups.append(Waiting(line, byte, resource, scope, [span], asked, meaning))
        self._collected += 1
        self._held += size
        if self._collected >= PIECE or self._held > HELD:
            self.end()

    def add_known(
        self,
        line: int,
        byte: int,
        asked: Hashable,
        ids: tuple[str, str, str],
        start_ns: int,
        end_ns: int,
        *,
        may_be_sampled: bool = False,
    ) -> bool:
        """Take over the only span of a record, if it says what others said before; ids are of trace, span and parent.

        ``asked`` is what ``add_alone`` remembers: the ``id`` of the resource, the scope, and what is said there.
        """
        meaning = self.meanings.of(asked)
        call = None
        if meaning is None and not may_be_sampled:
            meaning, call = self.meanings.call_of(asked) or NOT_KNOWN
        if meaning is None or (may_be_sampled and meaning.is_entry):
            return False
        builder = self.builder
        row = builder.packed + len(builder.span_hex)
        builder.records += 1
        builder.marks.append((row, line, byte))
        if call is not None:
            builder.add_known_call(row, call, line)
        self.meanings.add_row(meaning, ids, start_ns, end_ns)
        return True

    def walk(self, groups: Iterable[Group]) -> None:
        """Read spans of the record at once, behind those that were collected.

        ``groups`` may make rows of spans of which it knows the meaning. Where it is long, it has to ``pause``.
        """
        if self._groups:
            self.end()
        self.builder.marks.append((self.builder.next_row, self._line, self._byte))
        self._reader.read(groups, self._line)
        self.builder.flush_if_full()

    def walk_records(self, groups: Iterable[Group]) -> None:
        """Read the spans of several records at once, behind those that were collected; as ``walk``.

        ``groups`` tells with ``begin_record`` where each record begins.
        """
        if self._groups:
            self.end()
        self._reader.read(groups, 0)
        self.builder.flush_if_full()

    def begin_record(self, line: int, byte: int) -> None:
        """Note in a walk that the spans from here on come from the record at this position."""
        self._reader.line = line
        self.builder.marks.append((self.builder.next_row, line, byte))

    def walk_rows(self, rows: Iterable[tuple[int, int, Group]]) -> None:
        """Read spans that have a line and a byte each, behind those that were collected."""
        if self._groups:
            self.end()
        self._reader.read(self._at_their_lines(rows), 0)
        self.builder.flush_if_full()

    def _at_their_lines(self, rows: Iterable[tuple[int, int, Group]]) -> Iterator[Group]:
        builder, reader = self.builder, self._reader
        for line, byte, group in rows:
            reader.line = line
            builder.records += 1
            builder.marks.append((builder.next_row, line, byte))
            yield group

    def pause(self) -> None:
        """Make room, between spans of a walk."""
        self.builder.pack_if_due()
        self.builder.flush_if_full()

    def end(self) -> None:
        """Read what was collected."""
        groups, self._groups = self._groups, []
        self._collected = self._held = self._first = 0
        self._resource, self._spans = None, []
        self._reader.read(self._placed(groups), 0)
        self.builder.flush_if_full()

    def _placed(self, groups: Iterable[Waiting]) -> Iterator[Group]:
        """Groups, with a note of where the rows come from that they are about to become."""
        builder, reader, meanings = self.builder, self._reader, self.meanings
        marks, ids = builder.marks, builder.span_hex
        at = -1
        for group in groups:
            if group.byte != at or group.line != reader.line:
                reader.line, at = group.line, group.byte
                marks.append((builder.packed + len(ids), reader.line, at))
            if group.meaning is not None:
                (span,) = group.spans
                meanings.add_row(
                    group.meaning,
                    (span.traceId, span.spanId, span.parentSpanId),
                    span.startTimeUnixNano,
                    span.endTimeUnixNano,
                )
            elif group.asked is None:
                yield group.resource, group.scope, group.spans
            else:
                rows, behind = len(ids), meanings.behind()
                yield group.resource, group.scope, group.spans
                if len(ids) > rows:
                    meanings.learn(group.asked, group.resource, behind)


def held(record: bytes | memoryview) -> bytes | memoryview:
    """A small record as bytes of its own, on which its spans may keep their hold when the file moves on."""
    return bytes(record) if len(record) <= WAITING else record


def opens_list(data: msgspec.Raw | bytes | memoryview) -> bool:
    """Say whether a JSON value is a list."""
    return bytes(memoryview(data)[:BLANKS]).lstrip()[:1] == b"["


def events_of(raw: msgspec.Raw) -> msgspec.Raw:
    """Events whose attributes are an object, in the shape of OTLP; absent where they do not matter."""
    if not tells_events(raw):
        return ABSENT
    try:
        events = _events.decode(raw)
    except UNDECODABLE:
        return ABSENT
    return msgspec.Raw(
        msgspec.json.encode(
            [{"name": event.name or "", "attributes": attributes_of(event.attributes or {})} for event in events]
        )
    )


def hex_id(text: str, width: int) -> str:
    """Bring an id of ``width`` bytes to full length; one that cannot be read is empty, which is rejected later."""
    if len(text) == 2 * width:
        return text.lower()
    if text.endswith("="):
        try:
            raw = a2b_base64(text, strict_mode=True)
        except ValueError:
            return ""
        if len(raw) == width:
            return raw.hex()
    return canonical_id(text, width) or ""


def attributes_of(values: Mapping[str, msgspec.Raw]) -> list[KeyValue]:
    """All attributes that are written as an object."""
    return [KeyValue(key, value) for key, value in values.items()]


def tells_events(raw: msgspec.Raw) -> bool:
    """Say whether events may matter: only those with usage, or that are chunks of a stream, do."""
    if len(raw) <= NOTHING:
        return False
    data = bytes(raw)
    return b"hunk" in data or b"sage" in data or b"token" in data


def plain_reason(error: msgspec.ValidationError) -> str:
    """Name the field of the wrong type."""
    return str(error).replace("`", "").replace("$.", "").replace(" - at ", ": ")
