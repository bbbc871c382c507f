"""The identity map: services and roles as nodes, hops as edges, weighted with the calls and dollars that go along.

Built from path classes, never from spans: its size is that of the system, not of the export.
"""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx
import numpy as np

from auditor.graph.resolve import Places, Walks, steps_between
from auditor.graph.table import SpanTable
from auditor.model.audited import exact_sum
from auditor.model.case import Ending, Path, Step
from auditor.model.report import Hop, HopKind
from auditor.model.spans import I64

Node = tuple[str, str]
"""Service and role."""


def identity_map(
    table: SpanTable, places: Places, walks: Walks, cost: I64, lost: Iterable[tuple[Hop, int]]
) -> nx.DiGraph[Node]:
    """Draw the ways of all calls; ``lost`` gives the hops that lose a tenant, and the cost that goes with it.

    Node attributes: ``calls``, ``cost``, ``knows_tenant``. Edge attributes: ``kind``, ``calls``, ``cost``,
    ``lost_cost``. Money in pico-dollars.
    """
    graph: nx.DiGraph[Node] = nx.DiGraph()
    with_tenant = _places_with_tenant(table)
    knowing = {
        (shape.service, str(shape.role)) for place in with_tenant for shape in [places.shapes[places.shape[place]]]
    }
    _, first, inverse = np.unique(walks.to_top, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(first) + 1))
    for number, call in enumerate(first.tolist()):
        members = order[bounds[number] : bounds[number + 1]]
        steps = steps_between(table, places, int(walks.start[call]), int(walks.top_row[call]))
        _add_path(graph, tuple(Step(*step) for step in steps), len(members), exact_sum(cost[members]), knowing)
    for hop, amount in lost:
        _add_loss(graph, hop, amount)
    return graph


def _add_path(graph: nx.DiGraph[Node], steps: tuple[Step, ...], calls: int, cost: int, knowing: set[Node]) -> None:
    nodes = [(step.service, str(step.role)) for step in reversed(steps)]
    for node in dict.fromkeys(nodes):
        _weigh(graph, node, calls, cost, node in knowing)
    kinds = {edge.position: edge.kind for edge in Path(steps, Ending.ROOT).edges}
    for position in range(len(steps) - 1, 0, -1):
        upper, lower = nodes[len(steps) - 1 - position], nodes[len(steps) - position]
        if upper != lower:
            _connect(graph, upper, lower, kinds.get(position - 1, HopKind.NONE), calls, cost)


def _weigh(graph: nx.DiGraph[Node], node: Node, calls: int, cost: int, knows: bool) -> None:
    known = graph.nodes[node] if node in graph else {"calls": 0, "cost": 0}
    graph.add_node(node, calls=known["calls"] + calls, cost=known["cost"] + cost, knows_tenant=knows)


def _connect(graph: nx.DiGraph[Node], upper: Node, lower: Node, kind: HopKind, calls: int, cost: int) -> None:
    known = graph.edges[upper, lower] if graph.has_edge(upper, lower) else {"calls": 0, "cost": 0, "lost_cost": 0}
    graph.add_edge(
        upper,
        lower,
        kind=kind,
        calls=known["calls"] + calls,
        cost=known["cost"] + cost,
        lost_cost=known["lost_cost"],
    )


def _add_loss(graph: nx.DiGraph[Node], hop: Hop, amount: int) -> None:
    """Book a loss on the edge of the map that the hop means, or on one of its own where the trace is cut."""
    candidates = sorted(
        (upper, lower)
        for upper, lower in graph.edges
        if upper[0] == hop.source and lower[0] == hop.target and (upper[0] != lower[0] or hop.source == hop.target)
    )
    fitting = [edge for edge in candidates if graph.edges[edge]["kind"] == hop.kind] or candidates
    if fitting:
        heaviest = max(fitting, key=lambda edge: (graph.edges[edge]["cost"], edge))
        graph.edges[heaviest]["lost_cost"] += amount
        return
    upper, lower = (hop.source, "?"), (hop.target, "?")
    for node in (upper, lower):
        if node not in graph:
            graph.add_node(node, calls=0, cost=0, knows_tenant=False)
    _connect(graph, upper, lower, hop.kind, 0, 0)
    graph.edges[upper, lower]["lost_cost"] += amount


def _places_with_tenant(table: SpanTable) -> list[int]:
    found: list[int] = np.unique(table.place[table.tenant >= 0]).tolist()
    return found
