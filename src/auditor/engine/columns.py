"""Batches ordered by trace, parts of them, and several put together.

In the order by trace, a range of trace hashes is one slice of every column. Everything here goes by what ``COLUMNS``
says of a column: a new one of ``Batch`` needs a line there and nothing else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import numpy as np

from auditor.model.spans import I64, U64, Batch, Bools, mix

T = TypeVar("T", bound=Hashable)
V = TypeVar("V")


class Axis(StrEnum):
    """What the entries of a column stand for."""

    SPAN = "span"
    TRACE = "trace"
    CALL = "call"
    LINK = "link"
    ID = "id"
    EXTRA = "extra"


class Table(StrEnum):
    """A table of a batch's interned values; the value is the name of the field."""

    PLACES = "places"
    TENANTS = "tenants"
    FACTS = "facts"
    TEXTS = "texts"


class Column(NamedTuple):
    """What a column holds."""

    axis: Axis
    refers: Axis | Table | None = None
    """Whose rows its numbers are; -1 is none of them."""


COLUMNS: Mapping[str, Column] = {
    "key": Column(Axis.SPAN),
    "parent": Column(Axis.SPAN),
    "trace": Column(Axis.SPAN, Axis.TRACE),
    "place": Column(Axis.SPAN, Table.PLACES),
    "tenant": Column(Axis.SPAN, Table.TENANTS),
    "start_ns": Column(Axis.SPAN),
    "duration_ms": Column(Axis.SPAN),
    "trace_ids": Column(Axis.TRACE),
    "call_row": Column(Axis.CALL, Axis.SPAN),
    "call_facts": Column(Axis.CALL, Table.FACTS),
    "tokens": Column(Axis.CALL),
    "call_user": Column(Axis.CALL, Table.TEXTS),
    "call_workflow": Column(Axis.CALL, Table.TEXTS),
    "call_line": Column(Axis.CALL),
    "call_part": Column(Axis.CALL),
    "link_row": Column(Axis.LINK, Axis.SPAN),
    "link_key": Column(Axis.LINK),
    "link_trace": Column(Axis.LINK),
    "id_row": Column(Axis.ID, Axis.SPAN),
    "id_kind": Column(Axis.ID),
    "id_hash": Column(Axis.ID),
    "extra_call": Column(Axis.EXTRA, Axis.CALL),
    "extra_searches": Column(Axis.EXTRA),
    "extra_cost_pico": Column(Axis.EXTRA),
    "extra_log_id": Column(Axis.EXTRA, Table.TEXTS),
}
"""Every array of a batch."""
OWNER = {
    Axis.SPAN: ("trace", Axis.TRACE),
    Axis.CALL: ("call_row", Axis.SPAN),
    Axis.LINK: ("link_row", Axis.SPAN),
    Axis.ID: ("id_row", Axis.SPAN),
    Axis.EXTRA: ("extra_call", Axis.CALL),
}
"""The column that says to what an entry belongs, and the axis of that; an axis comes after the one it depends on."""
LENGTH = {Axis.TRACE: "trace_ids", **{axis: name for axis, (name, _) in OWNER.items()}}
"""A column of each axis."""

_FEW = 4
"""A table of at most so many entries for each reference to it is looked up by place; a larger one is searched."""

Arrays = dict[str, np.ndarray]
"""Columns by name."""


def arrays_of(batch: Batch) -> Arrays:
    """The columns of a batch."""
    return {name: getattr(batch, name) for name in COLUMNS}


def batch_of(arrays: Arrays, tables: Mapping[Table, list[Any]], names: dict[int, str]) -> Batch:
    """A batch of these columns and tables."""
    values: dict[str, Any] = {**arrays, **{table.value: entries for table, entries in tables.items()}}
    return Batch(**values, names=names)


def trace_hashes(arrays: Arrays) -> U64:
    """Mixed hash of each trace."""
    ids = arrays["trace_ids"]
    return mix(ids[:, 0], ids[:, 1])


def by_trace(batch: Batch) -> Batch:
    """The same batch, its traces in the order of their hashes, its spans in that of their traces, and so on down.

    What belongs to one owner stays in the order it has. The tables are the same objects.
    """
    arrays = ordered(arrays_of(batch))
    return batch_of(arrays, {table: getattr(batch, table) for table in Table}, batch.names)


def ordered(arrays: Arrays) -> Arrays:
    """Columns as ``by_trace`` puts them."""
    orders: dict[Axis, I64 | None] = {}
    new_rows: dict[Axis, I64] = {}

    def note(axis: Axis, ranks: np.ndarray) -> None:
        if _ascends(ranks):
            orders[axis] = None
            return
        orders[axis] = order = np.argsort(ranks, kind="stable")
        new_rows[axis] = new = np.empty(len(order), dtype=np.int64)
        new[order] = np.arange(len(order))

    note(Axis.TRACE, trace_hashes(arrays))
    for axis, (owner, above) in OWNER.items():
        rows = arrays[owner]
        note(axis, rows if orders[above] is None else new_rows[above][rows])
    found = {}
    for name, values in arrays.items():
        column = COLUMNS[name]
        if isinstance(column.refers, Axis) and orders[column.refers] is not None:
            values = new_rows[column.refers][values].astype(values.dtype)  # noqa: PLW2901
        order = orders[column.axis]
        found[name] = values if order is None else values[order]
    return found


def _ascends(ranks: np.ndarray) -> bool:
    return bool((ranks[1:] >= ranks[:-1]).all())


def cut(batch: Batch, chosen: Bools) -> Batch:
    """The part of a batch with the chosen ones of its traces (one entry for each), and tables of what is used in it."""
    return _alone(cut_arrays(arrays_of(batch), chosen), batch)


def pieces(batch: Batch, firsts: I64) -> Iterator[Batch]:
    """Cut a batch that is ordered by trace: one piece begins at each of these rows of ``trace_ids``, as by ``cut``."""
    arrays = arrays_of(batch)
    borders = {Axis.TRACE: np.r_[firsts, len(batch.trace_ids)]}
    for axis, (owner, above) in OWNER.items():
        borders[axis] = np.searchsorted(arrays[owner], borders[above].astype(arrays[owner].dtype))
    for number in range(len(firsts)):
        starts = {axis: int(edges[number]) for axis, edges in borders.items()}
        part = {}
        for name, column in COLUMNS.items():
            values = arrays[name][starts[column.axis] : int(borders[column.axis][number + 1])]
            refers = column.refers
            part[name] = values - values.dtype.type(starts[refers]) if isinstance(refers, Axis) else values
        yield _alone(part, batch)


def _alone(arrays: Arrays, batch: Batch) -> Batch:
    """Columns of a batch with tables of what is used in them."""
    used = {table: used_codes([arrays], table) for table in Table}
    return batch_of(
        recoded(arrays, used, {table: np.arange(len(codes)) for table, codes in used.items()}),
        {table: [getattr(batch, table)[code] for code in codes.tolist()] for table, codes in used.items()},
        names_in(arrays, batch.names),
    )


def cut_arrays(arrays: Arrays, chosen: Bools) -> Arrays:
    """The columns with the chosen traces; references to tables stay as they are."""
    kept = {Axis.TRACE: chosen}
    new_rows = {Axis.TRACE: np.cumsum(chosen) - 1}
    for axis, (owner, above) in OWNER.items():
        kept[axis] = kept[above][arrays[owner]]
        new_rows[axis] = np.cumsum(kept[axis]) - 1
    found = {}
    for name, values in arrays.items():
        column = COLUMNS[name]
        part = values[kept[column.axis]]
        found[name] = new_rows[column.refers][part].astype(values.dtype) if isinstance(column.refers, Axis) else part
    return found


def names_in(arrays: Arrays, names: Mapping[int, V]) -> dict[int, V]:
    """The names of the spans that are there."""
    if not names:
        return {}
    keys = set(arrays["key"].tolist())
    return {key: name for key, name in names.items() if key in keys}


def used_codes(parts: Iterable[Arrays], table: Table) -> I64:
    """Codes of a table that columns refer to, in order."""
    columns = [arrays[name] for arrays in parts for name in arrays if COLUMNS[name].refers is table]
    columns = [values for values in columns if len(values)]
    highest = max((int(values.max()) for values in columns), default=-1)
    if highest > _FEW * sum(map(len, columns)):
        found: I64 = np.unique(np.concatenate(columns).astype(np.int64))
        return found[found >= 0]
    seen: Bools = np.zeros(highest + 2, dtype=bool)
    for values in columns:
        seen[values] = True
    # A code of -1 has marked the last one.
    return np.flatnonzero(seen[:-1]).astype(np.int64, copy=False)


def recoded(arrays: Arrays, used: Mapping[Table, I64], codes: Mapping[Table, I64]) -> Arrays:
    """The columns with other codes for entries of these tables: a new one for each used one; -1 stays as it is."""
    return {
        name: _recoded(values, used[refers], codes[refers])
        if isinstance(refers := COLUMNS[name].refers, Table) and refers in used
        else values
        for name, values in arrays.items()
    }


def _recoded(values: np.ndarray, used: I64, codes: I64) -> np.ndarray:
    if not len(used):
        return values
    if used[-1] <= _FEW * len(values):
        places = np.zeros(int(used[-1]) + 2, dtype=values.dtype)
        places[-1:] -= places.dtype.type(1)
        places[used] = codes
        found: np.ndarray = places[values]
    else:
        found = np.where(values < 0, np.int64(-1), codes[np.searchsorted(used, np.maximum(values, 0))])
    return found.astype(values.dtype, copy=False)


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of several, ordered by trace, with tables of what is used."""
    tables: dict[Table, dict[Any, int]] = {table: {} for table in Table}
    starts = dict.fromkeys(Axis, 0)
    parts: list[Arrays] = []
    for batch in batches:
        arrays = arrays_of(batch)
        used = {table: used_codes([arrays], table) for table in Table}
        moved = recoded(
            arrays, used, {table: _interned(getattr(batch, table), used[table], tables[table]) for table in Table}
        )
        for name, column in COLUMNS.items():
            if isinstance(column.refers, Axis):
                moved[name] = (moved[name].astype(np.int64) + starts[column.refers]).astype(moved[name].dtype)
        for axis, name in LENGTH.items():
            starts[axis] += len(arrays[name])
        parts.append(moved)
    together = {name: np.concatenate([arrays[name] for arrays in parts]) for name in COLUMNS}
    _, first, number = np.unique(trace_hashes(together), return_index=True, return_inverse=True)
    together["trace"] = number[together["trace"]].astype(together["trace"].dtype)
    together["trace_ids"] = together["trace_ids"][first]
    return batch_of(
        ordered(together),
        {table: list(entries) for table, entries in tables.items()},
        {key: name for batch in batches for key, name in batch.names.items()},
    )


def _interned(entries: list[T], used: I64, known: dict[T, int]) -> I64:
    """Where each used entry of a table is among the known ones."""
    return np.array([known.setdefault(entries[code], len(known)) for code in used.tolist()], dtype=np.int64)


def first_fault(batch: Batch) -> str | None:
    """Name of a column that does not fit the others: of another length, or with rows that do not exist."""
    lengths: dict[Axis | Table, int] = {axis: len(getattr(batch, name)) for axis, name in LENGTH.items()}
    lengths |= {table: len(getattr(batch, table)) for table in Table}
    for name, column in COLUMNS.items():
        values = getattr(batch, name)
        if len(values) != lengths[column.axis]:
            return name
        if column.refers is not None and len(values):
            lowest = -1 if isinstance(column.refers, Table) and values.dtype.kind == "i" else 0
            if int(values.min()) < lowest or int(values.max()) >= lengths[column.refers]:
                return name
    return None
