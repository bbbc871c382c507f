"""``otel_traces`` as Parquet: columns are sifted as columns, and only what is known becomes Python values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from auditor.load.builder import BatchBuilder, ResourceFacts
from auditor.load.clickhouse import (
    NEEDED,
    TableSpans,
    end_of,
    kind_of,
    links_of,
    nanoseconds_of,
    object_of,
    status_of,
)
from auditor.load.known_rows import KnownRows, Left, Rest, Said, line_of, nothing
from auditor.load.moments import LAST_NS
from auditor.load.otlp_types import KeyValue, Span
from auditor.load.otlp_values import ABSENT
from auditor.load.parquet import Layout, batch_of, nanoseconds, positions
from auditor.load.plain_values import attributes_of, raw_of
from auditor.model.spans import I64

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ScopeName", "StatusCode")
ENTRY_BYTES = 8
"""Of the numbers of a key and a value."""
LAYOUT = Layout(
    name="otel_traces",
    telling=frozenset({"TraceId", "SpanId", "SpanAttributes", "SpanKind", "ResourceAttributes"}),
    needed=NEEDED,
    wanted=frozenset(
        {
            "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ResourceAttributes", "ScopeName", "Duration",
            "StatusCode", "Events.Name", "Events.Attributes", "Links.TraceId", "Links.SpanId",
        }
    ),
)  # fmt: skip


class ClickHouseParquetReader:
    """Reads pieces of the table into a ``BatchBuilder``."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = TableSpans(builder)
        self._known = KnownRows(self._spans.writer)

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a piece of rows."""
        for start, batch in self._known.steps(batch_of(record)):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            for name in TEXTS:
                columns[name] = _as_text(columns[name]) if name in columns else nothing(batch.num_rows)
            found, numbers = self._resources(columns.pop("ResourceAttributes", None), _texts(columns["ServiceName"]))
            said = self._said(columns, batch.num_rows)
            said.leave(np.array([*_lacking(columns)], np.int64))
            said.add_resources(found, numbers)
            ids = [columns[name] for name in ("TraceId", "SpanId", "ParentSpanId")]
            times = _times(columns["Timestamp"], columns.get("Duration"))
            rest = self._known.take(said, ids, times, line_of(line, start))
            if len(rest.rows) < batch.num_rows:
                left = positions(rest.rows)
                columns = {name: column.take(left) for name, column in columns.items()}
            resources = [found[number] for number in numbers[rest.rows].tolist()]
            self._read_closely(columns, resources, rest, line_of(line, start), byte)

    def _said(self, columns: dict[str, Any], count: int) -> Said:
        """What rows say besides their resources."""
        said, used = Said(count, self._known), self._spans.writer.used
        for name in ("SpanKind", "ScopeName", "StatusCode"):
            said.add(name, columns[name])
        for key, rows, values in _by_key(columns["SpanAttributes"], used):
            said.add_attribute(key, rows, values)
            # Of a key that is there twice only one counts.
            said.leave(rows[1:][np.diff(rows) == 0])
        for name in ("Events.Name", "Links.TraceId"):
            if name in columns:
                said.leave(_filled(columns[name]))
        return said

    def _read_closely(
        self, columns: dict[str, Any], resources: Sequence[ResourceFacts], rest: Rest, line: int, byte: int
    ) -> None:
        """Read rows one by one."""
        count = len(resources)
        ids, scopes = _texts(columns["SpanId"]), _texts(columns["ScopeName"])
        starts, ends = _times(columns["Timestamp"], columns.get("Duration"))
        made = map(
            Span,
            _texts(columns["TraceId"]),
            ids,
            _texts(columns["ParentSpanId"]),
            repeat(0),
            _texts(columns["SpanName"]),
            map(kind_of, _texts(columns["SpanKind"])),
            starts.tolist(),
            ends.tolist(),
            self._attributes(columns["SpanAttributes"], ids),
            self._events(columns, count),
            _links(columns, count),
            map(status_of, _texts(columns["StatusCode"])),
        )
        rows: Iterator[Left] = zip(rest.rows.tolist(), rest.asked, resources, scopes, made, strict=True)
        lacking = _lacking(columns)
        if lacking:
            rows = self._whole(rows, lacking, line, byte)
        self._known.read(rows, line, byte)

    def _whole(
        self, rows: Iterator[Left], lacking: Mapping[int, Sequence[str]], line: int, byte: int
    ) -> Iterator[Left]:
        """Rows that lack nothing; the others are rejected."""
        builder = self._spans.writer.builder
        for number, row in enumerate(rows):
            if number in lacking:
                builder.records += 1
                builder.reject(line_of(line, row[0]), byte, f"a row without {', '.join(lacking[number])}")
            else:
                yield row

    def _resources(self, column: Any, services: Sequence[str]) -> tuple[list[ResourceFacts], I64]:
        """The resources of a piece, of which each is read once, and the number of that of each row."""
        entries = _Entries(column, len(services))
        numbers: dict[tuple[str, bytes], int] = {}
        of_rows = [numbers.setdefault(named, len(numbers)) for named in zip(services, entries.marks(), strict=True)]
        rows = np.unique(of_rows, return_index=True)[1].tolist()
        found = [self._spans.resource_of(services[row], *entries.at(row)) for row in rows]
        return found, np.array(of_rows, np.int64)

    def _attributes(self, column: Any, ids: Sequence[str]) -> Iterator[list[KeyValue]]:
        """Known attributes of each row; of the rows that belong to the sample, short ones of other keys too."""
        import pyarrow as pa  # noqa: PLC0415

        spans = self._spans
        if not pa.types.is_map(column.type):
            for value in column.to_pylist():
                yield spans.of_object(object_of(value))
            return
        numbered, values = _as_text(column.keys).dictionary_encode(), _as_text(column.items)
        names, numbers = numbered.dictionary.to_pylist(), numbered.indices.to_numpy()
        used, told = spans.writer.used, spans.writer.told
        is_known = np.array([name in spans.codes for name in names], bool)[numbers]
        may_tell = np.array([told[name] and name not in spans.codes for name in names], bool)[numbers]
        given = column.offsets.to_numpy()
        offsets, others = _after(given, is_known), _after(given, may_tell)
        at = np.flatnonzero(may_tell)
        seen_of, attribute = spans.texts, spans.attribute
        found = [
            seen_of[names[number]].get(text) or attribute(names[number], text or "")
            for number, text in zip(
                numbers[is_known].tolist(), _listed(values.take(positions(np.flatnonzero(is_known)))), strict=True
            )
        ]
        for row, (start, end) in enumerate(pairwise(offsets)):
            here = at[others[row] : others[row + 1]]
            if not len(here) or spans.writer.uses(ids[row]) is used:
                yield found[start:end]
            else:
                unknown = zip(
                    (names[number] for number in numbers[here]), values.take(positions(here)).to_pylist(), strict=True
                )
                yield found[start:end] + attributes_of(unknown, {})

    def _events(self, columns: dict[str, Any], count: int) -> list[msgspec.Raw]:
        names, attributes = columns.get("Events.Name"), columns.get("Events.Attributes")
        found = [ABSENT] * count
        if names is None:
            return found
        for row in _filled(names).tolist():
            texts = names[row].as_py() or ()
            given = attributes[row].as_py() if attributes is not None else None
            known = [
                {_str(key): raw_of(_str(value)) for key, value in pairs if _str(key) in self._spans.codes}
                for pairs in given or ()
            ]
            found[row] = self._spans.events([_str(text) for text in texts], known)
        return found


class _Entries:
    """A column of maps with few entries, row by row."""

    def __init__(self, column: Any, count: int) -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._rows: list[dict[str, Any]] | None = None
        self._offsets: Sequence[int] = [0] * (count + 1)
        self._marks = b""
        if column is None:
            return
        if not pa.types.is_map(column.type):
            self._rows = [object_of(value) for value in column.to_pylist()]
            return
        offsets = column.offsets.to_numpy()
        self._offsets = (offsets - offsets[0]).tolist()
        keys, values = (
            _as_text(part.slice(offsets[0], self._offsets[-1])).dictionary_encode()
            for part in (column.keys, column.items)
        )
        self._keys, self._values = keys, values
        numbers = np.empty((len(keys), 2), np.int32)
        numbers[:, 0], numbers[:, 1] = (part.indices.fill_null(-1).to_numpy() for part in (keys, values))
        self._marks = numbers.tobytes()

    def marks(self) -> list[bytes]:
        """Of each row something that is the same for rows of this column with the same entries."""
        if self._rows is not None:
            return [repr(row).encode("utf-8", "surrogatepass") for row in self._rows]
        bounds = [ENTRY_BYTES * offset for offset in self._offsets]
        return [self._marks[start:end] for start, end in pairwise(bounds)]

    def at(self, row: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Keys and values of a row."""
        if self._rows is not None:
            texts = {key: value for key, value in self._rows[row].items() if isinstance(value, str)}
            return tuple(texts), tuple(texts.values())
        here = slice(self._offsets[row], self._offsets[row + 1])
        if here.start == here.stop:
            return (), ()
        return tuple(self._keys[here].to_pylist()), tuple(self._values[here].to_pylist())


def _after(offsets: I64, keep: Any) -> list[int]:
    """Offsets into what is kept."""
    counted = np.concatenate([[0], np.cumsum(keep)])
    found: list[int] = counted[offsets].tolist()
    return found


def _lacking(columns: Mapping[str, pa.Array]) -> dict[int, list[str]]:
    """Rows without a value that is needed, and which."""
    found: dict[int, list[str]] = {}
    for name in NEEDED:
        if columns[name].null_count:
            for row in np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False)).tolist():
                found.setdefault(row, []).append(name)
    return found


def _by_key(column: pa.Array, uses: Mapping[str, bool]) -> Iterator[tuple[str, I64, pa.Array]]:
    """Of each key that is asked for, the rows that have it, and the values; of what is no map, an attribute for all."""
    import pyarrow as pa  # noqa: PLC0415

    if not pa.types.is_map(column.type):
        yield "", np.arange(len(column)), column
        return
    offsets = column.offsets.to_numpy()
    start, size = int(offsets[0]), int(offsets[-1] - offsets[0])
    keys = _as_text(column.keys.slice(start, size)).dictionary_encode()
    names, numbers = keys.dictionary.to_pylist(), keys.indices.to_numpy()
    is_used = np.array([uses[name] for name in names], bool)
    entries = np.flatnonzero(is_used[numbers])
    entries = entries[np.argsort(numbers[entries], kind="stable")]
    rows = np.repeat(np.arange(len(column)), np.diff(offsets))[entries]
    values = _as_text(column.items.slice(start, size).take(positions(entries))).fill_null("")
    ends = np.cumsum(np.bincount(numbers[entries], minlength=len(names))).tolist()
    for name, begin, end in zip(names, [0, *ends], ends, strict=False):
        if end > begin:
            yield name, rows[begin:end], values.slice(begin, end - begin)


def _times(column: Any, durations: Any) -> tuple[I64, I64]:
    """When spans begin and end; 0 for the end of one that has not ended."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_timestamp(column.type):
        starts = np.maximum(nanoseconds(column).fill_null(0).to_numpy(zero_copy_only=False), 0)
        if durations is not None and not durations.null_count and durations.type in {pa.uint64(), pa.int64()}:
            lasting = np.maximum(durations.to_numpy(), 0).astype(np.uint64)
            # What would lie beyond the last moment ends there.
            rest = (LAST_NS - starts).astype(np.uint64)
            return starts, starts + np.minimum(lasting, rest).astype(np.int64)
    else:
        texts = (_str(value) if isinstance(value, bytes) else value for value in column.to_pylist())
        starts = np.array(list(map(nanoseconds_of, texts)), np.int64)
    if durations is None:
        return starts, np.zeros_like(starts)
    return starts, np.array(list(map(end_of, starts.tolist(), durations.to_pylist())), np.int64)


def _texts(column: Any) -> list[str]:
    found = _listed(column)
    return [value or "" for value in found] if column.null_count else found


def _listed(column: Any) -> list[Any]:
    """The same as ``to_pylist`` of texts gives, sooner."""
    found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return found


def _filled(column: Any) -> I64:
    """Rows whose list is not empty."""
    return np.flatnonzero(np.diff(column.offsets.to_numpy()))


def _as_text(column: Any) -> Any:
    """Texts as texts: ClickHouse writes them as bytes unless told otherwise, and low-cardinality ones by number."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([None if value is None else _str(value) for value in column.to_pylist()], pa.string())


def _str(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _links(columns: dict[str, Any], count: int) -> list[msgspec.Raw]:
    traces, spans = columns.get("Links.TraceId"), columns.get("Links.SpanId")
    if traces is None or spans is None:
        return [ABSENT] * count
    found = [ABSENT] * count
    for row in _filled(traces).tolist():
        ours, others = traces[row].as_py() or (), spans[row].as_py() or ()
        found[row] = links_of([_str(text) for text in ours], [_str(text) for text in others])
    return found
