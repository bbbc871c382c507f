"""Parquet files: which export one holds, and its rows, a piece at a time.

A file is read by row group and only the columns that its format asks for. A record is one piece of rows, as an Arrow
stream of one batch; the number of its first row stands where the line of a text would. Needs the extra ``parquet``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from auditor.errors import InputError
from auditor.load.sources import BrokenFrameError, Opened, Record, extra
from auditor.model.spans import I64

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"
PIECE = 4096
"""Most rows of a record."""
PIECE_BYTES = 1 << 25
"""About the most bytes of a record: attributes may hold whole prompts."""
MAX_BUFFERED = 1 << 30
"""Bytes of a file that has to be held whole, because it comes compressed or through a pipe."""


@dataclass(frozen=True, slots=True)
class Layout:
    """An export that comes as Parquet."""

    name: str
    telling: frozenset[str]
    """Columns that tell it from others."""
    needed: tuple[str, ...]
    """Columns without which nothing can be said."""
    wanted: frozenset[str] = frozenset()
    """Other columns that are read where they are."""
    prefix: str = ""
    """Columns that begin so are attributes."""


def arrow(name: str) -> Any:
    """The library, with its Parquet part; raises ``SettingsError`` naming the extra without it."""
    extra("pyarrow.parquet", "parquet", name, "Parquet")
    return extra("pyarrow", "parquet", name, "Parquet")


def is_parquet(head: bytes) -> bool:
    """Say whether an input is a Parquet file."""
    return head.startswith(MAGIC)


def layout_of(names: Sequence[str], layouts: Sequence[Layout], source: str) -> Layout:
    """Which export has these columns; raises ``InputError`` that names the columns of the nearest one that are missing.

    A column may stand for itself or for a group (``Events`` for ``Events.Name``).
    """
    there = set(names)
    ranked = sorted(layouts, key=lambda layout: -len(there & layout.telling) / len(layout.telling))
    best = ranked[0]
    if not there & best.telling:
        shown = ", ".join(sorted(there)[:8])
        raise InputError(
            f"{source}: Parquet, but none of the tables that are read here (columns: {shown})",
            hint=f"tables: {', '.join(layout.name for layout in layouts)}",
        )
    missing = [name for name in best.needed if name not in there]
    if missing:
        raise InputError(f"{source}: a {best.name} table without the columns {', '.join(missing)}")
    return best


def open_file(opened: Opened) -> Any:
    """Open the file; raises ``InputError`` when it is none, or too large to be held whole where it has to be."""
    name = opened.source.name
    pa = arrow(name)
    source: Any = opened.source.path if opened.is_plain_file else _buffered(opened)
    try:
        return pa.parquet.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: Parquet that cannot be read: {_first_line(error)}") from error


def _buffered(opened: Opened) -> Any:
    buffer = io.BytesIO()
    while part := opened.read(1 << 20):
        buffer.write(part)
        if buffer.tell() > MAX_BUFFERED:
            raise InputError(
                f"{opened.source.name}: compressed or piped Parquet above {MAX_BUFFERED >> 30} GiB: read it from a file"
            )
    buffer.seek(0)
    return buffer


def pieces(opened: Opened, file: Any, columns: Sequence[str]) -> Iterator[Record]:
    """Cut the rows into records; raises ``BrokenFrameError`` where a page cannot be read."""
    pa = arrow(opened.source.name)
    row = 1
    try:
        for group in range(file.num_row_groups):
            facts = file.metadata.row_group(group)
            size = max(1, min(PIECE, PIECE_BYTES * facts.num_rows // max(facts.total_byte_size, 1)))
            for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=list(columns)):
                opened.line = row
                yield record_of(batch), row, 0
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise BrokenFrameError(f"the Parquet breaks off after row {row - 1}: {_first_line(error)}") from error


def is_deep(kind: pa.DataType) -> bool:
    """Say whether values of a column are lists of objects or of lists."""
    import pyarrow as pa  # noqa: PLC0415

    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return bool(pa.types.is_nested(kind.value_type))


def record_of(batch: pa.RecordBatch) -> memoryview:
    """A piece of rows as a record."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when rows are

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())


def batch_of(record: bytes | memoryview) -> pa.RecordBatch:
    """The rows of a record."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a record is

    with pa.ipc.open_stream(record) as stream:
        return stream.read_next_batch()


def plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as Python values: moments as ISO texts in UTC, maps as dicts, what is absent left out."""
    columns = {name: plain_column(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    return [
        {name: value for name, values in columns.items() if (value := values[number]) is not None}
        for number in range(batch.num_rows)
    ]


def plain_column(column: pa.Array) -> list[Any]:
    """Values of a column as Python values: moments as ISO texts in UTC, maps as dicts."""
    import pyarrow as pa  # noqa: PLC0415

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_timestamp(kind):
        column = nanoseconds(column).cast(pa.timestamp("ns")).cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # The same, sooner.
        values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    else:
        values = column.to_pylist(maps_as_pydicts="lossy")
    return values


def nanoseconds(column: pa.Array) -> pa.Array:
    """Moments as integers: nanoseconds since 1970."""
    import pyarrow as pa  # noqa: PLC0415

    zone = column.type.tz
    return column.cast(pa.timestamp("ns", tz=zone), safe=False).cast(pa.int64())


def positions(rows: I64) -> pa.Array:
    """Numbers of rows as Arrow takes them; made from numpy's otherwise, they would bring pandas in."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])


def as_json(value: Any) -> bytes:
    """A row or a value as JSON; what JSON cannot hold becomes text."""
    return msgspec.json.encode(value, enc_hook=str)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
