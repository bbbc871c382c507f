"""Which HTTP requests to a provider's API are calls that no instrumentation describes.

Most are described: a model call's span lies above its request, beside it, or below it in the gateway that answered
it. Those are taken out of the table again; what is left is spend that a trace shows and that no query for tokens
ever sees.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

import numpy as np

from auditor.graph.resolve import MAX_STEPS, Places
from auditor.graph.table import MISSING, ROOT, SpanTable
from auditor.model.lexicon import Operation
from auditor.model.spans import I64, Bools, CallFacts, Role

TOLERANCE_NS = 5_000_000
"""How far an inner span may stick out of an outer one (clock granularity, end callbacks)."""
CLOCKS_NS = 1_000_000_000
"""How far the clocks of two machines may differ for a gateway's call to lie inside the request to it."""

MOST_AT_ONCE = 256
"""Calls of one trace and process that may run at the same time."""
FEWEST = 4
"""Requests of which an offset between two clocks can be told."""
MOST_COMPARED = 1000
MOSTLY = 0.6
"""Share of the requests that one offset has to explain."""

_TALKS = frozenset({Operation.CHAT, Operation.TEXT_COMPLETION})
_PER_CALL = (
    "call_row", "call_parent", "call_facts", "tokens", "call_user", "call_workflow", "call_line", "call_input",
    "searches", "reported_pico", "log_id",
)  # fmt: skip
"""Columns of the table with one entry for each candidate."""


def leave_out_described(table: SpanTable, places: Places) -> int:
    """Take the requests out of the table that a model call describes; the number of those that stay."""
    is_request = np.array([facts.is_request for facts in table.facts] or [False], dtype=bool)[table.call_facts]
    if not is_request.any():
        return 0
    described = _Requests(table, places, is_request).described()
    if described.any():
        for name in _PER_CALL:
            setattr(table, name, getattr(table, name)[~described])
    return int((is_request & ~described).sum())


class _Requests:
    def __init__(self, table: SpanTable, places: Places, is_request: Bools) -> None:
        self.table = table
        self.is_request = is_request
        self.row = table.call_row.astype(np.int64)
        self.place = table.place[self.row]
        self.trace = table.trace[self.row]
        self.start = table.start_ns[self.row]
        self.end = table.end_ns(self.row)
        self.process = places.process[self.place]
        self.is_row = np.array([shape.is_row for shape in places.shapes], dtype=bool)[places.shape[self.place]]
        facts = table.facts
        self.kind = np.array([_kind(entry) for entry in facts], dtype=np.int64)[table.call_facts]
        self.is_at_provider = np.array([bool(entry.provider) for entry in facts], dtype=bool)[table.call_facts]
        self.failed = np.array([entry.failed for entry in facts], dtype=bool)[table.call_facts]
        self.is_served = places.having(Role.SERVER)
        self.top = self.row.copy()
        self.has_request = np.zeros(len(self.row), dtype=bool)
        """Calls whose own request has been found."""

    def described(self) -> Bools:
        """Whether each candidate is a request that another candidate describes."""
        found = self._on_one_way()
        self._beside(found)
        self._by_gateways(found)
        return found

    def _same_kind(self, one: I64 | int, other: I64 | int) -> Bools:
        same: Bools = (self.kind[one] == self.kind[other]) | (self.kind[one] < 0) | (self.kind[other] < 0)
        return same

    def _on_one_way(self) -> Bools:
        """Requests with a model call above or below them, or with a request below them."""
        at_row = np.full(len(self.table.key), -1, dtype=np.int64)
        at_row[self.row] = np.arange(len(self.row))
        found = np.zeros(len(self.row), dtype=bool)
        with_request = np.zeros(len(self.table.trace_ids), dtype=bool)
        with_request[self.trace[self.is_request]] = True
        active = np.flatnonzero(with_request[self.trace])
        at = self.top
        for _ in range(MAX_STEPS):
            parent = self.table.parent[at[active]]
            active, parent = active[parent >= 0], parent[parent >= 0]
            if not len(active):
                break
            at[active] = parent
            above = at_row[parent]
            lower, upper = active[above >= 0], above[above >= 0]
            fits = (lower != upper) & self._same_kind(lower, upper)
            lower, upper = lower[fits], upper[fits]
            is_own = self.is_request[lower] & ~self.is_request[upper]
            found[lower[is_own]] = True
            self.has_request[upper[is_own & ~self.failed[lower]]] = True
            # Of two requests, one inside the other, the inner one is closer to the provider.
            found[upper[self.is_request[upper]]] = True
        return found

    def _beside(self, found: Bools) -> None:
        """Requests inside the time of a model call of their trace and process, where that was not made current.

        Each call has one request; those that failed before it are attempts of the same call.
        """
        left = np.flatnonzero(self.is_request & ~found)
        calls: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number in self._in_time(np.flatnonzero(np.isin(self.trace, self.trace[left]) & ~self.is_request)):
            calls[int(self.trace[number]), int(self.process[number])].append(number)
        for request in self._in_time(left):
            near = calls[int(self.trace[request]), int(self.process[request])]
            last = bisect_right(near, int(self.start[request]) + TOLERANCE_NS, key=self.start.__getitem__)
            for call in reversed(near[max(last - MOST_AT_ONCE, 0) : last]):
                if (
                    self._same_kind(call, request)
                    and (self.failed[request] or not self.has_request[call])
                    and self.end[request] <= self.end[call] + TOLERANCE_NS
                ):
                    found[request] = True
                    self.has_request[call] |= not self.failed[request]
                    break

    def _in_time(self, numbers: I64) -> list[int]:
        order: list[int] = numbers[np.lexsort((self.table.key[self.row[numbers]], self.start[numbers]))].tolist()
        return order

    def _by_gateways(self, found: Bools) -> None:
        """Requests to a host of nobody's that a gateway tells of, in its log or in a trace that is cut.

        One call for each: what one offset between the clocks explains best.
        """
        left = np.flatnonzero(self.is_request & ~found & ~self.is_at_provider)
        if not len(left):
            return
        parent = self.table.parent[self._tops()]
        is_cut = (parent == MISSING) | ((parent == ROOT) & self.is_served[self.table.place[self.top]])
        answers = np.flatnonzero(~self.is_request & (self.is_row | is_cut))
        for process in np.unique(self.process[left]).tolist():
            for other in np.unique(self.process[answers]).tolist():
                requests = left[(self.process[left] == process) & ~found[left]]
                theirs = answers[self.process[answers] == other]
                if process == other:
                    theirs = theirs[self.is_row[theirs]]
                offset = _clock_offset(self.start[requests], self.start[theirs])
                matches = [self._matched(requests, theirs, shift) for shift in sorted({0, offset}, key=abs)]
                best = max(matches, key=len)
                found[[request for request, _ in best]] = True
                answers = answers[~np.isin(answers, [answer for _, answer in best])]

    def _tops(self) -> I64:
        """The top of the way of each candidate; in traces with requests it is known already."""
        active = np.flatnonzero(self.top == self.row)
        for _ in range(MAX_STEPS):
            parent = self.table.parent[self.top[active]]
            active = active[parent >= 0]
            if not len(active):
                break
            self.top[active] = self.table.parent[self.top[active]]
        return self.top

    def _matched(self, requests: I64, answers: I64, offset: int) -> list[tuple[int, int]]:
        """Requests and answers one to one, in the order of time."""
        matched = []
        for kind in np.unique(self.kind[requests]).tolist():
            waiting = iter(self._in_time(answers[self.kind[answers] == kind]))
            answer = next(waiting, None)
            for request in self._in_time(requests[self.kind[requests] == kind]):
                while answer is not None and self.start[answer] - offset < self.start[request] - CLOCKS_NS:
                    answer = next(waiting, None)
                if answer is not None and self.start[answer] - offset <= self.end[request] + CLOCKS_NS:
                    matched.append((request, answer))
                    answer = next(waiting, None)
        return matched


def _clock_offset(starts: I64, others: I64) -> int:
    """How much later the clock of the others is, where one offset explains most of the starts; else 0."""
    starts, others = starts[:MOST_COMPARED], others[:MOST_COMPARED]
    if len(starts) < FEWEST or len(others) < FEWEST:
        return 0
    differences = np.sort((others[None, :] - starts[:, None]).ravel())
    last = np.searchsorted(differences, differences + CLOCKS_NS, side="right")
    within = last - np.arange(len(differences))
    best = int(np.argmax(within))
    if within[best] < MOSTLY * len(starts):
        return 0
    return int(np.median(differences[best : last[best]]))


def _kind(facts: CallFacts) -> int:
    """What has to agree between a request and its description; -1 for a description without an operation."""
    if facts.operation is None:
        return -1
    operations = list(Operation)
    return operations.index(Operation.CHAT if facts.operation in _TALKS else facts.operation)
