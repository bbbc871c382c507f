"""``otel_traces`` as Parquet: columns are sifted as columns, and only what is known becomes Python values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from auditor.load.moments import LAST_NS
from auditor.load.otlp_types import KeyValue, Span
from auditor.load.otlp_values import ABSENT
from auditor.load.parquet import Layout, batch_of, nanoseconds
from auditor.load.plain_values import attributes_of, raw_of
from auditor.model.spans import I64

if TYPE_CHECKING:
    import pyarrow as pa

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

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a piece of rows."""
        with self._spans.writer.record(record, line, byte):
            self._add(batch_of(record))

    def _add(self, batch: pa.RecordBatch) -> None:
        spans, count = self._spans, batch.num_rows
        spans.writer.builder.records += count - 1
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        services = _texts(columns.get("ServiceName"), count)
        ids = _texts(columns["SpanId"], count)
        starts, ends = _times(columns["Timestamp"], columns.get("Duration"))
        made = map(
            Span,
            _texts(columns["TraceId"], count),
            ids,
            _texts(columns.get("ParentSpanId"), count),
            repeat(0),
            _texts(columns.get("SpanName"), count),
            map(kind_of, _texts(columns.get("SpanKind"), count)),
            starts,
            ends,
            self._attributes(columns["SpanAttributes"], ids),
            self._events(columns, count),
            _links(columns, count),
            map(status_of, _texts(columns.get("StatusCode"), count)),
        )
        resources = self._resources(columns.get("ResourceAttributes"), services)
        add = spans.writer.add
        for resource, scope, span in zip(resources, _texts(columns.get("ScopeName"), count), made, strict=True):
            add(resource, scope, span)

    def _resources(self, column: Any, services: Sequence[str]) -> Iterator[ResourceFacts]:
        """The resource of each row; of a piece, the same one is read once."""
        entries = _Entries(column, len(services))
        seen: dict[tuple[str, bytes], ResourceFacts] = {}
        for row, service in enumerate(services):
            named = service, entries.mark_of(row)
            facts = seen.get(named)
            if facts is None:
                facts = seen[named] = self._spans.resource_of(service, *entries.at(row))
            yield facts

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
            for number, text in zip(numbers[is_known].tolist(), _listed(values.filter(pa.array(is_known))), strict=True)
        ]
        for row, (start, end) in enumerate(pairwise(offsets)):
            here = at[others[row] : others[row + 1]]
            if not len(here) or spans.writer.uses(ids[row]) is used:
                yield found[start:end]
            else:
                unknown = zip((names[number] for number in numbers[here]), values.take(here).to_pylist(), strict=True)
                yield found[start:end] + attributes_of(unknown, {})

    def _events(self, columns: dict[str, Any], count: int) -> list[msgspec.Raw]:
        names, attributes = columns.get("Events.Name"), columns.get("Events.Attributes")
        found = [ABSENT] * count
        if names is None:
            return found
        for row in _filled(names):
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
        self._offsets = column.offsets.to_pylist()
        keys, values = (_as_text(part).dictionary_encode() for part in (column.keys, column.items))
        self._keys, self._values = keys, values
        numbers = np.empty((len(keys), 2), np.int32)
        numbers[:, 0], numbers[:, 1] = (part.indices.fill_null(-1).to_numpy() for part in (keys, values))
        self._marks = numbers.tobytes()

    def mark_of(self, row: int) -> bytes:
        """The same for rows of this column with the same entries."""
        if self._rows is not None:
            return repr(self._rows[row]).encode("utf-8", "surrogatepass")
        return self._marks[ENTRY_BYTES * self._offsets[row] : ENTRY_BYTES * self._offsets[row + 1]]

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


def _times(column: Any, durations: Any) -> tuple[list[int], list[int]]:
    """When spans begin and end; 0 for the end of one that has not ended."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_timestamp(column.type):
        moments = np.maximum(nanoseconds(column).fill_null(0).to_numpy(zero_copy_only=False), 0)
        starts = moments.tolist()
        if durations is not None and not durations.null_count and durations.type in {pa.uint64(), pa.int64()}:
            lasting = np.maximum(durations.to_numpy(), 0).astype(np.uint64)
            # What would lie beyond the last moment ends there.
            rest = (LAST_NS - moments).astype(np.uint64)
            return starts, (moments + np.minimum(lasting, rest).astype(np.int64)).tolist()
    else:
        starts = [nanoseconds_of(_str(value) if isinstance(value, bytes) else value) for value in column.to_pylist()]
    if durations is None:
        return starts, [0] * len(starts)
    return starts, list(map(end_of, starts, durations.to_pylist()))


def _texts(column: Any, count: int) -> list[str]:
    if column is None:
        return [""] * count
    found = _listed(_as_text(column))
    return [value or "" for value in found] if column.null_count else found


def _listed(column: Any) -> list[Any]:
    """The same as ``to_pylist`` of texts gives, sooner."""
    found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return found


def _filled(column: Any) -> list[int]:
    """Rows whose list is not empty."""
    found: list[int] = np.flatnonzero(np.diff(column.offsets.to_numpy())).tolist()
    return found


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
    for row in _filled(traces):
        ours, others = traces[row].as_py() or (), spans[row].as_py() or ()
        found[row] = links_of([_str(text) for text in ours], [_str(text) for text in others])
    return found
