"""Which candidate spans are one call, and which are no call at all.

One billable request may be described by several spans: a framework's and an SDK's, two instrumentations', the
application's and the gateway's, the call's own and one that carries its usage. They are found by nesting, by
lying beside one another, and by shared response ids; an outer span that only repeats what lies below it is
a container. Most candidates stand alone and are settled without being looked at one by one.

Traces that share an id lie in one partition, so pairs are found there. What only the whole input tells are the
offsets between the clocks of two processes, and which counts are like those of one other call only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from auditor.graph.numbering import one_numbering
from auditor.graph.resolve import MAX_STEPS, Places
from auditor.graph.table import MISSING, ROOT, SpanTable, find_rows
from auditor.model.lexicon import Operation
from auditor.model.spans import I32, I64, NO_COUNT, U64, Bools, CallFacts, IdKind, Role, TenantTag, mix

TOLERANCE_NS = 5_000_000
"""How far an inner span may stick out of an outer one (clock granularity, end callbacks)."""
SAME_MOMENT_NS = 5_000_000_000
"""How far apart two processes may see the start of one call."""
LATE_NS = 1_000_000
"""How long after a call's span usage has to come to be late, and not just written down last."""
TELLING_TOKENS = 20
"""Input tokens below which equal counts may be a coincidence."""
REPLAY_LENGTH = 0.05
"""A second description of one call lasts at least this share of the first; an answer from a cache does not."""
STEADY_NS = 2_000_000_000
"""How much a constant clock offset between two processes may vary."""
FEWEST = 3
"""Calls that two processes have in common of which an offset between their clocks can be told."""

FEWEST_TWINS = 5
"""Calls that are alike without naming a response in common, of which a large offset can be told."""
TWINS_AGREE = 0.8
"""Share of them that has to agree on it."""

_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")


@dataclass(slots=True)
class Calls:
    """One entry for each call; numbers are rows of the table's call columns ("candidates")."""

    primary: I64
    """The candidate that stands for the call: the innermost span that names the operation."""
    usage: I64
    """The candidate that its usage is taken from."""
    price: I64
    """The candidate closest to the provider."""
    tenant: I32
    """Tenant code over all its spans; -1 for none."""
    duplicates: dict[int, tuple[int, ...]]
    """Call number to its other candidates, for calls described more than once."""
    usage_elsewhere: Bools
    """The usage came from a span or event beside the call's own span."""
    usage_late: Bools
    """The usage came from a span that began when the call's own span had ended."""
    disagreeing: tuple[int, ...]
    """Calls whose spans carry different tenants of one namespace."""
    containers: int
    """Candidates that only repeat what lies below them."""
    facts: I64
    """Row of the table's facts that says what all spans of the call say together."""


Process = tuple[str, str]
"""Service and instance."""
Clocks = dict[tuple[IdKind, Process, Process], I64]
"""By kind of id: how much later the second process saw the start of each call that both name by one id."""
Offsets = Mapping[tuple[IdKind, Process, Process], int]
"""Offsets between the clocks of two processes, in nanoseconds."""

_OPERATIONS: dict[Operation | None, int] = {None: -1, **{entry: number for number, entry in enumerate(Operation)}}


@dataclass(slots=True)
class Lone:
    """Candidates that stand alone and have telling counts, for ``find_twins``: one entry each."""

    key: U64
    trace: U64
    """Hash of the trace."""
    counts: U64
    """Hash of the names of the model, and of the counts."""
    start: I64
    end: I64
    operation: I64
    process: I64
    """Row of ``processes``."""
    is_cut_off: Bools
    """The trace may be cut above: its root serves a request."""
    has_response_id: Bools
    processes: list[Process]


class Grouping:
    """Finds the calls of a partition. The table's tenant codes may grow by the union of several spans' tenants.

    In this order: made, ``clocks``, ``pair_ids``, ``lone`` and ``join_twins`` where traces may be cut, ``calls``.
    """

    def __init__(self, table: SpanTable, places: Places) -> None:
        self.table = table
        self.row = table.call_row.astype(np.int64)
        self.count = len(self.row)
        self.place = table.place[self.row]
        self.trace = table.trace[self.row]
        self.process = places.process[self.place] if self.count else np.empty(0, np.int64)
        shape = places.shape[self.place] if self.count else np.empty(0, np.int64)
        scopes = [entry.scope for entry in places.shapes]
        self.scope_number = _numbers(scopes)[shape] if self.count else np.empty(0, np.int64)
        self.scopes = scopes
        self.shape = shape
        self.is_row = np.array([entry.is_row for entry in places.shapes], dtype=bool)[shape]
        starts, ends = table.start_ns[self.row], table.end_ns(self.row)
        # One by one, numbers in a list are read several times as fast as those in a column.
        self.start: list[int] = starts.tolist()
        self.end: list[int] = ends.tolist()
        self.parent = table.parent[self.row]
        self.parent_key = table.call_parent
        self.known = table.tokens[:, :2] != NO_COUNT
        self.has_usage = self.known.any(axis=1) & (np.where(self.known, table.tokens[:, :2], 0).sum(axis=1) > 0)
        facts = table.facts
        self.no_operation = np.array([entry.operation is None for entry in facts], dtype=bool)[table.call_facts]
        self.models = [_models(entry) for entry in facts]
        # A span without length is a log line, whatever operation it names: it can only tell of a call.
        self.is_note = self.no_operation | (ends <= starts)
        self.ancestors, self.top, self.outer = self._nearest_candidate()
        self.inner: dict[int, list[int]] = defaultdict(list)
        for number in np.flatnonzero(self.outer >= 0).tolist():
            self.inner[int(self.outer[number])].append(number)
        self.of = np.arange(self.count)
        self.members: dict[int, list[int]] = {}
        self.dropped: set[int] = set()
        self.carried: set[int] = set()
        self.disagreeing: list[int] = []
        self._tenant_codes = {tags: code for code, tags in reversed(list(enumerate(table.tenants)))}
        self._merged: dict[tuple[int, ...], int] = {}
        """By the facts of all spans of a call: what they say together."""
        self._processes = places.processes
        self._is_cut_off = self._cut_off()
        self.attach_carriers()
        self.pair_nested()
        self.pair_beside()
        self._sharing_ids = {kind: self._sharing(kind) for kind in (IdKind.RESPONSE, IdKind.CALL)}

    def _nearest_candidate(self) -> tuple[I64, I64, I64]:
        """For each candidate: how deep it lies in its trace, the top of its way, the next candidate above it."""
        at_row = np.full(len(self.table.key), -1, dtype=np.int32)
        at_row[self.row] = np.arange(self.count)
        outer = np.full(self.count, -1, dtype=np.int64)
        depth = np.zeros(self.count, dtype=np.int64)
        active = np.arange(self.count)
        at = self.row.copy()
        for _ in range(MAX_STEPS):
            parent = self.table.parent[at[active]]
            active, parent = active[parent >= 0], parent[parent >= 0]
            if not len(active):
                break
            at[active] = parent
            depth[active] += 1
            found = (at_row[parent] >= 0) & (outer[active] < 0)
            outer[active[found]] = at_row[parent[found]]
        outer[outer == np.arange(self.count)] = -1
        return depth, at, outer

    # -- evidence ------------------------------------------------------------------------------------

    def facts(self, number: int) -> CallFacts:
        """What a candidate says about itself."""
        return self.table.facts[int(self.table.call_facts[number])]

    def same_model(self, one: int, other: int) -> bool | None:
        """Whether two candidates name a model in common; ``None`` when one names none."""
        left, right = (self.models[self.table.call_facts[number]] for number in (one, other))
        if not left or not right:
            return None
        return not left.isdisjoint(right)

    def same_operation(self, one: int, other: int) -> bool:
        """Whether two candidates may name the same operation."""
        left, right = self.facts(one).operation, self.facts(other).operation
        return left is None or right is None or left is right

    def same_tokens(self, one: int, other: int) -> bool | None:
        """Whether the counts agree; ``None`` when one has none. One side may leave cached tokens out."""
        if not (self.has_usage[one] and self.has_usage[other]):
            return None
        left: list[int] = self.table.tokens[one].tolist()
        right: list[int] = self.table.tokens[other].tolist()
        if NO_COUNT not in (left[1], right[1]) and left[1] != right[1]:
            return False
        if NO_COUNT in (left[0], right[0]) or left[0] == right[0]:
            return True
        cached = max(sum(count for count in side[2:5] if count != NO_COUNT) for side in (left, right))
        return cached > 0 and abs(left[0] - right[0]) == cached

    def encloses(self, outer: int, inner: int) -> bool:
        """Whether a candidate lies inside another in time."""
        return (
            self.start[outer] - TOLERANCE_NS <= self.start[inner] and self.end[inner] <= self.end[outer] + TOLERANCE_NS
        )

    def overlaps(self, one: int, other: int) -> bool:
        """Whether two candidates overlap in time."""
        return self.start[one] <= self.end[other] + TOLERANCE_NS and self.start[other] <= self.end[one] + TOLERANCE_NS

    def scopes_differ(self, one: int, other: int) -> bool | None:
        """``None`` when a scope is unknown."""
        left, right = self.scopes[self.shape[one]], self.scopes[self.shape[other]]
        if not left or not right:
            return None
        return bool(left != right)

    def nested_fit(self, outer: int, inner: int) -> bool:
        """Whether an inner candidate and the next outer one describe one call."""
        if not self.same_operation(outer, inner):
            return False
        tokens = self.same_tokens(outer, inner)
        if tokens is False:
            return False
        crossing = self.process[outer] != self.process[inner]
        fits_in_time = (crossing and tokens is True) or self.encloses(outer, inner)
        if not fits_in_time:
            return False
        if self.facts(inner).failed and not self.has_usage[inner] and self.has_usage[outer]:
            return False
        model = self.same_model(outer, inner)
        if model is False and not (len(self.inner[outer]) == 1 and (tokens is True or crossing)):
            return False
        differ = self.scopes_differ(outer, inner)
        if differ is None:
            return tokens is True
        return differ or crossing or self.no_operation[inner] or self.no_operation[outer]

    def beside_fit(self, one: int, other: int) -> bool:
        """Whether two candidates of one process, one inside the other in time and not below it, describe one call.

        They are children of one parent, or one hangs on a span above the other (a framework in a thread, its SDK
        without the thread's context); then the counts of both have to be there and agree.
        """
        if self.facts(one).is_request != self.facts(other).is_request:
            return False  # had the one described the other, the request would not be here any more
        tokens = self.same_tokens(one, other)
        if tokens is False or not self.same_operation(one, other) or self.same_model(one, other) is False:
            return False
        differ = self.scopes_differ(one, other)
        if differ is None:
            return tokens is True and self.same_model(one, other) is True
        return differ and (tokens is True or self._same_parent(one, other))

    # -- grouping ------------------------------------------------------------------------------------

    def join(self, one: int, other: int) -> None:
        """Make two candidates one call."""
        left, right = int(self.of[one]), int(self.of[other])
        if left == right:
            return
        members = self.members.pop(left, [left]) + self.members.pop(right, [right])
        self.members[left] = members
        for member in members:
            self.of[member] = left

    def group_of(self, number: int) -> list[int]:
        """All candidates of a candidate's call."""
        return self.members.get(int(self.of[number]), [number])

    def may_join(self, one: int, other: int) -> bool:
        """At most one partner a scope and process; a carrier of usage does not count as a partner."""
        left = {self._place_key(number) for number in self.group_of(one) if not self.no_operation[number]}
        right = {self._place_key(number) for number in self.group_of(other) if not self.no_operation[number]}
        return self.of[one] != self.of[other] and left.isdisjoint(right)

    def _place_key(self, number: int) -> tuple[str, int, int]:
        scope = self.scopes[self.shape[number]]
        # Spans of unknown scope are told apart by themselves: their counts have been compared.
        return (scope, int(self.process[number]), 0 if scope else number)

    def join_best_first(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Join one-to-one, the pairs closest in time first."""
        ranked = sorted(pairs, key=lambda pair: (self._distance(*pair), self._order(pair[0]), self._order(pair[1])))
        for one, other in ranked:
            if self.may_join(one, other):
                self.join(one, other)

    def _distance(self, one: int, other: int) -> int:
        return abs(self.start[one] - self.start[other])

    def _order(self, number: int) -> int:
        return int(self.table.key[self.row[number]])

    def attach_carriers(self) -> None:
        """Give usage that stands on a span without an operation to the call that lacks it."""
        carriers = np.flatnonzero(self.is_note & (self.has_usage | ~self.no_operation)).tolist()
        if not carriers:
            return
        links: dict[int, list[int]] = defaultdict(list)
        of_carriers = np.flatnonzero(np.isin(self.table.link_row, self.row[carriers]))
        for number in of_carriers.tolist():
            links[int(self.table.link_row[number])].append(int(self.table.link_target[number]))
        targets = np.flatnonzero(np.isin(self.row, self.table.link_target[of_carriers]))
        at_row = {int(self.row[number]): number for number in targets.tolist()}
        beside: dict[int, list[int]] = defaultdict(list)
        lacking = ~self.is_note & ~self.has_usage & (self.parent_key != 0)
        for number in np.flatnonzero(lacking & np.isin(self.parent_key, self.parent_key[carriers])).tolist():
            beside[int(self.parent_key[number])].append(number)
        waiting: dict[int, list[int]] = defaultdict(list)
        for carrier in carriers:
            outer = int(self.outer[carrier])
            linked = [
                at_row[target]
                for target in links[int(self.row[carrier])]
                if target in at_row and not self.no_operation[at_row[target]]
            ]
            if outer >= 0 and not self.no_operation[outer]:
                # Below a call, usage without an operation is the call's own, told again or told at last.
                self._carry(carrier, outer)
            elif len(linked) == 1 and not self.has_usage[linked[0]]:
                self._carry(carrier, linked[0])
            elif self.parent_key[carrier] != 0 and not self.inner.get(carrier):
                waiting[int(self.parent_key[carrier])].append(carrier)
        for parent, group_of_carriers in waiting.items():
            self._match_in_time(group_of_carriers, beside.get(parent, []))

    def _match_in_time(self, carriers: list[int], calls: list[int]) -> None:
        """Pair carriers with the calls beside them, in the order of time, where the models allow it."""
        free = sorted(
            (call for call in calls if not self.facts(call).failed),
            key=lambda number: (self.start[number], self._order(number)),
        )
        for carrier in sorted(carriers, key=lambda number: (self.start[number], self._order(number))):
            fitting = [
                call
                for call in free
                if self.start[call] <= self.start[carrier] + TOLERANCE_NS
                and self.same_model(call, carrier) is not False
            ]
            if fitting:
                self._carry(carrier, fitting[0])
                free.remove(fitting[0])

    def _carry(self, carrier: int, call: int) -> None:
        self.join(call, carrier)
        self.carried.add(carrier)

    def pair_nested(self) -> None:
        """Join framework and SDK, application and gateway, where one span lies inside the other."""
        pairs = [
            (outer, inner)
            for outer, inners in self.inner.items()
            for inner in inners
            if not self.no_operation[outer] and not self.no_operation[inner] and self.nested_fit(outer, inner)
        ]
        self.join_best_first(pairs)

    def pair_beside(self) -> None:
        """Join two instrumentations of one call that lie beside one another in one process of one trace."""
        eligible = np.flatnonzero((self.parent != ROOT) & ~self.no_operation)
        if not len(eligible):
            return
        place = self.trace[eligible].astype(np.int64) * (int(self.process.max()) + 1)
        place += self.process[eligible]
        start, end = self.table.start_ns[self.row[eligible]], self.table.end_ns(self.row[eligible])
        order = np.lexsort((start, place))
        by, place, start, end = eligible[order], place[order], start[order], end[order]
        pairs: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for one, other in self._close_pairs(by, place, start, end):
            if self.beside_fit(one, other) and self._related(one, other):
                pairs[int(self.trace[one]), int(self.process[one])].append((one, other))
        for of_place in pairs.values():
            self.join_best_first(of_place)

    def _close_pairs(self, by: I64, place: I64, start: I64, end: I64) -> Iterable[tuple[int, int]]:
        """Candidates of one place that may be two instrumentations of one call, by what is cheap to see.

        One lies inside the other in time, their scopes differ or one is unknown, and their output counts agree where
        both have one.
        """
        scopes = self.scope_number[by]
        unknown = np.array([not scope for scope in self.scopes], dtype=bool)[self.shape[by]]
        output = self.table.tokens[by, 1]
        telling = self.has_usage[by] & (output != NO_COUNT)
        one = np.arange(len(by) - 1)
        distance = 1
        while len(one):
            other = one + distance
            close = (place[other] == place[one]) & (start[other] <= end[one] + TOLERANCE_NS)
            one, other = one[close], other[close]
            # The other one does not begin earlier.
            fits = (end[other] <= end[one] + TOLERANCE_NS) | (
                (start[other] <= start[one] + TOLERANCE_NS) & (end[one] <= end[other] + TOLERANCE_NS)
            )
            fits &= (scopes[one] != scopes[other]) | unknown[one] | unknown[other]
            fits &= ~(telling[one] & telling[other]) | (output[one] == output[other])
            yield from zip(by[one[fits]].tolist(), by[other[fits]].tolist(), strict=True)
            distance += 1
            one = one[one + distance < len(by)]

    def _related(self, one: int, other: int) -> bool:
        """Whether two candidates have a parent in common, or one's parent lies above the other.

        Where the spans between are not in the input, nothing speaks against it; the counts of both have agreed.
        """
        if self._same_parent(one, other):
            return True
        if self.same_tokens(one, other) is True and MISSING in (
            self.table.parent[self.top[one]],
            self.table.parent[self.top[other]],
        ):
            return True
        return self._lies_above(int(self.parent[one]), other) or self._lies_above(int(self.parent[other]), one)

    def _same_parent(self, one: int, other: int) -> bool:
        return bool(self.parent_key[one] != 0 and self.parent_key[one] == self.parent_key[other])

    def _lies_above(self, row: int, number: int) -> bool:
        at = int(self.parent[number])
        for _ in range(MAX_STEPS):
            if at < 0 or at == row:
                return at >= 0
            at = int(self.table.parent[at])
        return False

    def clocks(self) -> Clocks:
        """What the starts of calls that name the same response, or the same call of a gateway, tell of clocks."""
        return {
            (kind, *processes): differences
            for kind, groups in self._sharing_ids.items()
            for processes, differences in self._differences(groups).items()
        }

    def _differences(self, groups: Sequence[Sequence[int]]) -> dict[tuple[Process, Process], I64]:
        found: dict[tuple[int, int], list[int]] = defaultdict(list)
        for numbers in groups:
            if len(numbers) == 2 and self.process[numbers[0]] != self.process[numbers[1]]:
                one, other = sorted(numbers, key=lambda number: int(self.process[number]))
                found[int(self.process[one]), int(self.process[other])].append(self.start[other] - self.start[one])
        names = self._processes
        return {(names[one], names[other]): np.array(values, dtype=np.int64) for (one, other), values in found.items()}

    def pair_ids(self, offsets: Offsets) -> None:
        """Join spans and rows that name the same response, or the same call of a gateway; then polls of batches."""
        number = {process: position for position, process in enumerate(self._processes)}
        for kind, groups in self._sharing_ids.items():
            of_kind = {
                (number[one], number[other]): offset
                for (of, one, other), offset in offsets.items()
                if of is kind and one in number and other in number
            }
            for numbers_of_id in groups:
                self.join_best_first(
                    (one, other)
                    for position, one in enumerate(numbers_of_id)
                    for other in numbers_of_id[position + 1 :]
                    if self._id_fit(one, other, of_kind)
                )
        self.join_polls()

    def _sharing(self, kind: IdKind) -> list[list[int]]:
        """Candidates that have an id of this kind in common."""
        at_row = np.full(len(self.table.key), -1, dtype=np.int32)
        at_row[self.row] = np.arange(self.count)
        chosen = self.table.id_kind == kind
        numbers = at_row[self.table.id_row[chosen]]
        hashes = self.table.id_hash[chosen][numbers >= 0]
        numbers = numbers[numbers >= 0]
        by = np.lexsort((numbers, hashes))
        _, starts, counts = np.unique(hashes[by], return_index=True, return_counts=True)
        return [
            numbers[by[start : start + count]].tolist()
            for start, count in zip(starts[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True)
        ]

    def join_polls(self) -> None:
        """Join what tells the usage of one finished batch each time that somebody asks for it."""
        if not any(entry.operation is Operation.BATCH for entry in self.table.facts):
            return
        for numbers in self._sharing(IdKind.BATCH):
            first: dict[tuple[int, ...], int] = {}
            for number in numbers:
                # Rows of a log are requests of the batch, of which two may well be of one size; polls are no rows.
                if (
                    self.has_usage[number]
                    and not self.is_row[number]
                    and self.facts(number).operation is Operation.BATCH
                ):
                    self.join(first.setdefault(tuple(self.table.tokens[number].tolist()), number), number)

    def _id_fit(self, one: int, other: int, offsets: dict[tuple[int, int], int]) -> bool:
        if not self.same_operation(one, other):
            return False
        if self.same_tokens(one, other) is False and not self._nearly_same_tokens(one, other):
            return False
        if self.facts(one).cache_hit or self.facts(other).cache_hit:
            return False
        if self.process[one] == self.process[other]:
            return self.overlaps(one, other) and self.scopes_differ(one, other) is not False
        first, second = sorted((one, other), key=lambda number: int(self.process[number]))
        offset = offsets.get((int(self.process[first]), int(self.process[second])), 0)
        if abs(offset) > SAME_MOMENT_NS and self._looks_replayed(one, other):
            return False
        apart = abs(self.start[second] - self.start[first] - offset)
        return apart <= SAME_MOMENT_NS or self.outer[one] == other or self.outer[other] == one

    def _looks_replayed(self, one: int, other: int) -> bool:
        """Whether one of two is an answer from a cache: far shorter, or for another tenant."""
        lengths = sorted(self.end[number] - self.start[number] for number in (one, other))
        codes = [int(self.table.tenant[self.row[number]]) for number in (one, other)]
        tenants = [{(tag.namespace, tag.value) for tag in self.table.tenants[code]} for code in codes if code >= 0]
        return lengths[0] < lengths[1] * REPLAY_LENGTH or (len(tenants) == 2 and tenants[0].isdisjoint(tenants[1]))

    def _nearly_same_tokens(self, one: int, other: int) -> bool:
        """Whether two instrumentations of one process agree on input or output: one of them miscounts streams."""
        same = self.table.tokens[one, :2] == self.table.tokens[other, :2]
        return bool(same.any()) and self.scopes_differ(one, other) is True and self.process[one] == self.process[other]

    def _cut_off(self) -> Bools:
        """Candidates below the root of their trace, where that serves a request: another trace may have made it."""
        is_server = np.array([place.shape.role is Role.SERVER for place in self.table.places] or [False], dtype=bool)
        cut_off: Bools = (self.table.parent[self.top] == ROOT) & is_server[self.table.place[self.top]]
        cut_off &= self.top != self.row
        return cut_off

    @property
    def may_be_cut(self) -> bool:
        """Whether any trace may be cut above: then ``lone`` candidates of all partitions are compared."""
        return bool(self._is_cut_off.any())

    def counts_cut_off(self) -> U64:
        """Hashes of model and counts of the candidates that stand alone and whose trace may be cut, each once."""
        return np.unique(self._counts(np.flatnonzero(self._telling() & self._is_cut_off)))

    def _telling(self) -> Bools:
        """Candidates that stand alone and whose counts tell them from others."""
        # Two counts have to agree: an embedding has only one, and one is soon met by chance.
        given, made = self.table.tokens[:, 0], self.table.tokens[:, 1]
        telling: Bools = self.has_usage & ~self.no_operation & (given != NO_COUNT) & (made != NO_COUNT)
        telling &= (given >= TELLING_TOKENS) & (made > 0)
        telling[[member for members in self.members.values() for member in members]] = False
        return telling

    def _counts(self, numbers: I64) -> U64:
        model = np.array([_hash_of_names(names) for names in self.models] or [0], dtype=np.uint64)
        tokens = self.table.tokens[numbers, :2].astype(np.uint64)
        both = tokens[:, 0] << np.uint64(32) | tokens[:, 1]
        return mix(model[self.table.call_facts[numbers]], both)

    def lone(self, wanted: U64) -> Lone:
        """Candidates that stand alone and have such counts: two of them may be one call, cut between two traces.

        ``wanted`` is in order.
        """
        alone = np.flatnonzero(self._telling())
        counts = self._counts(alone)
        is_wanted = find_rows(wanted, counts) != MISSING
        alone, counts = alone[is_wanted], counts[is_wanted]
        rows, facts_of = self.row[alone], self.table.call_facts[alone]
        facts = self.table.facts
        operation = np.array([_OPERATIONS[entry.operation] for entry in facts] or [-1], dtype=np.int64)
        has_response_id = np.array([entry.has_response_id for entry in facts] or [False], dtype=bool)
        return Lone(
            key=self.table.key[rows],
            trace=self.table.trace_mixed[self.table.trace[rows]],
            counts=counts,
            start=self.table.start_ns[rows],
            end=self.table.end_ns(rows),
            operation=operation[facts_of],
            process=self.process[alone],
            is_cut_off=self._is_cut_off[alone],
            has_response_id=has_response_id[facts_of],
            processes=self._processes,
        )

    def join_twins(self, twins: Iterable[tuple[int, int]]) -> None:
        """Join pairs that ``find_twins`` found, by keys; those of other partitions are not looked for."""
        keys = self.table.key[self.row]
        pairs = np.array(list(twins), dtype=np.uint64).reshape(-1, 2)
        found = np.flatnonzero(np.isin(keys, pairs))
        at = dict(zip(keys[found].tolist(), found.tolist(), strict=True))
        self.join_best_first((at[one], at[other]) for one, other in pairs.tolist() if {one, other} <= at.keys())

    def drop_containers(self) -> None:
        """Drop outer candidates that repeat the usage of different calls below them."""
        for outer, inners in self.inner.items():
            if len(self.group_of(outer)) > 1 or outer in self.carried:
                continue
            if self.table.parent[self.top[outer]] >= 0:
                continue  # the way up never ends: in a circle each would be the container of the next
            different = [inner for inner in inners if self.of[inner] != self.of[outer]]
            if not different:
                continue
            if self.no_operation[outer] or any(self.same_operation(outer, inner) for inner in different):
                self.dropped.add(outer)

    # -- result --------------------------------------------------------------------------------------

    def calls(self) -> Calls:
        """Say what the calls are; nothing can be joined afterwards."""
        self.drop_containers()
        is_call = self.of == np.arange(self.count)
        is_call[list(self.dropped)] = False
        for root, members in self.members.items():
            is_call[members] = False
            is_call[root] = not self.dropped.intersection(members)
        # A representative is any member; calls are ordered by the span that stands for them.
        roots = np.flatnonzero(is_call)
        primary, usage, price = roots.copy(), roots.copy(), roots.copy()
        tenant = self.table.tenant[self.row[roots]].copy()
        elsewhere = np.array([entry.usage_in_event for entry in self.table.facts], dtype=bool)[
            self.table.call_facts[roots]
        ]
        late = np.zeros(len(roots), dtype=bool)
        facts = self.table.call_facts[roots].astype(np.int64)
        known = {entry: number for number, entry in enumerate(self.table.facts)}
        known_counts = (self.table.tokens[:, :5] != NO_COUNT).sum(axis=1)
        duplicates: dict[int, tuple[int, ...]] = {}
        positions = np.searchsorted(roots, np.fromiter(self.members, np.int64, len(self.members))).tolist()
        for call, (root, members) in zip(positions, self.members.items(), strict=True):
            if not is_call[root]:
                continue
            primary[call], usage[call], price[call] = self._choose(members, known_counts)
            tenant[call] = self._union_of_tenants(members, call)
            facts[call] = self._merged_facts(int(primary[call]), members, known)
            elsewhere[call] = usage[call] in self.carried or elsewhere[call]
            late[call] = usage[call] in self.carried and self.start[usage[call]] > self.end[primary[call]] + LATE_NS
            duplicates[call] = tuple(sorted((member for member in members if member != primary[call]), key=self._order))
        return Calls(
            primary,
            usage,
            price,
            tenant,
            duplicates,
            elsewhere,
            late,
            tuple(self.disagreeing),
            len(self.dropped),
            facts,
        )

    def _merged_facts(self, primary: int, members: list[int], known: dict[CallFacts, int]) -> int:
        """What the spans of a call say together: each fills what the one that stands for the call leaves open."""
        said = tuple(self.table.call_facts[[primary, *sorted(members, key=self._order)]].tolist())
        number = self._merged.get(said)
        if number is None:
            facts = self.table.facts[said[0]]
            for other in said[1:]:
                facts = facts.filled(self.table.facts[other])
            number = self._merged[said] = known.setdefault(facts, len(known))
            if number == len(self.table.facts):
                self.table.facts.append(facts)
        return number

    def _choose(self, members: list[int], known_counts: I64) -> tuple[int, int, int]:
        def inner(member: int) -> tuple[int, int, int]:
            return int(self.ancestors[member]), self.start[member], self._order(member)

        named = [
            member for member in members if member not in self.carried and not self.no_operation[member]
        ] or members
        spans = [member for member in named if not self.is_row[member]] or named
        primary = max(spans, key=inner)
        usage = max(
            members,
            key=lambda member: (
                bool(self.has_usage[member]),
                int(known_counts[member]),
                self.start[member],
                *inner(member),
            ),
        )
        price = max(
            named,
            key=lambda member: (
                bool(self.models[self.table.call_facts[member]]),
                bool(self.is_row[member]),
                *inner(member),
            ),
        )
        return primary, usage, price

    def _union_of_tenants(self, members: list[int], call: int) -> int:
        tags: dict[str, TenantTag] = {}
        for member in sorted(members, key=self._order):
            code = int(self.table.tenant[self.row[member]])
            for tag in self.table.tenants[code] if code >= 0 else ():
                if tags.setdefault(tag.namespace, tag).value != tag.value and self.disagreeing[-1:] != [call]:
                    self.disagreeing.append(call)
        if not tags:
            return -1
        union = tuple(tags.values())
        code = self._tenant_codes.setdefault(union, len(self.table.tenants))
        if code == len(self.table.tenants):
            self.table.tenants.append(union)
        return code


def clock_offsets(parts: Sequence[Clocks]) -> Offsets:
    """Constant offsets between the clocks of two processes, where most shared ids of all partitions agree on one."""
    differences: dict[tuple[IdKind, Process, Process], list[I64]] = defaultdict(list)
    for part in parts:
        for key, values in part.items():
            differences[key].append(values)
    found = {key: _steady_offset(np.concatenate(values)) for key, values in differences.items()}
    return {key: offset for key, offset in found.items() if offset is not None}


def _steady_offset(differences: I64) -> int | None:
    if len(differences) < FEWEST:
        return None
    median = int(np.sort(differences)[len(differences) // 2])
    steady = int((np.abs(differences - median) <= STEADY_NS).sum())
    return median if steady * 2 > len(differences) else None


def _offset_of_twins(differences: I64) -> int | None:
    """An offset that calls alike agree on; a large one has to be that of many, or three alike by chance would do."""
    offset = _steady_offset(differences)
    if offset is None or abs(offset) <= SAME_MOMENT_NS:
        return offset
    steady = int((np.abs(differences - offset) <= STEADY_NS).sum())
    return offset if steady >= FEWEST_TWINS and steady >= TWINS_AGREE * len(differences) else None


def find_twins(parts: Sequence[Lone]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs of application and gateway where the trace is cut between them and one side names no response.

    The gateway's side is the root of a trace of its own. Model and counts have to agree to the token and be
    unlike those of any other call, and the one has to lie inside the other, or as far from it as most do.
    Returns the keys of the pairs, and the hashes of their traces.
    """
    chosen = _alike_two(parts)
    one, other = np.arange(len(chosen) // 2), np.arange(len(chosen) // 2, len(chosen))
    processes, process = one_numbering((part.processes, part.process) for part in parts)
    process = process[chosen]
    key, trace, start, end, operation, is_cut_off, has_response_id = (
        np.concatenate([getattr(part, name) for part in parts])[chosen]
        for name in ("key", "trace", "start", "end", "operation", "is_cut_off", "has_response_id")
    )
    fits = (process[one] != process[other]) & (trace[one] != trace[other]) & (is_cut_off[one] | is_cut_off[other])
    fits &= ~(has_response_id[one] & has_response_id[other])
    one, other = one[fits], other[fits]
    swapped = process[one] > process[other]
    one, other = np.where(swapped, other, one), np.where(swapped, one, other)
    shift = start[other] - start[one]
    pair = process[one] * len(processes) + process[other]
    offsets = {code: _offset_of_twins(shift[pair == code]) for code in np.unique(pair).tolist()}
    encloses = (start[one] - TOLERANCE_NS <= start[other]) & (end[other] <= end[one] + TOLERANCE_NS)
    encloses |= (start[other] - TOLERANCE_NS <= start[one]) & (end[one] <= end[other] + TOLERANCE_NS)
    known = np.array([offsets[code] is not None for code in pair.tolist()], dtype=bool)
    expected = np.array([offsets[code] or 0 for code in pair.tolist()], dtype=np.int64)
    is_twin = np.where(known, np.abs(shift - expected) <= STEADY_NS, encloses)
    is_twin &= (operation[one] < 0) | (operation[other] < 0) | (operation[one] == operation[other])
    one, other = one[is_twin], other[is_twin]
    return (
        list(zip(key[one].tolist(), key[other].tolist(), strict=True)),
        list(zip(trace[one].tolist(), trace[other].tolist(), strict=True)),
    )


def _alike_two(parts: Sequence[Lone]) -> I64:
    """Candidates of which exactly two are alike: one of each pair, and then the others in the same order."""
    counts = np.concatenate([part.counts for part in parts])
    by = np.lexsort((np.concatenate([part.key for part in parts]), counts))
    same = counts[by][1:] == counts[by][:-1]
    # A run of exactly two: equal to its neighbour, and the neighbours on both sides are not.
    before, after = np.r_[False, same[:-1]], np.r_[same[1:], False]
    first = np.flatnonzero(same & ~before & ~after)
    pairs: I64 = np.concatenate([by[first], by[first + 1]])
    return pairs


def _hash_of_names(names: frozenset[str]) -> int:
    text = "\n".join(sorted(names))
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _numbers(texts: Sequence[str]) -> I64:
    known: dict[str, int] = {}
    return np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int64)


def _models(facts: CallFacts) -> frozenset[str]:
    return frozenset(bare_model(name) for name in (facts.request_model, facts.response_model) if name)


def bare_model(name: str) -> str:
    """A model's name without provider prefix and date, to tell whether two spans mean the same."""
    text = name.lower().rpartition("/")[2]
    previous = ""
    while text != previous:
        previous = text
        text = _DATED.sub("", text)
    return text
