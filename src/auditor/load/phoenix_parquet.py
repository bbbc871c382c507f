"""Phoenix's dataframes as Parquet: columns are read as columns, and what is absent costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from auditor.load.builder import BatchBuilder
from auditor.load.otlp_values import ABSENT
from auditor.load.parquet import as_json, batch_of, nanoseconds, plain_column
from auditor.load.phoenix import PhoenixReader, moment_of
from auditor.load.plain_values import raw_of

if TYPE_CHECKING:
    import pyarrow as pa

CACHED_TEXT = 32
"""Longest text that is worth remembering."""
CACHED_TEXTS = 1 << 16
_MOMENTS = ("start_time", "end_time")


class PhoenixParquetReader:
    """Reads pieces of a dataframe into a ``BatchBuilder``."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._rows = PhoenixReader(builder)
        self._texts: dict[str, msgspec.Raw] = {}

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._rows.finish()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a piece of rows."""
        batch = batch_of(record)
        rows: list[dict[str, msgspec.Raw]] = [{} for _ in range(batch.num_rows)]
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        starts, ends = (_moments(columns.pop(name, None), batch.num_rows) for name in _MOMENTS)
        for name, column in columns.items():
            self._spread(name, column, rows)
        for number, row in enumerate(rows):
            with self._rows.writer.record(b"", line + number, byte):
                self._rows.add(row, starts[number], ends[number])

    def _spread(self, name: str, column: pa.Array, rows: list[dict[str, msgspec.Raw]]) -> None:
        """Give each row its value of a column, unless it is absent."""
        import pyarrow as pa  # noqa: PLC0415  # an extra, there when a record is

        if column.null_count == len(column):
            return
        if pa.types.is_floating(column.type):
            # What is absent is NaN.
            numbers = column.to_numpy(zero_copy_only=False)
            there = np.flatnonzero(~np.isnan(numbers))
            values = numbers[there].tolist()
        elif column.null_count:
            there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
            values = plain_column(column.drop_null())
        else:
            there, values = np.arange(len(column)), plain_column(column)
        texts = self._texts
        for number, value in zip(there.tolist(), values, strict=True):
            raw = texts.get(value) if type(value) is str else None
            if raw is None:
                raw = self._raw(value)
                if raw is ABSENT:
                    continue
            rows[number][name] = raw

    def _raw(self, value: Any) -> msgspec.Raw:
        """A value as JSON; short texts are remembered, for they repeat."""
        if not isinstance(value, str):
            return raw_of(value) if isinstance(value, int | float) else msgspec.Raw(as_json(value))
        raw = raw_of(value)
        if len(value) <= CACHED_TEXT and len(self._texts) < CACHED_TEXTS:
            self._texts[value] = raw
        return raw


def _moments(column: Any, count: int) -> list[int]:
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a record is

    if column is None:
        return [0] * count
    if pa.types.is_timestamp(column.type):
        return [max(value or 0, 0) for value in nanoseconds(column).to_pylist()]
    return [moment_of(value) for value in plain_column(column)]
