"""Which traces have to be together, and where the borders between partitions lie."""

from __future__ import annotations

import tempfile
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.engine import bonds
from auditor.engine.bonds import read_together, write_bonds
from auditor.engine.places import WHOLE, divide, ranges

HIGH = 1 << 63
"""Hashes use all 64 bits."""


PARTS = st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=30), min_size=1, max_size=4)
PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=3)
SPREAD = 0x0305_0709_0B0D_0F11


@given(parts=PARTS, more=PAIRS)
@settings(deadline=None, max_examples=60)
def test_traces_that_share_a_node_are_together_whatever_file_they_are_in(
    parts: list[list[tuple[int, int]]], more: list[tuple[int, int]]
) -> None:
    graph: nx.Graph[tuple[str, int]] = nx.Graph()
    for part in parts:
        graph.add_edges_from((("node", node), ("trace", trace)) for node, trace in part)
    graph.add_edges_from((("trace", one), ("trace", other)) for one, other in more)
    wanted = {}
    for component in nx.connected_components(graph):
        members = sorted(1 + trace * SPREAD for kind, trace in component if kind == "trace")
        wanted |= {trace: members[0] for trace in members if len(members) > 1}

    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{number}.bonds" for number in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            found = np.array([(HIGH + node * SPREAD, 1 + trace * SPREAD) for node, trace in part], dtype=np.uint64)
            write_bonds(path, [found.reshape(-1, 2)])
        pairs = [(1 + one * SPREAD, 1 + other * SPREAD) for one, other in more if one != other]
        traces, leaders = read_together(paths, pairs)

    assert dict(zip(traces.tolist(), leaders.tolist(), strict=True)) == wanted


def test_bonds_are_compared_a_range_of_nodes_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bonds, "PASS", 3)
    nodes = np.repeat(np.arange(200, dtype=np.uint64) << np.uint64(56 - 1), 2)
    traces = np.arange(400, dtype=np.uint64)
    write_bonds(tmp_path / "one", [np.stack([nodes, traces], axis=1)])

    together, leaders = read_together([tmp_path / "one"])

    assert together.tolist() == list(range(400))
    assert leaders.tolist() == [number - number % 2 for number in range(400)]


def test_borders_divide_spans_evenly_and_cover_every_hash() -> None:
    counts = np.zeros(256, dtype=np.int64)
    counts[[0, 255]] = 100

    borders = divide(counts, 4)

    assert borders == [0, 1 << 55, borders[2], WHOLE - (1 << 55), WHOLE]
    assert divide(np.zeros(256, dtype=np.int64), 3)[-1] == WHOLE
    assert divide(counts, 1) == [0, WHOLE]


def test_what_is_bound_moves_to_its_leader_and_is_nowhere_else() -> None:
    borders = [0, 100, 200, WHOLE]
    traces = np.array([5, 150, 170, 250], dtype=np.uint64)
    leaders = np.array([5, 5, 170, 170], dtype=np.uint64)

    found = ranges(borders, traces, leaders)

    assert [(entry.low, entry.high) for entry in found] == [(0, 100), (100, 200), (200, WHOLE)]
    assert [entry.extra.tolist() for entry in found] == [[150], [250], []]
    assert [entry.without.tolist() for entry in found] == [[], [150], [250]]
