"""The ways of calls through the system, of which the identity map is drawn.

A way is told once, however many calls went it: the size of all ways is that of the system, not of the export.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.graph.resolve import Places, Walks, steps_between
from auditor.graph.table import SpanTable
from auditor.model.audited import exact_sum
from auditor.model.case import Step
from auditor.model.spans import I64

Node = tuple[str, str]
"""Service and role."""


@dataclass(slots=True)
class Way:
    """The calls that went one way through the system."""

    steps: tuple[Step, ...]
    calls: int
    cost: int


@dataclass(slots=True)
class Ways:
    """The ways of the calls of a partition."""

    ways: dict[int, Way]
    """By path id."""
    knowing: set[Node]
    """Services and roles of the spans that know a tenant."""


def ways_of(table: SpanTable, places: Places, walks: Walks, cost: I64) -> Ways:
    """Sort the calls of a partition by the way that they went."""
    spans = np.bincount(table.place[table.tenant >= 0], minlength=len(places.shape))
    with_tenant = [places.shapes[number] for number in places.shape[spans > 0].tolist()]
    keys, inverse = np.unique(walks.to_top, return_inverse=True)
    # Calls in the order of their spans' keys: the first one shows the way.
    order = np.lexsort((table.key[walks.start], inverse))
    bounds = np.searchsorted(inverse[order], np.arange(len(keys) + 1))
    ways = {}
    for number, key in enumerate(keys.tolist()):
        members = order[bounds[number] : bounds[number + 1]]
        first = members[0]
        steps = steps_between(table, places, int(walks.start[first]), int(walks.top_row[first]))
        ways[key] = Way(tuple(Step(*step) for step in steps), len(members), exact_sum(cost[members]))
    return Ways(ways, {(shape.service, str(shape.role)) for shape in with_tenant})
