"""Merges batches into one table of spans, sorted by key, each span once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from auditor.graph.log_events import settle_events
from auditor.graph.ordering import order_by, order_of_hashes
from auditor.model.spans import (
    F32,
    I32,
    I64,
    NO_COUNT,
    U8,
    U32,
    U64,
    Batch,
    Bools,
    CallFacts,
    Place,
    TenantTag,
    mix,
)

T = TypeVar("T", bound=Hashable)

ROOT = -1
MISSING = -2
LOOKS = 16
FEW = 4
"""As a power of two: keys of which there is a larger share than one in so many are looked up at once."""


@dataclass(slots=True)
class SpanTable:
    """All spans of a run. Rows are in the order of their keys, which says nothing about files."""

    key: U64
    parent: I32
    """Row of the parent; ``ROOT`` without one, ``MISSING`` when it is not in the input."""
    trace: U32
    place: U32
    tenant: I32
    start_ns: I64
    duration_ms: F32
    trace_ids: U64
    trace_mixed: U64
    """Hash of each trace, by row of ``trace_ids``."""

    call_row: U32
    call_parent: U64
    """Key of the parent of each call, also of one that is not in the input; 0 for none."""
    call_facts: U32
    tokens: U32
    call_user: I32
    call_workflow: I32
    call_line: U32
    call_part: U32
    searches: U32
    """Search units of each call; ``NO_COUNT`` for none."""
    reported_pico: I64
    log_id: I32

    link_row: U32
    link_target: I32
    """Row of the linked span, or ``MISSING``."""
    id_row: U32
    id_kind: U8
    id_hash: U64

    places: list[Place]
    tenants: list[tuple[TenantTag, ...]]
    facts: list[CallFacts]
    texts: list[str]
    names: dict[int, str]
    """Span names by key, for an explained trace only."""
    redelivered: int
    column_bytes: int
    """Bytes in the arrays of the batches, before they were merged."""

    def span_id(self, row: int) -> str:
        """Span id of a row as hex."""
        return f"{int(self.key[row]) ^ int(self.trace_mixed[self.trace[row]]):016x}"

    def trace_id(self, row: int) -> str:
        """Trace id of a row as hex."""
        high, low = self.trace_ids[self.trace[row]]
        return f"{int(high):016x}{int(low):016x}"

    def end_ns(self, rows: I64) -> I64:
        """End times; the start where a span has not ended."""
        lasted = np.nan_to_num(self.duration_ms[rows].astype(np.float64)) * 1e6
        return self.start_ns[rows] + lasted.astype(np.int64)


def merge(batches: Sequence[Batch]) -> SpanTable:
    """Put batches together in any order: the result differs in nothing but positions in files."""
    column_bytes = sum(batch.column_bytes for batch in batches)
    places, place_maps = _intern(batch.places for batch in batches)
    tenants, tenant_maps = _intern(batch.tenants for batch in batches)
    facts, facts_maps = _intern(batch.facts for batch in batches)
    texts, text_maps = _intern(batch.texts for batch in batches)
    offsets = np.cumsum([0, *(len(batch.key) for batch in batches)])

    mixed = [mix(batch.trace_ids[:, 0], batch.trace_ids[:, 1]) for batch in batches]
    trace_mixed, first = np.unique(_join(mixed, np.uint64), return_index=True)
    trace_ids = np.concatenate([np.empty((0, 2), np.uint64), *(batch.trace_ids for batch in batches)])[first]

    key = _join([batch.key for batch in batches], np.uint64)
    tenant = _join([_map(tenant_maps[n], batch.tenant) for n, batch in enumerate(batches)], np.int32)
    start_ns = _join([batch.start_ns for batch in batches], np.int64)
    duration = _join([batch.duration_ms for batch in batches], np.float32)
    call_row = _join([batch.call_row + offsets[n] for n, batch in enumerate(batches)], np.int64)
    call_facts = _join([facts_maps[n][batch.call_facts] for n, batch in enumerate(batches)], np.uint32)
    tokens = np.concatenate([np.empty((0, 7), np.uint32), *(batch.tokens for batch in batches)])

    order, ordered = order_of_hashes(key)
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    group = np.cumsum(is_new, dtype=np.int32) - 1
    rows = int(group[-1]) + 1 if len(group) else 0
    chosen = order[is_new]
    place = _join([place_maps[n][batch.place] for n, batch in enumerate(batches)], np.uint32)
    parent_key = _join([batch.parent for batch in batches], np.uint64)
    if rows < len(order):
        chosen, tenant = _choose_copies(
            order, is_new, group, chosen, tenant, _ranks(tenants), start_ns, duration, parent_key, _ranks(places)[place]
        )
    new_row = np.empty(len(order), dtype=np.int32)
    new_row[order] = group

    sparse = _Sparse(batches, text_maps)
    candidate_row = new_row[call_row]
    calls = settle_events(
        candidate_row,
        _choose_calls(candidate_row, call_facts, tokens, sparse, facts, texts),
        call_facts,
        tokens,
        sparse.searches,
        (sparse.user, sparse.workflow),
        facts,
        texts,
        ~np.isnan(duration[chosen]),
    )
    parent_key = parent_key[chosen]
    sorted_key = ordered[is_new]
    link_row = new_row[_join([batch.link_row + offsets[n] for n, batch in enumerate(batches)], np.int64)]
    link_key = _join([batch.link_key for batch in batches], np.uint64)
    link_target = find_rows(sorted_key, link_key)
    links = _first_of_each(link_row, link_target)
    id_row = new_row[_join([batch.id_row + offsets[n] for n, batch in enumerate(batches)], np.int64)]
    id_kind = _join([batch.id_kind for batch in batches], np.uint8)
    id_hash = _join([batch.id_hash for batch in batches], np.uint64)
    ids = _first_of_each(id_row.astype(np.uint64) << np.uint64(8) | id_kind, id_hash)
    return SpanTable(
        key=sorted_key,
        parent=_parent_rows(sorted_key, parent_key, _known_parents(batches, offsets, new_row, chosen)),
        trace=_join(
            [np.searchsorted(trace_mixed, mixed[n])[batch.trace] for n, batch in enumerate(batches)],
            np.uint32,
        )[chosen],
        place=place[chosen],
        tenant=tenant[chosen],
        start_ns=start_ns[chosen],
        duration_ms=duration[chosen],
        trace_ids=trace_ids,
        trace_mixed=trace_mixed,
        call_row=new_row[call_row][calls].astype(np.uint32),
        call_parent=parent_key[new_row[call_row][calls]],
        call_facts=call_facts[calls],
        tokens=tokens[calls],
        call_user=sparse.user[calls],
        call_workflow=sparse.workflow[calls],
        call_line=_join([batch.call_line for batch in batches], np.uint32)[calls],
        call_part=_join([batch.call_part for batch in batches], np.uint32)[calls],
        searches=sparse.searches[calls],
        reported_pico=sparse.reported[calls],
        log_id=sparse.log_id[calls],
        link_row=link_row[links].astype(np.uint32),
        link_target=link_target[links].astype(np.int32),
        id_row=id_row[ids].astype(np.uint32),
        id_kind=id_kind[ids],
        id_hash=id_hash[ids],
        places=places,
        tenants=tenants,
        facts=facts,
        texts=texts,
        names={key: name for batch in batches for key, name in batch.names.items()},
        redelivered=len(order) - rows,
        column_bytes=column_bytes,
    )


class _Sparse:
    """Columns of calls that few calls have, spread out to one entry a call."""

    def __init__(self, batches: Sequence[Batch], text_maps: list[I32]) -> None:
        counts = [len(batch.call_row) for batch in batches]
        total = sum(counts)
        starts = np.cumsum([0, *counts])
        self.user = _join([_map(text_maps[n], batch.call_user) for n, batch in enumerate(batches)], np.int32)
        self.workflow = _join([_map(text_maps[n], batch.call_workflow) for n, batch in enumerate(batches)], np.int32)
        self.searches = np.full(total, NO_COUNT, dtype=np.uint32)
        self.reported = np.full(total, -1, dtype=np.int64)
        self.log_id = np.full(total, -1, dtype=np.int32)
        for n, batch in enumerate(batches):
            at = batch.extra_call + starts[n]
            self.searches[at] = batch.extra_searches
            self.reported[at] = batch.extra_cost_pico
            self.log_id[at] = _map(text_maps[n], batch.extra_log_id)


def find_rows(sorted_key: U64, wanted: U64) -> I64:
    """Rows of the spans with these keys, ``MISSING`` where there is none.

    Keys are hashes: as many ranges of them as there are rows hold about one each, so that a few looks find them all.
    Where keys crowd in one range, as hashes do not, the last ones are searched for; and so are few among many.
    """
    if len(wanted) < len(sorted_key) >> FEW:
        return _searched(sorted_key, wanted)
    found = np.full(len(wanted), MISSING, dtype=np.int64)
    shift = np.uint64(64 - max(1, len(sorted_key).bit_length()))
    first = np.zeros((1 << 64 - int(shift)) + 1, dtype=np.int32)
    np.cumsum(np.bincount((sorted_key >> shift).view(np.int64), minlength=len(first) - 1), out=first[1:])
    bucket = (wanted >> shift).view(np.int64)
    at, end = first[bucket], first[1:][bucket]
    open_ = np.arange(len(wanted), dtype=np.int32)
    for _ in range(LOOKS):
        left = np.flatnonzero(at < end)
        open_, at, end = open_[left], at[left], end[left]
        if not len(open_):
            return found
        is_it = sorted_key[at] == wanted[open_]
        found[open_[is_it]] = at[is_it]
        at = np.where(is_it, end, at + 1)
    found[open_] = _searched(sorted_key, wanted[open_])
    return found


def _searched(sorted_key: U64, wanted: U64) -> I64:
    at = np.minimum(np.searchsorted(sorted_key, wanted), len(sorted_key) - 1)
    return np.where(sorted_key[at] == wanted, at, MISSING)


def _known_parents(batches: Sequence[Batch], offsets: I64, new_row: I32, chosen: I64) -> I32:
    """Rows of the parents that batches know; ``MISSING`` for all others."""
    if all(batch.parent_row is None for batch in batches):
        return np.full(len(chosen), MISSING, dtype=np.int32)
    known = _join(
        [
            np.full(len(batch.key), -1, dtype=np.int32)
            if batch.parent_row is None
            else _moved(batch.parent_row, offsets[n])
            for n, batch in enumerate(batches)
        ],
        np.int32,
    )[chosen]
    return np.where(known < 0, np.int32(MISSING), new_row[known])


def _moved(rows: I32, by: int) -> I32:
    """Rows of a batch among those of all; -1 stays."""
    moved = rows + np.int32(by)
    moved[rows < 0] = -1
    return moved


def _parent_rows(sorted_key: U64, parent_key: U64, rows: I32) -> I32:
    """Rows of all parents, of which some are known."""
    unknown = np.flatnonzero((rows == MISSING) & (parent_key != 0))
    rows[unknown] = find_rows(sorted_key, parent_key[unknown])
    rows[parent_key == 0] = ROOT
    rows[rows == np.arange(len(rows))] = MISSING
    return rows


def _choose_copies(
    order: I64,
    is_new: Bools,
    group: I32,
    chosen: I64,
    tenant: I32,
    rank: I64,
    start_ns: I64,
    duration: F32,
    parent_key: U64,
    place_rank: I64,
) -> tuple[I64, I32]:
    """Of redelivered spans keep the one that ended last; a tenant that any copy has counts."""
    repeated = ~is_new
    repeated[:-1] |= ~is_new[1:]
    rows, groups = order[repeated], group[repeated]
    tenant_order = np.append(rank, -1)[tenant[rows]]
    # An unfinished copy, or a log record that names the span, gives way to the span itself, however late it comes.
    end = np.where(np.isnan(duration[rows]), -1.0, start_ns[rows] + duration[rows].astype(np.float64) * 1e6)
    # Copies that differ in anything that is kept are told apart by it, never by what was read first.
    by = np.lexsort((place_rank[rows], parent_key[rows], tenant_order, start_ns[rows], end, groups))
    last = np.ones(len(by), dtype=bool)
    last[:-1] = groups[by][1:] != groups[by][:-1]
    chosen = chosen.copy()
    chosen[groups[by][last]] = rows[by][last]
    starts = np.flatnonzero(np.r_[True, groups[by][1:] != groups[by][:-1]])
    best = np.maximum.reduceat(tenant_order[by], starts)
    by_rank = np.empty(len(rank) + 1, dtype=np.int32)
    by_rank[rank] = np.arange(len(rank))
    by_rank[-1] = -1
    tenant = tenant.copy()
    tenant[chosen[groups[by][last]]] = by_rank[best]
    return chosen, tenant


def _choose_calls(
    row: I32, facts: U32, tokens: U32, sparse: _Sparse, all_facts: Sequence[CallFacts], texts: Sequence[str]
) -> I64:
    """Of redelivered candidate calls keep the one with the most and largest counts; in the order of rows.

    What a span says comes before what an event says as well.
    """
    by = np.argsort(row, kind="stable")
    ordered = row[by]
    repeated = np.zeros(len(by), dtype=bool)
    repeated[1:] = ordered[1:] == ordered[:-1]
    repeated[:-1] |= repeated[1:]
    if not repeated.any():
        return by
    chosen = by[repeated]
    known = (tokens[chosen] != NO_COUNT).sum(axis=1)
    total = np.where(tokens[chosen] == NO_COUNT, 0, tokens[chosen]).astype(np.int64).sum(axis=1)
    text_rank = np.append(_ranks(texts), -1)
    says_itself = np.array([not entry.usage_in_event for entry in all_facts], dtype=bool)[facts[chosen]]
    best_last = np.lexsort(
        (
            text_rank[sparse.log_id[chosen]],
            text_rank[sparse.workflow[chosen]],
            text_rank[sparse.user[chosen]],
            sparse.searches[chosen],
            sparse.reported[chosen],
            *tokens[chosen].T,
            _ranks(all_facts)[facts[chosen]],
            says_itself,
            total,
            known,
            row[chosen],
        )
    )
    by[repeated] = chosen[best_last]
    last = np.ones(len(by), dtype=bool)
    last[:-1] = row[by][1:] != row[by][:-1]
    return by[last]


def _first_of_each(*columns: np.ndarray) -> I64:
    """Indices of one entry for each distinct combination, in order."""
    by = order_by(*columns)
    differs = np.zeros(len(by), dtype=bool)
    differs[:1] = True
    for column in columns:
        differs[1:] |= column[by][1:] != column[by][:-1]
    return by[differs]


def _ranks(table: Sequence[object]) -> I64:
    """Position of each entry in textual order: an order that does not depend on what was read first."""
    ranks = np.empty(len(table), dtype=np.int64)
    ranks[sorted(range(len(table)), key=lambda n: repr(table[n]))] = np.arange(len(table))
    return ranks


def _intern(tables: Iterable[list[T]]) -> tuple[list[T], list[I32]]:
    """Merge tables, and say for each where its entries went; the batches of one input share one, looked at once."""
    tables = list(tables)
    if len({id(table) for table in tables}) == 1:
        return list(tables[0]), [np.arange(len(tables[0]), dtype=np.int32)] * len(tables)
    merged: dict[T, int] = {}
    known: dict[int, I32] = {}
    maps = []
    for table in tables:
        found = known.get(id(table))
        if found is None:
            found = np.array([merged.setdefault(entry, len(merged)) for entry in table], dtype=np.int32)
            known[id(table)] = found
        maps.append(found)
    return list(merged), maps


def _map(mapping: I32, codes: I32) -> I32:
    """Translate codes, leaving -1 as it is."""
    return np.append(mapping, np.int32(-1))[codes]


def _join(parts: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.empty(0, dtype=dtype)
