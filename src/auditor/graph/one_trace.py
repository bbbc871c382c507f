"""One whole trace as a graph: what ``audit explain TRACE`` shows.

The graph holds the spans that are shown, not all spans of the trace: the ways of the calls come first, and
each shown span says how many below it are left out. A million-span trace is walked as columns and lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile

import networkx as nx
import numpy as np

from auditor.errors import InputError
from auditor.graph.table import MISSING, ROOT, SpanTable
from auditor.model.audited import USAGES, AuditedCalls
from auditor.model.case import Ending, Path, Step, UsageStatus
from auditor.model.joins import STATUSES, Join, Status
from auditor.model.report import Finding, Hop, HopKind
from auditor.model.spans import U64, CallFacts, Role, Shape

MOST_SPANS = 500
"""Spans that are shown: about ten screens, more than anyone reads."""
NEAR_CALL = 12
"""Spans above a call that are shown of a way that is too long, and as many from the top of it."""
DEEPEST = 40
"""Levels below the top on which spans are shown that lie on no way of a call."""
SHORTEST_PREFIX = 8
"""Hex digits of a trace id that are taken for its beginning."""
_CIRCLE = -3
_NEAREST = 3
_DIGITS = frozenset("0123456789abcdef")


class Above(StrEnum):
    """What is above a span."""

    PARENT = "its parent"
    NOTHING = "nothing: it is a root"
    MISSING = "a parent that is not in the input"
    CIRCLE = "its own descendant: the parents run in a circle"


@dataclass(frozen=True, slots=True)
class LinkedSpan:
    """A span of another trace, or elsewhere in this one, that a link connects."""

    trace_id: str
    """Empty where the linked span is not in the input."""
    span_id: str
    service: str
    role: Role | None
    tenants: tuple[tuple[str, str], ...]
    points_here: bool
    """Whether the link stands on the other span."""


@dataclass(frozen=True, slots=True)
class ExplainedCall:
    """One billable call with what the audit of all inputs says about it. Money in pico-dollars."""

    operation: str
    provider: str
    model: str
    uncached: int
    cache_read: int
    cache_write: int
    output: int
    usage: UsageStatus
    cost: int | None
    """``None`` where it is unknown."""
    price_status: str
    status: Status
    failed: bool
    cache_hit: bool
    join: Join
    """What recovered the tenant, or what was ambiguous where it is lost."""
    tenant: str
    """Carried or recovered; empty for none."""
    conflict: bool
    placeholder: str
    rule: str
    """Id of the rule that explains the call; empty for none."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The edge above a span, after which calls have no tenant. Money in pico-dollars."""

    source: str
    target: str
    kind: HopKind
    calls: int
    cost: int
    knew_tenant: bool
    """Whether the tenant is known above the edge; if not, the edge is where the way up ends."""


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """One span as it is shown."""

    span_id: str
    name: str
    """Empty where the input gives none that can be shown."""
    service: str
    role: Role
    start_ns: int
    duration_ms: float | None
    tenants: tuple[tuple[str, str], ...]
    """Key and tenant id of each tenant that the span knows."""
    above: Above
    skipped_above: int
    """Spans between this one and the one that it is shown below."""
    hidden: int
    """Spans below this one that are not shown, and hang below no other shown span."""
    call: ExplainedCall | None
    describes: str
    """Span id (and trace id, where it is another one) of the span that stands for the same call."""
    loss: Loss | None
    links: tuple[LinkedSpan, ...]


@dataclass(frozen=True, slots=True)
class TraceTree:
    """One trace. Node numbers of ``graph`` rise in the order in which siblings are shown."""

    trace_id: str
    graph: nx.DiGraph[int]
    """From parent to child; the node attribute ``span`` is a ``TraceSpan``."""
    roots: tuple[int, ...]
    spans: int
    """All spans of the trace, shown or not."""
    hidden: int
    """Spans that are not shown."""
    calls: int
    unattributed: int
    """Calls without a tenant of their own."""
    conflicts: int
    """Calls that carry another tenant than their way."""
    cost: int
    """Of the calls whose cost is known."""
    uncosted: int
    """Calls whose cost is unknown."""
    unattributed_cost: int
    services: tuple[str, ...]
    start_ns: int
    end_ns: int

    def span(self, node: int) -> TraceSpan:
        """What a node shows."""
        span: TraceSpan = self.graph.nodes[node]["span"]
        return span

    def children(self, node: int) -> tuple[int, ...]:
        """Nodes below a node, in the order in which they are shown."""
        return tuple(sorted(self.graph.successors(node)))


def trace_prefix(text: str) -> str | None:
    """Read a trace id, or how one begins, as lower-case hex; ``None`` when it is neither.

    Either case, with ``0x`` or without, 8 to 32 digits.
    """
    digits = text.strip().lower().removeprefix("0x")
    if set(digits) <= _DIGITS and SHORTEST_PREFIX <= len(digits) <= 32:
        return digits
    return None


def find_trace(trace_ids: Sequence[U64], prefix: str) -> str:
    """The one trace that is meant: the whole id, a 64-bit id without its zeros, or how one id begins.

    ``trace_ids`` are arrays of two columns, the high and the low half. Raises ``InputError`` when no trace
    fits, naming the nearest ids, or when several do.
    """
    halves = np.unique(np.concatenate([np.empty((0, 2), np.uint64), *trace_ids]), axis=0)
    whole = prefix.zfill(32)
    if _position(halves, whole) < _position(halves, whole, after=True):
        return whole
    first = _position(halves, prefix.ljust(32, "0"))
    found = _position(halves, prefix.ljust(32, "f"), after=True) - first
    if found == 1:
        return _hex(halves[first])
    if found > 1:
        some = ", ".join(_hex(pair) for pair in halves[first : first + _NEAREST])
        more = ", …" if found > _NEAREST else ""
        raise InputError(f"{found} traces begin with {prefix}", hint=f"give more digits: {some}{more}")
    near = halves[max(0, first - _NEAREST) : first + _NEAREST]
    alike = sorted((_hex(pair) for pair in near), key=lambda name: (-_common(name, prefix), name))[:_NEAREST]
    raise InputError(
        f"no span of trace {prefix} is in the input ({len(halves)} traces are)",
        hint=f"nearest: {', '.join(alike)}" if alike else None,
    )


def _position(halves: U64, wanted: str, *, after: bool = False) -> int:
    """Where an id stands, or would, in rows that are sorted by both halves."""
    high, low = np.uint64(int(wanted[:16], 16)), np.uint64(int(wanted[16:], 16))
    start = int(np.searchsorted(halves[:, 0], high, side="left"))
    stop = int(np.searchsorted(halves[:, 0], high, side="right"))
    return start + int(np.searchsorted(halves[start:stop, 1], low, side="right" if after else "left"))


def _hex(pair: U64) -> str:
    return f"{int(pair[0]):016x}{int(pair[1]):016x}"


def _common(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _plain(text: str) -> str:
    return text


def trace_tree(
    table: SpanTable,
    calls: AuditedCalls,
    findings: Sequence[Finding],
    trace_id: str,
    *,
    hide: Callable[[str], str] = _plain,
    most: int = MOST_SPANS,
) -> TraceTree:
    """Build the tree of one trace of an audited input; ``trace_id`` is one that ``find_trace`` gave.

    ``hide`` is applied to tenant ids of spans. At most ``most`` spans are in the graph.
    """
    layout = _Layout(table, trace_id)
    told = _Told(calls, layout)
    losses = _Losses(table, calls, findings, layout, told)
    shown = layout.choose(told, losses, most)
    below, hidden, skipped = layout.fold(shown)
    known = _Known(table, hide)
    links = _links(table, layout, known, set(shown))
    graph: nx.DiGraph[int] = nx.DiGraph()
    for node in sorted(shown):
        row = layout.rows[node]
        shape = table.places[table.place[row]].shape
        duration = float(table.duration_ms[row])
        graph.add_node(
            node,
            span=TraceSpan(
                span_id=table.span_id(row),
                name=table.names.get(int(table.key[row]), ""),
                service=shape.service,
                role=shape.role,
                start_ns=int(table.start_ns[row]),
                duration_ms=None if np.isnan(duration) else duration,
                tenants=known.tenants(row),
                above=layout.above(node),
                skipped_above=skipped.get(node, 0),
                hidden=hidden.get(node, 0),
                call=told.call(node),
                describes=told.describes(node, trace_id),
                loss=losses.of.get(node),
                links=links.get(node, ()),
            ),
        )
    graph.add_edges_from((parent, node) for node, parent in below.items() if parent >= 0)
    lost = told.unattributed
    ends = table.end_ns(np.array(layout.rows, dtype=np.int64))
    places = np.unique(table.place[layout.rows]).tolist()
    return TraceTree(
        trace_id=trace_id,
        graph=graph,
        roots=tuple(sorted(node for node, parent in below.items() if parent < 0)),
        spans=len(layout.rows),
        hidden=len(layout.rows) - len(shown),
        calls=len(told.of_node),
        unattributed=len(lost),
        conflicts=sum(bool(calls.conflict[call]) for call in told.of_node.values()),
        cost=sum(int(calls.cost[call]) for call in told.of_node.values()),
        uncosted=sum(bool(calls.is_billed[call] and not calls.has_cost[call]) for call in told.of_node.values()),
        unattributed_cost=sum(int(calls.cost[call]) for call in lost.values()),
        services=tuple(sorted({table.places[place].shape.service for place in places})),
        start_ns=int(table.start_ns[layout.rows].min()),
        end_ns=int(ends.max()),
    )


class _Layout:
    """The spans of one trace as nodes: 0, 1, … by start, then by id."""

    def __init__(self, table: SpanTable, trace_id: str) -> None:
        wanted = np.array([int(trace_id[:16], 16), int(trace_id[16:], 16)], dtype=np.uint64)
        number = int(np.flatnonzero((table.trace_ids == wanted).all(axis=1))[0])
        rows = np.flatnonzero(table.trace == number)
        span_ids = table.key[rows] ^ table.trace_mixed[number]
        rows = rows[np.lexsort((span_ids, table.start_ns[rows]))]
        self.rows: list[int] = rows.tolist()
        self.node_of = {row: node for node, row in enumerate(self.rows)}
        self.parent = [self.node_of.get(row, row) if row >= 0 else row for row in table.parent[rows].tolist()]
        self._break_circles()
        self.children: list[list[int]] = [[] for _ in self.rows]
        for node, parent in enumerate(self.parent):
            if parent >= 0:
                self.children[parent].append(node)
        self.order = self._from_the_top()

    def _break_circles(self) -> None:
        """Let the first span of each circle stand at the top."""
        seen = [0] * len(self.parent)
        for start in range(len(self.parent)):
            node = start
            while node >= 0 and not seen[node]:
                seen[node] = start + 1
                node = self.parent[node]
            if node >= 0 and seen[node] == start + 1 and self.parent[node] >= 0:
                circle = [node]
                while self.parent[circle[-1]] != node:
                    circle.append(self.parent[circle[-1]])
                self.parent[min(circle)] = _CIRCLE

    def _from_the_top(self) -> list[int]:
        """All nodes, parents before children, siblings in their order."""
        order: list[int] = []
        waiting = [node for node in range(len(self.parent) - 1, -1, -1) if self.parent[node] < 0]
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting.extend(reversed(self.children[node]))
        return order

    def above(self, node: int) -> Above:
        """What is above a node."""
        parent = self.parent[node]
        return {ROOT: Above.NOTHING, MISSING: Above.MISSING, _CIRCLE: Above.CIRCLE}.get(parent, Above.PARENT)

    def way_up(self, node: int) -> Iterator[int]:
        """The node and those above it."""
        while node >= 0:
            yield node
            node = self.parent[node]

    def choose(self, told: _Told, losses: _Losses, most: int) -> list[int]:
        """The nodes that are shown: all, or the ways of the calls and then what is near the top."""
        levels = self._levels()
        if len(self.rows) <= most and max(levels) <= DEEPEST:
            return list(range(len(self.rows)))
        chosen: dict[int, None] = {}
        for node in sorted(losses.of, key=lambda node: (-losses.of[node].cost, -losses.of[node].calls, node)):
            self._add_way(node, chosen, most)
        for node in sorted(told.of_node, key=told.weight):
            self._add_way(node, chosen, most)
        for node in self.order:
            if len(chosen) >= most:
                break
            if levels[node] <= DEEPEST:
                chosen.setdefault(node)
        return list(chosen)

    def _levels(self) -> list[int]:
        """How deep each node lies."""
        levels = [0] * len(self.rows)
        for node in self.order:
            if self.parent[node] >= 0:
                levels[node] = levels[self.parent[node]] + 1
        return levels

    def _add_way(self, node: int, chosen: dict[int, None], most: int) -> None:
        """Add a node with what is near it and at the top of its way, if all of that still fits."""
        if node in chosen or len(chosen) >= most:
            return
        way = list(self.way_up(node))
        wanted = way if len(way) <= 2 * NEAR_CALL else [*way[:NEAR_CALL], *way[-NEAR_CALL:]]
        new = [other for other in wanted if other not in chosen]
        if len(chosen) + len(new) <= most:
            chosen.update(dict.fromkeys(new))

    def fold(self, shown: Sequence[int]) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
        """What each shown node is shown below (-1: nothing), and how many hidden ones hang there and between.

        A hidden node counts once, at the nearest shown node above it; those without one count nowhere.
        """
        is_shown = set(shown)
        nearest = [-1] * len(self.rows)
        depth = [0] * len(self.rows)
        hidden: dict[int, int] = defaultdict(int)
        below: dict[int, int] = {}
        skipped: dict[int, int] = {}
        for node in self.order:
            parent = self.parent[node]
            over = -1 if parent < 0 else parent if parent in is_shown else nearest[parent]
            between = 0 if parent < 0 or parent in is_shown else depth[parent] + 1
            nearest[node], depth[node] = over, between
            if node in is_shown:
                below[node] = over
                skipped[node] = between
            elif over >= 0:
                hidden[over] += 1
        return below, hidden, skipped


class _Told:
    """What the audit says about the calls of the trace, by node."""

    def __init__(self, calls: AuditedCalls, layout: _Layout) -> None:
        self._calls = calls
        nodes = layout.node_of
        chosen = np.flatnonzero(np.isin(calls.row, np.array(layout.rows, dtype=np.int64)))
        self.of_node: dict[int, int] = {nodes[int(calls.row[call])]: call for call in chosen.tolist()}
        self._same: dict[int, int] = {
            nodes[row]: call for call, rows in calls.duplicates.items() for row in rows if row in nodes
        }
        lost = (Status.RECOVERABLE, Status.LOST)
        self.unattributed: dict[int, int] = {
            node: call for node, call in self.of_node.items() if STATUSES[calls.status[call]] in lost
        }

    def weight(self, node: int) -> tuple[bool, int, int]:
        """Sorts calls: those without a tenant first, then by cost."""
        return node not in self.unattributed, -int(self._calls.cost[self.of_node[node]]), node

    def describes(self, node: int, trace_id: str) -> str:
        """Id of the span that stands for the call which this node describes too."""
        call = self._same.get(node)
        if call is None or node in self.of_node:
            return ""
        row = int(self._calls.row[call])
        other = self._calls.spans.trace_id(row)
        return self._calls.spans.span_id(row) + (f" of trace {other}" if other != trace_id else "")

    def call(self, node: int) -> ExplainedCall | None:
        """The call for which a node stands."""
        call = self.of_node.get(node)
        if call is None:
            return None
        calls = self._calls
        facts: CallFacts = calls.facts[calls.facts_of[call]]
        priced: CallFacts = calls.facts[calls.price_facts_of[call]]
        usage = USAGES[calls.usage[call]]
        cost = int(calls.cost[call]) if calls.has_cost[call] else None
        return ExplainedCall(
            operation=str(facts.operation or "call"),
            provider=priced.provider or facts.provider,
            model=priced.response_model or facts.response_model or priced.request_model or facts.request_model,
            uncached=int(calls.uncached[call]),
            cache_read=int(calls.cache_read[call]),
            cache_write=int(calls.cache_write[call]),
            output=int(calls.output[call]),
            usage=usage,
            cost=0 if usage is UsageStatus.NOT_BILLED else cost,
            price_status=calls.price_status[calls.price_status_of[call]],
            status=STATUSES[calls.status[call]],
            failed=facts.failed,
            cache_hit=facts.cache_hit,
            join=Join(int(calls.join[call])),
            tenant=calls.values[calls.tenant[call]] if calls.tenant[call] >= 0 else "",
            conflict=bool(calls.conflict[call]),
            placeholder=facts.placeholder,
            rule=calls.rule(call),
        )


@dataclass(slots=True)
class _Weight:
    """Calls that one edge loses."""

    calls: int = 0
    cost: int = 0
    rules: set[str] = field(default_factory=set)


class _Losses:
    """Where calls lose their tenant: by node, the edge above it.

    Below a span that knows a tenant it is the first queue or process hop on the way down to the call, or the
    edge right below that span where there is none (the definitions of the rules). Where nothing above knows a
    tenant, it is the top of the way.
    """

    def __init__(
        self, table: SpanTable, calls: AuditedCalls, findings: Sequence[Finding], layout: _Layout, told: _Told
    ) -> None:
        self._table = table
        self._layout = layout
        self._kinds: dict[tuple[int, int], HopKind | None] = {}
        edges, known = self._edges()
        weights: dict[int, _Weight] = defaultdict(_Weight)
        for node, call in told.unattributed.items():
            weight = weights[edges[node]]
            weight.calls += 1
            weight.cost += int(calls.cost[call])
            weight.rules.add(calls.rule(call))
        hops = _hops_by_rule(findings)
        self.of = {node: self._loss(node, weight, hops, knew=known[node]) for node, weight in weights.items()}

    def _edges(self) -> tuple[list[int], list[bool]]:
        """For each node the one below the edge that loses its tenant, and whether one is known above that."""
        layout, tenant = self._layout, self._table.tenant
        edges = list(range(len(layout.rows)))
        known = [False] * len(layout.rows)
        is_hop = [False] * len(layout.rows)
        for node in layout.order:
            parent = layout.parent[node]
            if parent < 0:
                continue
            kind = self._kind(parent, node)
            if tenant[layout.rows[parent]] >= 0:
                known[node], is_hop[node] = True, kind is not None
            elif known[parent] and not is_hop[parent] and kind is not None:
                known[node], is_hop[node] = True, True
            else:
                edges[node], known[node], is_hop[node] = edges[parent], known[parent], is_hop[parent]
        return edges, known

    def _kind(self, parent: int, node: int) -> HopKind | None:
        upper, lower = (int(self._table.place[self._layout.rows[at]]) for at in (parent, node))
        if (upper, lower) not in self._kinds:
            one, other = self._table.places[upper], self._table.places[lower]
            crosses = (one.shape.service, one.instance) != (other.shape.service, other.instance)
            edges = Path((_step(other.shape, crosses=crosses), _step(one.shape)), Ending.ROOT).edges
            self._kinds[upper, lower] = edges[0].kind if edges else None
        return self._kinds[upper, lower]

    def _loss(self, node: int, weight: _Weight, hops: Mapping[tuple[str, str], Hop | None], *, knew: bool) -> Loss:
        target = self._service(node)
        if knew:
            parent = self._layout.parent[node]
            hop = Hop(self._service(parent), target, self._kind(parent, node) or HopKind.NONE)
        else:
            told = hops.get((next(iter(weight.rules)), target)) if len(weight.rules) == 1 else None
            hop = told or Hop(target, target, HopKind.NONE)
        return Loss(hop.source, hop.target, hop.kind, weight.calls, weight.cost, knew_tenant=knew)

    def _service(self, node: int) -> str:
        return self._table.places[int(self._table.place[self._layout.rows[node]])].shape.service


def _step(shape: Shape, *, crosses: bool = False) -> Step:
    return Step(shape, crosses)


def _hops_by_rule(findings: Sequence[Finding]) -> dict[tuple[str, str], Hop | None]:
    """The hop that a rule names for a service; ``None`` where it names several."""
    hops: dict[tuple[str, str], Hop | None] = {}
    for finding in findings:
        key = (finding.rule, finding.hop.target)
        hops[key] = finding.hop if hops.get(key, finding.hop) == finding.hop else None
    return hops


class _Known:
    """Tenants that spans know."""

    def __init__(self, table: SpanTable, hide: Callable[[str], str]) -> None:
        self._table = table
        self._hide = hide

    def tenants(self, row: int) -> tuple[tuple[str, str], ...]:
        """Key and id of each tenant on a span."""
        code = int(self._table.tenant[row])
        tags = self._table.tenants[code] if code >= 0 else ()
        return tuple((tag.key, self._hide(tag.value)) for tag in tags)


def _links(table: SpanTable, layout: _Layout, known: _Known, shown: set[int]) -> dict[int, tuple[LinkedSpan, ...]]:
    """Links of the shown spans, in both directions."""
    found: dict[int, list[LinkedSpan]] = defaultdict(list)
    rows = np.array(layout.rows, dtype=np.int64)
    touches = np.flatnonzero(np.isin(table.link_row, rows) | np.isin(table.link_target, rows))
    for number in touches.tolist():
        row, target = int(table.link_row[number]), int(table.link_target[number])
        here = layout.node_of.get(row)
        if here is not None and here in shown:
            found[here].append(_linked(table, known, target, points_here=False))
        there = layout.node_of.get(target)
        if there is not None and there in shown:
            found[there].append(_linked(table, known, row, points_here=True))
    return {
        node: tuple(sorted(links, key=lambda link: (link.points_here, not link.trace_id, link.trace_id, link.span_id)))
        for node, links in found.items()
    }


def _linked(table: SpanTable, known: _Known, row: int, *, points_here: bool) -> LinkedSpan:
    if row < 0:
        return LinkedSpan("", "", "", None, (), points_here)
    shape = table.places[table.place[row]].shape
    return LinkedSpan(
        table.trace_id(row), table.span_id(row), shape.service, shape.role, known.tenants(row), points_here
    )
