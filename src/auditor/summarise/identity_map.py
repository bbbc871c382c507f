"""The identity map: services and roles as nodes, hops as edges, weighted with the calls and dollars that go along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditor.graph.ways import Node, Way, Ways
from auditor.model.case import Ending, Path
from auditor.model.report import Hop, HopKind, MapEdge, MapNode

_Edge = tuple[Node, Node]


@dataclass(slots=True)
class _Weight:
    calls: int = 0
    cost: int = 0
    kind: HopKind = HopKind.NONE
    lost_cost: int = 0


def build_map(
    parts: Sequence[Ways], lost: Iterable[tuple[Hop, int]]
) -> tuple[tuple[MapNode, ...], tuple[MapEdge, ...]]:
    """Draw the ways of all calls: nodes and edges in the order of their names, money in pico-dollars.

    ``lost`` gives the hops that lose a tenant, and the cost that goes with it.
    """
    drawing = _Drawing()
    for way in _together(parts):
        drawing.add_way(way)
    for hop, amount in lost:
        drawing.add_loss(hop, amount)
    knowing = set[Node]().union(*(part.knowing for part in parts))
    nodes = tuple(
        MapNode(*node, weight.calls, weight.cost, node in knowing)
        for node, weight in sorted(drawing.nodes.items(), key=_name)
    )
    edges = tuple(
        MapEdge("/".join(upper), "/".join(lower), weight.kind, weight.calls, weight.cost, weight.lost_cost)
        for (upper, lower), weight in sorted(drawing.edges.items(), key=_name)
    )
    return nodes, edges


def _name(entry: tuple[Node | _Edge, _Weight]) -> Node | _Edge:
    return entry[0]


def _together(parts: Sequence[Ways]) -> list[Way]:
    """The ways of all partitions, each once, in the order of their path ids."""
    merged: dict[int, Way] = {}
    for part in parts:
        for key, way in part.ways.items():
            known = merged.get(key)
            merged[key] = way if known is None else Way(known.steps, known.calls + way.calls, known.cost + way.cost)
    return [merged[key] for key in sorted(merged)]


class _Drawing:
    def __init__(self) -> None:
        self.nodes: dict[Node, _Weight] = {}
        self.edges: dict[_Edge, _Weight] = {}

    def add_way(self, way: Way) -> None:
        """Weigh the nodes and edges of a way with its calls."""
        nodes = [(step.service, str(step.role)) for step in reversed(way.steps)]
        for node in dict.fromkeys(nodes):
            _weigh(self.nodes.setdefault(node, _Weight()), way)
        kinds = {edge.position: edge.kind for edge in Path(way.steps, Ending.ROOT).edges}
        for position in range(len(way.steps) - 1, 0, -1):
            upper, lower = nodes[len(way.steps) - 1 - position], nodes[len(way.steps) - position]
            if upper != lower:
                edge = self.edges.setdefault((upper, lower), _Weight())
                edge.kind = kinds.get(position - 1, HopKind.NONE)
                _weigh(edge, way)

    def add_loss(self, hop: Hop, amount: int) -> None:
        """Book a loss on the edge of the map that the hop means, or on one of its own where the trace is cut."""
        candidates = sorted(
            (upper, lower)
            for upper, lower in self.edges
            if upper[0] == hop.source and lower[0] == hop.target and (upper[0] != lower[0] or hop.source == hop.target)
        )
        fitting = [edge for edge in candidates if self.edges[edge].kind == hop.kind] or candidates
        if fitting:
            heaviest = max(fitting, key=lambda edge: (self.edges[edge].cost, edge))
            self.edges[heaviest].lost_cost += amount
            return
        upper, lower = (hop.source, "?"), (hop.target, "?")
        for node in (upper, lower):
            self.nodes.setdefault(node, _Weight())
        self.edges.setdefault((upper, lower), _Weight(kind=hop.kind)).lost_cost += amount


def _weigh(weight: _Weight, way: Way) -> None:
    weight.calls += way.calls
    weight.cost += way.cost
