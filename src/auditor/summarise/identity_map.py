"""The identity map as the report shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.model.report import MapEdge, MapNode

if TYPE_CHECKING:
    import networkx as nx


def build_map(graph: nx.DiGraph[tuple[str, str]]) -> tuple[tuple[MapNode, ...], tuple[MapEdge, ...]]:
    """Nodes and edges in the order of their names."""
    nodes = tuple(
        MapNode(service, role, weight["calls"], weight["cost"], weight["knows_tenant"])
        for (service, role), weight in sorted(graph.nodes.items())
    )
    edges = tuple(
        MapEdge(
            "/".join(upper),
            "/".join(lower),
            weight["kind"],
            weight["calls"],
            weight["cost"],
            weight["lost_cost"],
        )
        for (upper, lower), weight in sorted(graph.edges.items())
    )
    return nodes, edges
