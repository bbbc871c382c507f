"""Columns of rows whose facts and identities are known: what is left of a row are ids, times, counts and its cost.

Rows are gathered as lists and become a ``Batch`` thousands at a time, because numpy pays only for many.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import repeat
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from auditor.load.builder import BatchBuilder, hash_texts, pico_of, plain_hex
from auditor.load.row_values import LAST_NS, hex_id
from auditor.load.rows import LEAST_NS
from auditor.model.spans import I32, I64, NO_COUNT, U8, U32, U64, Batch, Bools, IdKind, mix

ROWS = 1 << 14
"""Rows that become a batch."""
SURE = 0.49
"""A cost this close to a whole number of pico-dollars is that number, whatever the last bit of the float says."""
SURE_BELOW = 1000.0
"""USD below which a float is exact to a fifth of a pico-dollar."""
HEX_DIGITS = 32
UUID_DIGITS = 36
UUID_DASHES = (8, 13, 18, 23)
DASHES = len(UUID_DASHES)

F64 = npt.NDArray[np.float64]
NAN = float("nan")


class Known:
    """Identities that rows may have, numbered: codes of tenant, user and workflow, and the ids that come with them."""

    def __init__(self) -> None:
        self._codes: list[tuple[int, int, int]] = []
        self._first_id: list[int] = [0]
        self._kinds: list[int] = []
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, tenant: int, user: int, workflow: int, ids: Sequence[tuple[IdKind, str]]) -> int:
        """Number of new ones; a code is -1 where there is none."""
        self._codes.append((tenant, user, workflow))
        for kind, text in ids:
            self._kinds.append(kind)
            self._texts.append(text)
        self._first_id.append(len(self._kinds))
        return len(self._codes) - 1

    def codes_of(self, numbers: I64) -> I32:
        """Tenants, users and workflows of rows, as three columns."""
        return np.array(self._codes, dtype=np.int32).reshape(-1, 3)[numbers]

    def ids_of(self, numbers: I64) -> tuple[U32, U8, U64]:
        """Ids of rows: the row that each belongs to, its kind and its hash."""
        first = np.array(self._first_id)
        counts = np.diff(first)[numbers]
        rows = np.repeat(np.arange(len(numbers), dtype=np.uint32), counts)
        at = np.arange(len(rows)) + np.repeat(first[numbers] - np.cumsum(counts) + counts, counts)
        return rows, np.array(self._kinds, dtype=np.uint8)[at], hash_texts(self._texts)[at]


def numbers_of(values: list[Any]) -> array[float]:
    """Numbers, and NaN for ``None``."""
    missing = values.count(None)
    if not missing:
        return array("d", values)
    if missing == len(values):
        return array("d", [NAN]) * missing
    return array("d", [NAN if value is None else value for value in values])


def _numbers() -> array[float]:
    return array("d")


@dataclass(slots=True)
class RowColumns:
    """Rows that have been read, one entry a row in each column. Numbers are NaN where a row is silent."""

    place: int
    """Where all of them stand."""
    system: str
    """Keeps apart what two systems number alike."""
    identities: list[int] = field(default_factory=list)
    """Numbers of what is ``Known``."""
    user: list[int] = field(default_factory=list)
    """Code of the end user, for who has no user among the identities; -1 for none."""
    tenant_row: list[int] = field(default_factory=list)
    """Rows whose tenant is not among the identities."""
    tenant: list[int] = field(default_factory=list)
    facts: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    log_id: list[str] = field(default_factory=list)
    """Also the id of the response."""
    call_id: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    session_row: list[int] = field(default_factory=list)
    """Rows with a session of the caller's own."""
    session: list[str] = field(default_factory=list)
    start: array[float] = field(default_factory=_numbers)
    """Epoch seconds."""
    end: array[float] = field(default_factory=_numbers)
    cost: array[float] = field(default_factory=_numbers)
    """USD."""
    prompt: array[float] = field(default_factory=_numbers)
    completion: array[float] = field(default_factory=_numbers)
    total: array[float] = field(default_factory=_numbers)
    read: array[float] = field(default_factory=_numbers)
    """Cached tokens as one provider names them, and as the other does, which counts where the first is 0."""
    other_read: array[float] = field(default_factory=_numbers)
    written: array[float] = field(default_factory=_numbers)
    other_written: array[float] = field(default_factory=_numbers)

    def __len__(self) -> int:
        return len(self.log_id)

    def hand_on(self, builder: BatchBuilder, known: Known) -> None:
        """Turn the rows, and those that the builder holds, into a batch in the order of their lines; start over."""
        rows = len(self)
        batch = self._batch(builder, known) if rows else None
        if builder.next_row:
            others = builder.finish()
            batch = others if batch is None else joined(batch, others)
        for column in (getattr(self, entry.name) for entry in fields(self)):
            if isinstance(column, list | array):
                del column[:]
        if batch is not None:
            builder.hand_on(in_order(batch), rows)

    def _batch(self, builder: BatchBuilder, known: Known) -> Batch:
        count = len(self)
        rows = np.arange(count, dtype=np.uint32)
        facts = np.array(self.facts, dtype=np.uint32)
        identities = np.array(self.identities, dtype=np.int64)
        tenant, user, workflow = known.codes_of(identities).T
        tenant[self.tenant_row] = self.tenant
        end_user = np.array(self.user, dtype=np.int32)
        is_end_user = (user < 0) & (end_user >= 0)
        start, end = ns_of(self.start), ns_of(self.end)
        end = np.maximum(end, start + LEAST_NS)
        halves = trace_halves(self.trace, self.log_id, self.system)
        mixed = mix(halves[:, 0], halves[:, 1])
        _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
        from_cache = np.array([entry.cache_hit for entry in builder.facts], dtype=bool)[facts]
        ids = (
            known.ids_of(identities),
            _ids(rows, IdKind.CALL, self.call_id, _are_given(self.call_id)),
            _ids(rows, IdKind.RESPONSE, self.log_id, ~from_cache),
            _ids(np.array(self.session_row, dtype=np.uint32), IdKind.SESSION, self.session),
            _ids(rows[is_end_user], IdKind.USER, builder.texts_of(end_user[is_end_user])),
        )
        log_ids = builder.new_texts(self.log_id)
        none = np.empty(0, dtype=np.uint64)
        return Batch(
            key=span_ids(self.log_id, self.call_id, start) ^ mixed,
            parent=np.zeros(count, dtype=np.uint64),
            trace=inverse.astype(np.uint32),
            place=np.full(count, self.place, dtype=np.uint32),
            tenant=tenant.copy(),
            start_ns=start,
            duration_ms=((end - start) / 1e6).astype(np.float32),
            trace_ids=halves[first],
            call_row=rows,
            call_facts=facts,
            tokens=self._tokens(),
            call_user=np.where(is_end_user, end_user, user),
            call_workflow=workflow.copy(),
            call_line=np.array(self.line, dtype=np.uint32),
            extra_call=rows,
            extra_searches=np.full(count, NO_COUNT, dtype=np.uint32),
            extra_cost_pico=picos_of(np.array(self.cost)),
            extra_log_id=np.arange(log_ids.start, log_ids.stop, dtype=np.int32),
            link_row=none.astype(np.uint32),
            link_key=none,
            link_trace=none,
            id_row=np.concatenate([row for row, _, _ in ids]),
            id_kind=np.concatenate([kind for _, kind, _ in ids]),
            id_hash=np.concatenate([hashed for _, _, hashed in ids]),
            **builder.shared(count),
        )

    def _tokens(self) -> U32:
        """Counts in the order of ``TOKEN_COLUMNS``; a row without any input or output says nothing at all."""
        prompt, completion, total = counts_of(self.prompt), counts_of(self.completion), counts_of(self.total)
        read = either(counts_of(self.read), counts_of(self.other_read))
        written = either(counts_of(self.written), counts_of(self.other_written))
        silent = np.full(len(self), NO_COUNT, dtype=np.uint32)
        tokens = np.column_stack((prompt, completion, read, written, silent, total, silent))
        tokens[is_nothing(prompt) & is_nothing(completion)] = NO_COUNT
        return tokens


def _are_given(texts: Sequence[str]) -> Bools | None:
    """Which texts are not empty; ``None`` for all."""
    return np.array(list(map(bool, texts)), dtype=bool) if "" in texts else None


def _ids(rows: U32, kind: IdKind, texts: Sequence[str], chosen: Bools | None = None) -> tuple[U32, U8, U64]:
    """Ids of one kind: row, kind and hash of each, or of those that are chosen."""
    hashes = hash_texts(texts)
    if chosen is not None and not chosen.all():
        rows, hashes = rows[chosen], hashes[chosen]
    return rows, np.full(len(rows), kind, dtype=np.uint8), hashes


def joined(first: Batch, second: Batch) -> Batch:
    """Put the rows of one batch behind those of another with the same tables."""
    rows, calls, traces = len(first.key), len(first.call_row), len(first.trace_ids)
    moved = {
        "trace": second.trace + np.uint32(traces),
        "call_row": second.call_row + np.uint32(rows),
        "extra_call": second.extra_call + np.uint32(calls),
        "link_row": second.link_row + np.uint32(rows),
        "id_row": second.id_row + np.uint32(rows),
    }
    columns: dict[str, Any] = {
        entry.name: np.concatenate([column, moved.get(entry.name, getattr(second, entry.name))])
        for entry in fields(first)
        if isinstance(column := getattr(first, entry.name), np.ndarray)
    }
    return replace(first, **columns, names=first.names | second.names)


def in_order(batch: Batch) -> Batch:
    """Rows, all of which are calls, in the order of the lines that they come from."""
    if (np.diff(batch.call_line.astype(np.int64)) >= 0).all():
        return batch
    by_call = np.argsort(batch.call_line, kind="stable")
    place_of_call = np.argsort(by_call).astype(np.uint32)
    by_row = batch.call_row[by_call]
    place_of_row = np.argsort(by_row).astype(np.uint32)
    by_extra = np.argsort(place_of_call[batch.extra_call])
    columns: dict[str, Any] = {name: getattr(batch, name)[by_row] for name in _OF_ROWS}
    columns |= {name: getattr(batch, name)[by_call] for name in _OF_CALLS}
    columns |= {name: getattr(batch, name)[by_extra] for name in _OF_EXTRAS}
    columns["call_row"] = place_of_row[columns["call_row"]]
    columns["extra_call"] = place_of_call[columns["extra_call"]]
    columns["link_row"] = place_of_row[batch.link_row]
    columns["id_row"] = place_of_row[batch.id_row]
    return replace(batch, **columns)


_OF_ROWS = ("key", "parent", "trace", "place", "tenant", "start_ns", "duration_ms")
_OF_CALLS = (
    "call_row", "call_facts", "tokens", "call_user", "call_workflow", "call_line", "call_part",
)  # fmt: skip
_OF_EXTRAS = ("extra_call", "extra_searches", "extra_cost_pico", "extra_log_id")


def ns_of(seconds: Sequence[float]) -> I64:
    """Epoch seconds as ``ns_of_seconds`` reads them."""
    column = np.array(seconds)
    column[~((column > 0) & (column < LAST_NS / 1e9))] = 0
    # A moment just below the limit may be rounded up to it.
    ns = (column * 1e6 + 0.5).astype(np.int64) * 1000
    ns[(column == 0) | (ns >= LAST_NS)] = 0
    return ns


def counts_of(numbers: Sequence[float]) -> U32:
    """Token counts; ``NO_COUNT`` where there is none."""
    column = np.array(numbers)
    column[np.isnan(column)] = NO_COUNT
    return column.astype(np.uint32)


def is_nothing(counts: U32) -> Bools:
    """Whether a count is 0 or missing."""
    found: Bools = (counts == 0) | (counts == NO_COUNT)
    return found


def either(counts: U32, others: U32) -> U32:
    """The first count, or the other one where the first is 0 or missing and the other is neither."""
    return np.where(is_nothing(counts) & ~is_nothing(others), others, counts)


def picos_of(costs: F64) -> I64:
    """Costs in USD as pico-dollars, as ``pico_of`` reads them; -1 for 0 and for what is no cost."""
    with np.errstate(invalid="ignore", over="ignore"):
        exact = costs * 1e12
        whole = np.rint(exact)
        is_sure = (costs > 0) & (costs < SURE_BELOW) & (np.abs(exact - whole) < SURE)
    picos = np.full(len(costs), -1, dtype=np.int64)
    picos[is_sure] = whole[is_sure]
    for at in np.flatnonzero(~is_sure & (costs > 0)).tolist():
        picos[at] = pico_of(float(costs[at])) or -1
    picos[picos == 0] = -1
    return picos


def trace_halves(traces: Sequence[str], log_ids: Sequence[str], system: str) -> U64:
    """Trace ids as ``hex_id`` reads them, as two columns; the log's own id where a row names no trace."""
    found = plain_hex(list(traces), HEX_DIGITS // 2)
    if found is None:
        found = _of_uuids(traces)
    if found is None or not found.any(axis=1).all():
        read = [hex_id(trace or log_id, HEX_DIGITS // 2, system) for trace, log_id in zip(traces, log_ids, strict=True)]
        found = plain_hex(read, HEX_DIGITS // 2)
    if found is None:
        raise AssertionError("what hex_id makes is plain hex")
    return found


def _of_uuids(traces: Sequence[str]) -> U64 | None:
    """Trace ids that are all written as UUIDs; ``None`` when one is not."""
    joined = "\n".join(traces)
    count = len(traces)
    step = UUID_DIGITS + 1
    if len(joined) != step * count - 1 or joined.count("\n") != count - 1 or joined.count("-") != DASHES * count:
        return None
    if joined[UUID_DIGITS::step].strip("\n") or any(joined[at::step].strip("-") for at in UUID_DASHES):
        return None
    bare = joined.replace("-", "")
    return plain_hex(bare.split("\n"), HEX_DIGITS // 2)


def span_ids(log_ids: Sequence[str], call_ids: Sequence[str], starts: I64) -> U64:
    """Span ids of attempts: the requests of one call differ in when they begin, and mostly in their ids."""
    sums: Iterable[int] = map(crc32, map(str.encode, log_ids))
    sums = map(crc32, map(str.encode, call_ids), map(crc32, repeat(b"\n"), sums))
    found = starts.view(np.uint64) ^ np.fromiter(sums, np.uint64, len(log_ids)) << np.uint64(32)
    found[found == 0] = 1
    return found
