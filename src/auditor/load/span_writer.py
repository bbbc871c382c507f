"""Takes the spans of a format that is not OTLP one by one and hands them to a ``SpanReader``, some at a time.

A document of any size passes through in bounded memory: whenever enough spans have been read, the builder is
emptied.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec

from auditor.load.builder import BatchBuilder, ResourceFacts, canonical_id
from auditor.load.otlp_spans import SpanReader
from auditor.load.otlp_types import KeyValue, Span
from auditor.load.otlp_values import Values
from auditor.load.text_values import TEXT_VALUES

PIECE = 256
"""Spans that are collected before they are read."""
CACHED_RESOURCES = 1 << 14
KINDS = {"UNSPECIFIED": 0, "INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
"""Names of span kinds in upper case, to their numbers in OTLP."""
NOTHING = 2
"""Bytes of an empty list."""
LOCAL_PARENT = 0x100
"""OTLP flags: the parent is known to be in the same process."""
REMOTE_PARENT = 0x300


class SpanWriter:
    """Feeds one input's spans to its builder."""

    def __init__(self, builder: BatchBuilder, *, values: Values = TEXT_VALUES) -> None:
        self.builder = builder
        self._reader = SpanReader(builder, values=values)
        self._groups: list[tuple[ResourceFacts, str, list[Span]]] = []
        self._collected = 0
        self._resources: dict[tuple[tuple[str, Any], ...], ResourceFacts] = {}
        self._line = 0
        self._byte = 0

    def start(self, line: int, byte: int) -> None:
        """Begin a record whose end is told by ``end``; what a broken one has left is let go."""
        self._groups.clear()
        self._collected = 0
        self._line, self._byte = line, byte
        self.builder.mark(line, byte)

    def record(self, line: int, byte: int) -> SpanWriter:
        """Read the record at this position inside a ``with`` block.

        What was collected of one that turns out not to be JSON is let go, with its hold on the bytes of the file.
        """
        self.start(line, byte)
        return self

    def __enter__(self) -> None:
        """Begin a record."""

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """End a record."""
        if kind is None:
            self.end()
        self._groups.clear()

    def resume(self, line: int, byte: int) -> None:
        """Go on with a record of which something was held back."""
        if (line, byte) != (self._line, self._byte):
            self.end()
            self._line, self._byte = line, byte
            self.builder.mark(line, byte)
            self.builder.records -= 1

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

    def add(self, resource: ResourceFacts, scope: str, span: Span) -> None:
        """Take a span over."""
        if not self._groups or self._groups[-1][0] is not resource or self._groups[-1][1] != scope:
            self._groups.append((resource, scope, []))
        self._groups[-1][2].append(span)
        self._collected += 1
        if self._collected >= PIECE:
            self.end()

    def end(self) -> None:
        """Read what was collected."""
        builder = self.builder
        groups, self._groups, self._collected = self._groups, [], 0
        self._reader.read(groups, self._line)
        builder.flush_if_full()


def hex_id(text: str, width: int) -> str:
    """Bring an id of ``width`` bytes to full length; one that cannot be read is empty, which is rejected later."""
    if len(text) == 2 * width:
        return text.lower()
    if text.endswith("="):
        try:
            raw = b64decode(text, validate=True)
        except ValueError:
            return ""
        if len(raw) == width:
            return raw.hex()
    return canonical_id(text, width) or ""


def attributes_of(values: Mapping[str, msgspec.Raw]) -> list[KeyValue]:
    """Attributes that are written as an object."""
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
