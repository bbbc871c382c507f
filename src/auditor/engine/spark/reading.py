"""What executors do to read: files by their parts, lines and tables as Spark hands them out.

All give rows of one kind (``ROWS``): parcels of spans, bonds of their traces, and what reading found out besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from auditor.engine.bonds import bonds_of, distinct
from auditor.engine.machine import without_garbage_collection
from auditor.engine.spark.parcels import pack, parcels
from auditor.errors import AuditorError, InputError
from auditor.load import Part, PartRead
from auditor.load.parquet_tables import table_records
from auditor.load.parts import PartReader
from auditor.load.sources import BOM, SPACE, Record
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.spans import U64, Batch

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "kind tinyint, task int, home int, data binary, node bigint, trace bigint"
"""Spark's schema of what is read."""
TOGETHER = 1 << 19
"""Spans that are cut together: in larger parcels what they share is sent less often."""
PARCELS_BYTES = 16 << 20
"""Most bytes of parcels that are handed on at a time."""
BONDS = 1 << 16
"""Most bonds that are handed on at a time."""


class Kind(IntEnum):
    """What a row holds."""

    FOUND = 0
    """A ``PartRead``."""
    PARCEL = 1
    BOND = 2
    """A node, and a trace that has it."""
    ERROR = 3
    """What ended the reading of everything."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is needed to read."""

    lexicon: Lexicon
    mappings: tuple[SourceMapping, ...]
    partitions: int


class _Gathering:
    """Takes batches and gives rows."""

    def __init__(self, reading: Reading, task: int) -> None:
        self._partitions = reading.partitions
        self._task = task
        self._batches: list[Batch] = []
        self._spans = 0
        self._bonds: list[U64] = []
        self._ready: list[pa.RecordBatch] = []

    def take(self, batch: Batch) -> None:
        """Take a batch."""
        self._batches.append(batch)
        self._spans += len(batch.key)
        self._bonds.append(bonds_of(batch))
        if self._spans >= TOGETHER:
            self._cut()

    def _cut(self) -> None:
        if self._batches:
            homes, found, size = [], [], 0
            for home, data in parcels(self._batches, self._partitions):
                homes.append(home)
                found.append(data)
                size += len(data)
                if size >= PARCELS_BYTES:
                    self._ready.append(rows(Kind.PARCEL, self._task, home=homes, data=found))
                    homes, found, size = [], [], 0
            if homes:
                self._ready.append(rows(Kind.PARCEL, self._task, home=homes, data=found))
        self._batches, self._spans = [], 0
        if self._bonds:
            bonds = distinct(self._bonds).view(np.int64)
            for start in range(0, len(bonds), BONDS):
                some = bonds[start : start + BONDS]
                self._ready.append(rows(Kind.BOND, self._task, node=some[:, 0], trace=some[:, 1]))
        self._bonds = []

    def ready(self) -> Iterator[pa.RecordBatch]:
        """Rows that are complete."""
        ready, self._ready = self._ready, []
        yield from ready

    def rest(self) -> Iterator[pa.RecordBatch]:
        """All that is left."""
        self._cut()
        yield from self.ready()


def rows(kind: Kind, task: int, **columns: Any) -> pa.RecordBatch:
    """Rows of one kind; columns that are not given are empty."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there where Spark is

    count = len(next(iter(columns.values())))
    given = {"kind": [int(kind)] * count, "task": [task] * count, **columns}
    types = {
        "kind": pa.int8(), "task": pa.int32(), "home": pa.int32(), "data": pa.binary(), "node": pa.int64(),
        "trace": pa.int64(),
    }  # fmt: skip
    arrays = [pa.array(given[name], of) if name in given else pa.nulls(count, of) for name, of in types.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(types))


def read_files(
    reading: Reading, tasks: Sequence[Sequence[Part]], numbers: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Read the parts of the tasks with these numbers."""
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            yield from _guarded(number, _read_parts(reading, number, tasks[number]))


def _read_parts(reading: Reading, task: int, parts: Sequence[Part]) -> Iterator[pa.RecordBatch]:
    gathering = _Gathering(reading, task)
    reader = PartReader(reading.lexicon, mappings=reading.mappings)
    for part in parts:
        try:
            found = reader.read(part, gathering.take)
        except InputError as error:
            found = PartRead(part, error=error, bytes=part.source.size)
        yield rows(Kind.FOUND, task, data=[pack(found)])
        yield from gathering.ready()
    yield from gathering.rest()


def read_lines(
    reading: Reading, parts: Mapping[str, Part], other: Part, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Read lines; parts by the names of the files that the lines are from, or one for all others."""
    yield from _guarded(0, _read_lines(reading, parts, other, batches))


def _read_lines(
    reading: Reading, parts: Mapping[str, Part], other: Part, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    gathering = _Gathering(reading, 0)
    reader = PartReader(reading.lexicon, mappings=reading.mappings)
    for name, group in groupby(_lines_of(batches), key=itemgetter(0)):
        part = parts.get(name, other)
        found = reader.read_records(part, ((line, 0, 0) for _, line in group), gathering.take)
        yield rows(Kind.FOUND, 0, data=[pack(found)])
        yield from gathering.ready()
    yield from gathering.rest()


def _lines_of(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, memoryview]]:
    """Names of files and lines that are not blank."""
    for batch in batches:
        lines = views(batch.column(0))
        addresses = batch.column(1).to_pylist() if batch.num_columns > 1 else [""] * batch.num_rows
        names = {address: plain_name(unquote(address)) for address in set(addresses)}
        for address, line in zip(addresses, lines, strict=True):
            if line[:3] == BOM:
                line = line[3:]  # noqa: PLW2901  # the same, without its mark
            if len(line) and (line[0] > SPACE or bytes(line).strip()):
                yield names[address], line


def views(column: pa.Array) -> list[memoryview]:
    """Texts or bytes of a column where they lie; what is absent is empty."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there where Spark is

    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    _, places, content = column.buffers()
    if not len(column) or content is None:
        return [memoryview(b"")] * len(column)
    offsets = np.frombuffer(places, np.int64 if wide else np.int32)[column.offset : column.offset + len(column) + 1]
    data = memoryview(content)
    ends = offsets.tolist()
    return [data[start:end] for start, end in pairwise(ends)]


def plain_name(address: str) -> str:
    """The address of a file, decoded, in one of the spellings that Spark has: with one slash after the scheme."""
    scheme, colon, rest = address.partition(":")
    return f"{scheme}:/{rest.lstrip('/')}" if colon else scheme


def read_table(
    reading: Reading, part: Part, names: Sequence[str], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Read rows of a table with these columns."""
    yield from _guarded(0, _read_table(reading, part, names, batches))


def _read_table(
    reading: Reading, part: Part, names: Sequence[str], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa  # noqa: PLC0415  # an extra, there where Spark is

    gathering = _Gathering(reading, 0)
    reader = PartReader(reading.lexicon, mappings=reading.mappings)
    tables = (pa.RecordBatch.from_arrays(batch.columns, names=list(names)) for batch in batches)
    records: Iterator[Record] = (record for batch in tables for record in table_records(batch))
    found = reader.read_records(part, records, gathering.take)
    if found.spans or found.rejected:
        yield rows(Kind.FOUND, 0, data=[pack(found)])
    yield from gathering.rest()


def _guarded(task: int, found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What the auditor itself refuses reaches the driver as it is, instead of failing the task again and again."""
    with without_garbage_collection():
        try:
            yield from found
        except AuditorError as error:
            yield rows(Kind.ERROR, task, data=[pack(error)])
