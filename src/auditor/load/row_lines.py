"""Rows that come one a line: many are decoded at once, and what is not as usual is left to be read by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Generic, TypeVar

import msgspec

from auditor.load.otlp_spans import Group
from auditor.load.otlp_values import UNDECODABLE
from auditor.load.sources import Lines
from auditor.load.span_writer import PIECE, SpanWriter

T = TypeVar("T")
Place = tuple[int, int]
"""Line and byte of the record that a row comes from."""
Walk = Callable[[Sequence[T], Sequence[Place]], Iterable[Group]]
"""Makes spans of rows, for ``SpanWriter.walk_records``."""


class WaitingRows(Generic[T]):
    """Rows that are read together: all of many lines, and some of those that come one by one."""

    def __init__(self, writer: SpanWriter, walk: Walk[T]) -> None:
        self._writer = writer
        self._walk = walk
        self._rows: list[T] = []
        self._places: list[Place] = []

    def add(self, row: T, line: int, byte: int) -> None:
        """Have a row of the record at this position read with those that follow."""
        self._rows.append(row)
        self._places.append((line, byte))
        if len(self._rows) >= PIECE:
            self.end()

    def take(self, lines: Lines, decoder: msgspec.json.Decoder[T], is_whole: Callable[[T], bool]) -> list[int]:
        """Read the rows of lines; says by number which of them take a closer look."""
        rows: list[T | None] = [*rows_of(lines, decoder)]
        are_whole = [row is not None and is_whole(row) for row in rows]
        places = zip(lines.numbers, [lines.byte + start for start in (0, *lines.ends)], strict=False)
        self._places += compress(places, are_whole)
        self._rows += compress(rows, are_whole)  # type: ignore[arg-type]  # none of these is None
        self._writer.builder.records += sum(are_whole)
        # The lines are there no longer than this.
        self.end()
        return [number for number, is_taken in enumerate(are_whole) if not is_taken]

    def end(self) -> None:
        """Read the rows that wait."""
        if self._rows:
            rows, self._rows = self._rows, []
            places, self._places = self._places, []
            self._writer.walk_records(self._walk(rows, places))


def rows_of(lines: Lines, decoder: msgspec.json.Decoder[T]) -> list[T] | list[T | None]:
    """The row of each line; ``None`` for one that cannot be read so."""
    try:
        rows = decoder.decode_lines(lines.data)
    except UNDECODABLE:
        rows = []
    if len(rows) == len(lines.ends):
        return rows
    found: list[T | None] = []
    start = 0
    for end in lines.ends:
        try:
            found.append(decoder.decode(lines.data[start:end]))
        except UNDECODABLE:
            found.append(None)
        start = end
    return found
