"""Columns in a private file, from which the spans of any range of trace hashes are read back.

A file is one record after another, one for each batch: a head (``_HEAD``), a description in msgpack, the columns as
they are in memory (little-endian), each at a multiple of 8, and what is new in the tables. Places, tenants and facts
are few, and one table of each serves the whole file; texts may be as many as calls, and are those of the builder.
Batches are ordered by trace; fences say where in every column the traces begin whose hash has a given first byte, so
that a range is found without reading what lies beside it. Nothing is mapped: memory holds what a slice needs.

The file belongs to one run of one version on one machine; it is no format to keep.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from auditor.engine.columns import (
    COLUMNS,
    LENGTH,
    OWNER,
    Arrays,
    Axis,
    Table,
    arrays_of,
    batch_of,
    cut_arrays,
    names_in,
    ordered,
    recoded,
    trace_hashes,
    used_codes,
)
from auditor.engine.entries import from_json, to_bytes, to_json, to_text
from auditor.engine.tempdir import no_room
from auditor.errors import SettingsError
from auditor.model.spans import I64, U64, Batch, Bools

_HEAD = struct.Struct("<8sQQ")
"""Mark, bytes of the description, bytes of the columns behind it."""
_MARK = b"auditsp1"
_ALIGNED = 8
FENCES = 256
"""Pieces of a batch, by the first byte of the trace's hash."""
_NEAR = 8
"""Wanted pieces with fewer than so many others between them are read at once: a read costs more than their bytes."""
_AXES = tuple(Axis)
_FEW: tuple[Table, ...] = (Table.PLACES, Table.TENANTS, Table.FACTS)


class _Stored(msgspec.Struct, array_like=True):
    """An array in the file."""

    dtype: str
    shape: tuple[int, ...]
    at: int
    """Bytes from the beginning of the record's columns."""


class _Added(msgspec.Struct, array_like=True):
    """Entries that a table has gained: their lengths in bytes, and the entries one after the other."""

    first: int
    """Code of the first one."""
    lengths: _Stored
    entries: _Stored


class _Description(msgspec.Struct, array_like=True):
    source: int
    """Batches of the same number share their texts."""
    columns: dict[str, _Stored]
    fences: _Stored
    added: dict[str, _Added]
    names: dict[int, bytes]


_DECODER = msgspec.msgpack.Decoder(_Description)


class SpillWriter:
    """Appends batches to a new file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        """Raises ``SettingsError`` when the file exists or cannot be made."""
        self.path = path
        self.spans = 0
        self._source = -1
        self._tables: dict[Table, list[Any]] = {}
        """Those of the builder at work, which holds on to them as well."""
        self._codes: dict[Table, list[int]] = {}
        """For each entry of the builder's tables its code in the file."""
        self._known: dict[Table, dict[Any, int]] = {table: {} for table in _FEW}
        self._texts = 0
        """How many of the builder's are in the file."""
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise no_room(path, error) from error

    def append(self, batch: Batch) -> None:
        """Write a batch; raises ``SettingsError`` that names the directory when it cannot hold it."""
        tables = {table: getattr(batch, table) for table in Table}
        if not self._tables or any(tables[table] is not self._tables[table] for table in Table):
            self._source += 1
            self._tables = tables
            self._codes = {table: [] for table in _FEW}
            self._texts = 0
        added = {table: self._added(table) for table in Table}
        codes = {table: np.array(found, dtype=np.int64) for table, found in self._codes.items()}
        used = {table: np.arange(len(found)) for table, found in codes.items()}
        arrays = ordered(recoded(arrays_of(batch), used, codes))
        layout = _Layout()
        description = _Description(
            source=self._source,
            columns={name: layout.add(values) for name, values in arrays.items()},
            fences=layout.add(_fences(arrays)),
            added={table.value: _stored(first, data, layout) for table, (first, data) in added.items() if data},
            names={key: to_bytes(name) for key, name in batch.names.items()},
        )
        packed = msgspec.msgpack.encode(description)
        try:
            self._write(_HEAD.pack(_MARK, len(packed), layout.size))
            self._write(packed + bytes(-len(packed) % _ALIGNED))
            for values in layout.arrays:
                self._write(values.reshape(-1).view(np.uint8).data)
                self._write(bytes(-values.nbytes % _ALIGNED))
        except OSError as error:
            raise no_room(self.path, error) from error
        self.spans += len(batch.key)

    def _added(self, table: Table) -> tuple[int, list[bytes]]:
        """What is new in a table: the code of the first new entry in the file, and the entries."""
        entries = self._tables[table]
        if table is Table.TEXTS:
            first, self._texts = self._texts, len(entries)
            return first, [to_bytes(text) for text in entries[first:]]
        known, codes = self._known[table], self._codes[table]
        first = len(known)
        codes += [known.setdefault(entry, len(known)) for entry in entries[len(codes) :]]
        return first, [to_bytes(to_json(entry)) for entry in islice(known, first, None)]

    def _write(self, data: bytes | memoryview) -> None:
        """Write all of it: a disk that fills up takes a part before it refuses."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def close(self) -> None:
        """Finish the file; raises ``SettingsError`` when the system only now finds no room for it."""
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        try:
            os.close(handle)
        except OSError as error:
            raise no_room(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Layout:
    """Arrays that are going to be written one after the other."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.size = 0

    def add(self, values: np.ndarray) -> _Stored:
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        self.arrays.append(values)
        stored = _Stored(values.dtype.str, values.shape, self.size)
        self.size += values.nbytes + -values.nbytes % _ALIGNED
        return stored


def _stored(first: int, data: list[bytes], layout: _Layout) -> _Added:
    lengths = np.fromiter(map(len, data), np.uint32, len(data))
    return _Added(first, layout.add(lengths), layout.add(np.frombuffer(b"".join(data), dtype=np.uint8)))


def _fences(arrays: Arrays) -> np.ndarray:
    """First entry on each axis of every piece, and the end of the last one."""
    first_bytes = (trace_hashes(arrays) >> np.uint64(56)).astype(np.int64)
    starts = {Axis.TRACE: np.searchsorted(first_bytes, np.arange(FENCES + 1))}
    for axis, (owner, above) in OWNER.items():
        rows = arrays[owner]
        # Numbers of the column's own kind: others would have it converted for every search.
        starts[axis] = np.searchsorted(rows, starts[above].astype(rows.dtype))
    return np.stack([starts[axis] for axis in _AXES], axis=1).astype(np.uint32)


@dataclass(slots=True)
class _Segment:
    """Where some entries of a table are."""

    first: int
    lengths: _Stored
    entries: _Stored
    base: int


class SpillFile:
    """Reads a finished file. One handle and a few hundred bytes a batch are kept; not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Raises ``SettingsError`` when the file is gone, or was not written to its end."""
        self.path = path
        self.spans = 0
        self.batches = 0
        self._heads: list[int] = []
        self._tables: dict[Table, list[_Segment]] = {table: [] for table in _FEW}
        self._texts: dict[int, list[_Segment]] = {}
        try:
            self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise SettingsError(f"{path}: the temporary file cannot be read: {error.strerror or error}") from error
        try:
            self._index()
        except BaseException:
            self.close()
            raise

    def _index(self) -> None:
        at, end = 0, os.fstat(self._handle).st_size
        while at < end:
            description, base, after = self._description(at)
            if after > end:
                raise self._broken()
            self._heads.append(at)
            self.spans += description.columns[LENGTH[Axis.SPAN]].shape[0]
            texts = self._texts.setdefault(description.source, [])
            for name, added in description.added.items():
                segments = texts if name == Table.TEXTS else self._tables[Table(name)]
                segments.append(_Segment(added.first, added.lengths, added.entries, base))
            at = after
        self.batches = len(self._heads)

    def _description(self, at: int) -> tuple[_Description, int, int]:
        """What the record at a place holds, where its columns begin and where it ends."""
        mark, size, columns = _HEAD.unpack(self._bytes(at, _HEAD.size))
        if mark != _MARK:
            raise self._broken()
        description = _DECODER.decode(self._bytes(at + _HEAD.size, size))
        base = at + _HEAD.size + size + -size % _ALIGNED
        return description, base, base + columns

    def _broken(self) -> SettingsError:
        return SettingsError(f"{self.path}: the temporary file is incomplete; was it changed by another program?")

    def _bytes(self, at: int, size: int) -> bytes:
        data = os.pread(self._handle, size, at)
        while len(data) < size:
            more = os.pread(self._handle, size - len(data), at + len(data))
            if not more:
                raise self._broken()
            data += more
        return data

    def _fill(self, target: memoryview, at: int) -> None:
        # At a place of its own, not where the last read ended: a forked process shares the handle.
        while target:
            done = os.preadv(self._handle, [target], at)
            if not done:
                raise self._broken()
            target, at = target[done:], at + done

    def _array(self, stored: _Stored, base: int, first: int = 0, end: int | None = None) -> np.ndarray:
        """Entries of a stored array."""
        dtype = np.dtype(stored.dtype)
        rows, *width = stored.shape
        values = np.empty((max((rows if end is None else end) - first, 0), *width), dtype)
        if values.size:
            bytes_a_row = dtype.itemsize * math.prod(width)
            self._fill(values.reshape(-1).view(np.uint8).data, base + stored.at + first * bytes_a_row)
        return values

    def spans_by_first_byte(self) -> I64:
        """How many spans belong to traces whose hash has a given first byte: what a range of hashes will hold."""
        found = np.zeros(FENCES, dtype=np.int64)
        for at in self._heads:
            description, base, _ = self._description(at)
            firsts = self._array(description.fences, base)[:, _AXES.index(Axis.SPAN)].astype(np.int64)
            found += firsts[1:] - firsts[:-1]
        return found

    def hashes(self) -> Iterator[U64]:
        """For each batch the hashes of its traces, in order."""
        for arrays in self.read("trace_ids"):
            yield trace_hashes(arrays)

    def read(self, *names: str) -> Iterator[Arrays]:
        """For each batch some of its columns, whole."""
        for at in self._heads:
            description, base, _ = self._description(at)
            yield {name: self._array(description.columns[name], base) for name in names}

    def slice(
        self,
        low: int = 0,
        high: int = 1 << 64,
        without: U64 | None = None,
        extra: U64 | None = None,
        entries: Entries | None = None,
    ) -> list[Batch]:
        """The spans of the traces with ``low <= hash < high``, less those in ``without``, and those in ``extra``.

        Both are sorted. Batches are in the order in which they were appended; their tables are the same objects, and
        hold what this slice uses, or with ``entries`` what all slices use that are given the same.
        """
        wanted = _Wanted(low, high, without, extra)
        parts: list[tuple[int, Arrays, dict[int, bytes]]] = []
        for at in self._heads:
            description, base, _ = self._description(at)
            fences = self._array(description.fences, base)
            for first, end in wanted.runs(fences[:, _AXES.index(Axis.TRACE)]):
                starts = dict(zip(_AXES, fences[first].tolist(), strict=True))
                ends = dict(zip(_AXES, fences[end].tolist(), strict=True))
                arrays = self._part(description, base, starts, ends, wanted)
                if arrays is not None:
                    parts.append((description.source, arrays, description.names))
        return self._batches(parts, entries or Entries())

    def _part(
        self, description: _Description, base: int, starts: dict[Axis, int], ends: dict[Axis, int], wanted: _Wanted
    ) -> Arrays | None:
        """Columns of the wanted traces within a run of pieces; ``None`` where there is none."""
        ids = self._array(description.columns["trace_ids"], base, starts[Axis.TRACE], ends[Axis.TRACE])
        chosen = wanted.among(trace_hashes({"trace_ids": ids}))
        if not chosen.any():
            return None
        arrays: Arrays = {}
        for name, column in COLUMNS.items():
            if name == "trace_ids":
                arrays[name] = ids
                continue
            values = self._array(description.columns[name], base, starts[column.axis], ends[column.axis])
            if isinstance(column.refers, Axis):
                np.subtract(values, values.dtype.type(starts[column.refers]), out=values)
            arrays[name] = values
        return arrays if chosen.all() else cut_arrays(arrays, chosen)

    def _batches(self, parts: Sequence[tuple[int, Arrays, dict[int, bytes]]], entries: Entries) -> list[Batch]:
        used = {table: used_codes((arrays for _, arrays, _ in parts), table) for table in _FEW}
        codes = {table: self._codes(table, self._tables[table], used[table], entries) for table in _FEW}
        for source in dict.fromkeys(number for number, _, _ in parts):
            mine = [arrays for number, arrays, _ in parts if number == source]
            used[Table.TEXTS] = used_codes(mine, Table.TEXTS)
            codes[Table.TEXTS] = self._codes(Table.TEXTS, self._texts[source], used[Table.TEXTS], entries)
            for arrays in mine:
                arrays.update(recoded(arrays, used, codes))
        tables = entries.tables()
        return [
            batch_of(arrays, tables, {key: to_text(name) for key, name in names_in(arrays, names).items()})
            for _, arrays, names in parts
        ]

    def _codes(self, table: Table, segments: Sequence[_Segment], used: I64, entries: Entries) -> I64:
        """Codes among the entries for used codes of the file, which are in order."""
        found: list[int] = []
        borders = [*np.searchsorted(used, [segment.first for segment in segments]).tolist(), len(used)]
        for segment, first, end in zip(segments, borders[:-1], borders[1:], strict=True):
            if first == end:
                continue
            places = used[first:end] - segment.first
            lengths = self._array(segment.lengths, segment.base).astype(np.int64)
            ends = np.cumsum(lengths)
            begins = ends - lengths
            low, high = int(begins[places[0]]), int(ends[places[-1]])
            data = self._bytes(segment.base + segment.entries.at + low, high - low)
            borders_of = zip((begins[places] - low).tolist(), (ends[places] - low).tolist(), strict=True)
            found += entries.codes(table, [data[begin:finish] for begin, finish in borders_of])
        return np.array(found, dtype=np.int64)

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Entries:
    """The tables of batches that are read together: each entry is there once, whatever file it comes from."""

    def __init__(self) -> None:
        self._known: dict[Table, dict[bytes, int]] = {table: {} for table in Table}
        self._tables: dict[Table, list[Any]] = {table: [] for table in Table}

    def codes(self, table: Table, entries: Sequence[bytes]) -> list[int]:
        """A code for each of these entries."""
        known = self._known[table]
        return [known.setdefault(entry, len(known)) for entry in entries]

    def tables(self) -> Mapping[Table, list[Any]]:
        """The tables: always the same objects, which grow."""
        for table, entries in self._tables.items():
            new = list(islice(self._known[table], len(entries), None))
            entries.extend(map(to_text, new) if table is Table.TEXTS else from_json(table, new))
        return self._tables


class _Wanted:
    """The traces of a slice."""

    def __init__(self, low: int, high: int, without: U64 | None, extra: U64 | None) -> None:
        self.low, self.high = low, high
        self.without, self.extra = without, extra
        self._pieces = np.zeros(FENCES, dtype=bool)
        if low < high:
            self._pieces[low >> 56 : ((high - 1) >> 56) + 1] = True
        if extra is not None:
            self._pieces[extra >> np.uint64(56)] = True

    def runs(self, first_traces: np.ndarray) -> list[tuple[int, int]]:
        """Pieces of a batch to be read together: the first of each run, and the end of it."""
        pieces = np.flatnonzero(self._pieces & (first_traces[1:] > first_traces[:-1]))
        if not len(pieces):
            return []
        breaks = np.flatnonzero(np.diff(pieces) > _NEAR)
        return list(
            zip(pieces[[0, *(breaks + 1)]].tolist(), (pieces[[*breaks, len(pieces) - 1]] + 1).tolist(), strict=True)
        )

    def among(self, hashes: U64) -> Bools:
        """Say which of these traces are wanted; their hashes are in order."""
        found = np.zeros(len(hashes), dtype=bool)
        if self.low < self.high:
            found = (hashes >= np.uint64(self.low)) & (hashes <= np.uint64(self.high - 1))
        if self.without is not None:
            found &= ~_are_in(self.without, hashes)
        if self.extra is not None:
            found |= _are_in(self.extra, hashes)
        return found


def _are_in(sorted_set: U64, hashes: U64) -> Bools:
    if not len(sorted_set):
        return np.zeros(len(hashes), dtype=bool)
    at = np.minimum(np.searchsorted(sorted_set, hashes), len(sorted_set) - 1)
    found: Bools = sorted_set[at] == hashes
    return found
