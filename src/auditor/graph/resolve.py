"""Walks from calls towards the root of their traces, all calls at once.

A walk notes the nearest span that knows a tenant, where it ended and why, and an id for the sequence of shapes
that it passed: calls with the same id took the same way through the system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from auditor.graph.table import MISSING, SpanTable
from auditor.model.spans import I32, I64, U8, U32, U64, Bools, Role, Shape, TenantTag

MAX_STEPS = 256
"""Steps that are walked one by one; what is deeper, or runs in a circle, is settled by pointer jumping."""


class End(IntEnum):
    """Why a walk ended."""

    ROOT = 0
    """The top span has no parent."""
    MISSING = 1
    """The parent of the top span is not in the input."""
    CYCLE = 2
    """Parents run in a circle."""


@dataclass(slots=True)
class Walks:
    """One walk for each start row. Rows are -1 where there is none."""

    start: I64
    tenant_row: I32
    """Nearest ancestor with a tenant, not the start itself."""
    top_row: I32
    end: U8
    to_tenant: U64
    """Path id from the start to the ancestor with a tenant, or to the top where there is none."""
    to_top: U64
    passed_walk: I32
    """With ``passed_row``: the spans on each walk, up to the tenant, that carry ids or links."""
    passed_row: I32
    conflict_row: I32
    """Nearest ancestor that carries another value in a namespace of the start's own tenant."""


class Step(NamedTuple):
    """One span of a path, with the edge to the span above it."""

    shape: Shape
    crosses_process: bool
    """Whether the span above lies in another process."""
    repeated: bool
    """Whether more spans of the same shape follow in the same process."""


class Places:
    """Numbers of shapes and processes, by place."""

    def __init__(self, table: SpanTable) -> None:
        # Numbered by name, never by what was read first: ties are broken by these numbers.
        names = sorted({place.shape for place in table.places}, key=repr)
        shapes = {shape: number for number, shape in enumerate(names)}
        owners = sorted({(place.shape.service, place.instance) for place in table.places})
        processes = {owner: number for number, owner in enumerate(owners)}
        self.processes = owners
        self.services = sorted({shape.service for shape in names})
        of_service = {service: number for number, service in enumerate(self.services)}
        self.service = np.array([of_service[place.shape.service] for place in table.places], dtype=np.int64)
        self.shape = np.array([shapes[place.shape] for place in table.places], dtype=np.int64)
        self.process = np.array(
            [processes[place.shape.service, place.instance] for place in table.places], dtype=np.int64
        )
        # Without an id of the instance, only the flag tells whether the parent is another one of the same service.
        self.is_remote = np.array(
            [bool(place.shape.remote) and not place.instance for place in table.places], dtype=bool
        )
        self.shapes = list(shapes)
        # Path ids are made of names, not numbers, so that they are the same whatever was read first.
        self.shape_hash = _hashes([repr(shape) for shape in shapes])

    def crosses(self, child: U32, parent: U32) -> Bools:
        """By pairs of places: whether a span's parent lies in another process."""
        crosses: Bools = (self.process[child] != self.process[parent]) | self.is_remote[child]
        return crosses

    def having(self, *roles: Role) -> Bools:
        """By place: whether its role is one of these."""
        by_shape = np.array([shape.role in roles for shape in self.shapes], dtype=bool)
        return by_shape[self.shape] if len(self.shapes) else by_shape


class Namespaces:
    """Compares tenant codes namespace by namespace: a team and a tenant are never in conflict."""

    def __init__(self, tenants: Sequence[tuple[TenantTag, ...]]) -> None:
        self._columns: dict[str, I32] = {}
        numbers: dict[tuple[str, str], int] = {}
        for code, tags in enumerate(tenants):
            for tag in tags:
                column = self._columns.setdefault(tag.namespace, np.full(len(tenants), -1, dtype=np.int32))
                column[code] = numbers.setdefault((tag.namespace, tag.value), len(numbers))

    def differ(self, one: I32, other: I32) -> Bools:
        """Whether each pair of codes has different values in some namespace that both know."""
        differs = np.zeros(len(one), dtype=bool)
        for column in self._columns.values():
            left, right = column[one], column[other]
            differs |= (left >= 0) & (right >= 0) & (left != right)
        return differs


def walk(table: SpanTable, places: Places, rows: I64, own_tenant: I32, namespaces: Namespaces) -> Walks:
    """Walk from each row to the top of its trace.

    ``own_tenant`` is the tenant code of each start; -1 for none.
    """
    count = len(rows)
    interesting = np.zeros(len(table.key), dtype=bool)
    interesting[table.id_row] = True
    interesting[table.link_row] = True
    tenant_row = np.full(count, -1, dtype=np.int32)
    conflict_row = np.full(count, -1, dtype=np.int32)
    end = np.full(count, End.ROOT, dtype=np.uint8)
    top = rows.astype(np.int32)
    last = places.shape[table.place[rows]] * 2
    path = _mix(np.zeros(count, dtype=np.uint64), places.shape_hash[last >> 1])
    to_tenant = path.copy()
    passed_walk = [np.flatnonzero(interesting[rows])]
    passed_row: list[I64] = [rows[passed_walk[0]]]

    active = np.arange(count)
    for _ in range(MAX_STEPS):
        parent = table.parent[top[active]]
        stopped = parent < 0
        end[active[stopped]] = np.where(parent[stopped] == MISSING, End.MISSING, End.ROOT)
        active, parent = active[~stopped], parent[~stopped]
        if not len(active):
            break
        child_place, place = table.place[top[active]], table.place[parent]
        crosses = places.crosses(child_place, place)
        shape = places.shape[place]
        token = shape * 2 + crosses
        moved = token != last[active]
        changed = active[moved]
        path[changed] = _mix(path[changed], places.shape_hash[shape[moved]] ^ crosses[moved].astype(np.uint64))
        last[active] = token
        top[active] = parent
        before_tenant = tenant_row[active] < 0
        to_tenant[active[before_tenant]] = path[active[before_tenant]]
        passing = before_tenant & interesting[parent]
        passed_walk.append(active[passing])
        passed_row.append(parent[passing].astype(np.int64))
        known = table.tenant[parent]
        has_tenant = known >= 0
        arrived = before_tenant & has_tenant
        tenant_row[active[arrived]] = parent[arrived]
        own = own_tenant[active]
        differs = has_tenant & (own >= 0) & (own != known) & (conflict_row[active] < 0)
        differs[differs] = namespaces.differ(own[differs], known[differs])
        conflict_row[active[differs]] = parent[differs]
    if len(active):
        _settle_deep(table, places, active, top, end, tenant_row, path, to_tenant)
    return Walks(
        start=rows,
        tenant_row=tenant_row,
        top_row=top,
        end=end,
        to_tenant=to_tenant,
        to_top=path,
        passed_walk=np.concatenate(passed_walk).astype(np.int32),
        passed_row=np.concatenate(passed_row).astype(np.int32),
        conflict_row=conflict_row,
    )


def nearest_tenant(table: SpanTable, rows: I64) -> tuple[I32, I32]:
    """The nearest span with a tenant at or above each row (-1 for none), and the top of the rows without one."""
    at = rows.astype(np.int32)
    found = np.full(len(rows), -1, dtype=np.int32)
    active = np.arange(len(rows))
    for _ in range(MAX_STEPS):
        has_tenant = table.tenant[at[active]] >= 0
        found[active[has_tenant]] = at[active[has_tenant]]
        active = active[~has_tenant]
        parent = table.parent[at[active]]
        active, parent = active[parent >= 0], parent[parent >= 0]
        if not len(active):
            return found, at
        at[active] = parent
    stop, _ = _jump(table, stop_at_tenant=True)
    at[active] = stop[at[active]]
    has_tenant = table.tenant[at[active]] >= 0
    found[active[has_tenant]] = at[active[has_tenant]]
    return found, at


def _settle_deep(
    table: SpanTable,
    places: Places,
    active: I64,
    top: I32,
    end: U8,
    tenant_row: I32,
    path: U64,
    to_tenant: U64,
) -> None:
    """Finish walks of unusual depth: where they end and the nearest tenant, without the steps between."""
    searching = tenant_row[active] < 0
    stop, _ = _jump(table, stop_at_tenant=True)
    arrived = stop[top[active]]
    has_tenant = searching & (table.tenant[arrived] >= 0) & (arrived != top[active])
    tenant_row[active[has_tenant]] = arrived[has_tenant]
    final, settled = _jump(table, stop_at_tenant=False)
    ends = final[top[active]]
    is_settled = settled[ends]
    top[active] = ends
    parent = table.parent[ends]
    end[active] = np.where(~is_settled, End.CYCLE, np.where(parent == MISSING, End.MISSING, End.ROOT))
    path[active] = _mix(path[active], places.shape_hash[places.shape[table.place[ends]]] + np.uint64(1))
    to_tenant[active[searching]] = path[active[searching]]


def _jump(table: SpanTable, *, stop_at_tenant: bool) -> tuple[I32, Bools]:
    """Where every span arrives by doubling its jumps, and which rows are ends (the others lie in a circle)."""
    rows = np.arange(len(table.parent), dtype=np.int32)
    is_end = table.parent < 0
    if stop_at_tenant:
        is_end = is_end | (table.tenant >= 0)
    following = np.where(is_end, rows, table.parent)
    for _ in range(len(rows).bit_length() + 1):
        further = following[following]
        if np.array_equal(further, following):
            break
        following = further
    return following, is_end


def steps_between(table: SpanTable, places: Places, row: int, last: int) -> tuple[Step, ...]:
    """The path from a row up to another one (or the top), equal neighbours folded as ``walk`` folds them."""
    steps: list[Step] = []
    at = row
    seen = 0
    previous = (-1, True)
    while True:
        place = int(table.place[at])
        parent = int(table.parent[at])
        is_last = at == last or parent < 0 or seen >= MAX_STEPS
        crosses = not is_last and bool(places.crosses(table.place[at], table.place[parent]))
        key = (int(places.shape[place]), False)
        if steps and key == previous and not steps[-1].crosses_process:
            steps[-1] = Step(steps[-1].shape, bool(crosses), repeated=True)
        else:
            steps.append(Step(places.shapes[places.shape[place]], bool(crosses), repeated=False))
        previous = key
        if is_last:
            return tuple(steps)
        at = parent
        seen += 1


def _hashes(texts: list[str]) -> U64:
    from hashlib import blake2b  # noqa: PLC0415  # only here

    return np.array(
        [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") for text in texts],
        dtype=np.uint64,
    )


def _mix(path: U64, token: U64) -> U64:
    with np.errstate(over="ignore"):
        x: U64 = (path ^ token) * np.uint64(0x9E3779B97F4A7C15)
        return (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
