"""The exports that are read from Parquet, and the reader that tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from auditor.load.builder import BatchBuilder
from auditor.load.clickhouse_parquet import LAYOUT as OTEL_TRACES
from auditor.load.clickhouse_parquet import ClickHouseParquetReader
from auditor.load.langfuse import LangfuseReader
from auditor.load.langsmith import LangSmithReader
from auditor.load.parquet import (
    PIECE,
    Layout,
    as_json,
    batch_of,
    is_deep,
    layout_of,
    open_file,
    pieces,
    plain_rows,
    record_of,
)
from auditor.load.phoenix import PREFIX
from auditor.load.phoenix_parquet import PhoenixParquetReader
from auditor.load.sources import Opened, Record
from auditor.model.lexicon import is_technical

if TYPE_CHECKING:
    import pyarrow as pa

RUNS = Layout(
    name="LangSmith runs",
    telling=frozenset({"run_type", "dotted_order", "parent_run_id"}),
    needed=("id", "run_type", "trace_id"),
    wanted=frozenset(
        {
            "name", "start_time", "end_time", "status", "error", "dotted_order", "parent_run_id", "extra", "outputs",
            "tags", "prompt_tokens", "completion_tokens", "total_tokens", "prompt_token_details",
            "completion_token_details", "total_cost", "first_token_time",
        }
    ),
)  # fmt: skip
OBSERVATIONS = Layout(
    name="Langfuse observations",
    telling=frozenset({"parent_observation_id", "usage_details", "provided_model_name"}),
    needed=("id", "trace_id", "type", "start_time", "usage_details"),
    wanted=frozenset(
        {
            "parent_observation_id", "end_time", "completion_start_time", "time_to_first_token", "name", "level",
            "environment", "user_id", "session_id", "tags", "trace_tags", "metadata", "provided_model_name",
            "provided_usage_details", "total_cost",
        }
    ),
)  # fmt: skip
TRACES = Layout(
    name="Langfuse traces",
    telling=frozenset({"session_id", "user_id", "bookmarked"}),
    needed=("id", "timestamp"),
    wanted=frozenset({"name", "user_id", "session_id", "environment", "tags", "metadata"}),
)


SPANS = Layout(
    name="Phoenix spans",
    telling=frozenset({"context.trace_id", "context.span_id", "span_kind", "attributes.openinference.span.kind"}),
    needed=("context.trace_id", "context.span_id", "start_time"),
    wanted=frozenset({"parent_id", "name", "span_kind", "end_time", "status_code", "events"}),
    prefix=PREFIX,
)


class TableReader(Protocol):
    """Reads the pieces of one table."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one piece."""

    def finish(self) -> None:
        """Take over what was held back."""


class RowsAsJson:
    """Reads the rows of a table whose export comes as JSON too, as that JSON."""

    def __init__(self, reader: TableReader) -> None:
        self._reader = reader

    def finish(self) -> None:
        """Take over what was held back."""
        self._reader.finish()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a piece of rows."""
        for number, row in enumerate(plain_rows(batch_of(record))):
            self._reader.read(as_json(row), line + number, byte)


TABLES: tuple[tuple[Layout, Callable[[BatchBuilder], TableReader]], ...] = (
    (OTEL_TRACES, ClickHouseParquetReader),
    (SPANS, PhoenixParquetReader),
    (RUNS, lambda builder: RowsAsJson(LangSmithReader(builder))),
    (OBSERVATIONS, lambda builder: RowsAsJson(LangfuseReader(builder))),
    (TRACES, lambda builder: RowsAsJson(LangfuseReader(builder))),
)
LAYOUTS = tuple(layout for layout, _ in TABLES)


def parquet_records(opened: Opened) -> Iterator[Record]:
    """Cut a file into pieces of rows with the columns that its export asks for.

    Raises ``InputError`` for a table that is none of those read here, or that lacks columns: it names them.
    """
    file = open_file(opened)
    yield from pieces(opened, file, columns_read(file.schema_arrow, opened.keys, opened.source.name))


def columns_read(schema: pa.Schema, keys: Collection[str], source: str) -> list[str]:
    """The columns of a table that its export asks for, where somebody asks for attributes with these keys.

    Raises ``InputError`` as ``parquet_records`` does.
    """
    layout = layout_of(schema.names, LAYOUTS, source)
    columns = [name for name in schema.names if name in layout.needed or name in layout.wanted]
    if layout.prefix:
        columns += [
            name
            for name in schema.names
            if name.startswith(layout.prefix)
            and (
                name.removeprefix(layout.prefix) in keys
                or _may_tell(name.removeprefix(layout.prefix), schema.field(name).type)
            )
        ]
    return columns


def table_records(batch: pa.RecordBatch) -> Iterator[Record]:
    """Cut rows that something else has read into records, as ``parquet_records`` makes them, without places."""
    for start in range(0, batch.num_rows, PIECE):
        yield bytes(record_of(batch.slice(start, PIECE))), 0, 0


def _may_tell(key: str, kind: pa.DataType) -> bool:
    """Say whether an attribute that no vocabulary knows is worth reading.

    Messages and documents are lists of objects; nobody asks for them, nor for what is technical, but for usage and
    for objects, which may hold both.
    """
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a file is

    if is_deep(kind):
        return False
    return bool(pa.types.is_nested(kind)) or not is_technical(key) or "usage" in key or "token" in key


class ParquetReader:
    """Reads pieces of any of the tables; the first one tells which it is."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._reader: TableReader | None = None

    def finish(self) -> None:
        """Take over what was held back."""
        if self._reader is not None:
            self._reader.finish()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one piece of rows."""
        if self._reader is None:
            self._reader = _reader_of(batch_of(record).schema.names)(self._builder)
        self._reader.read(record, line, byte)


def _reader_of(names: Sequence[Any]) -> Callable[[BatchBuilder], TableReader]:
    layout = layout_of([str(name) for name in names], LAYOUTS, "the input")
    return next(reader for entry, reader in TABLES if entry is layout)
