"""The order of the steps, whatever runs them: the only file that knows it.

In a round every partition takes a step; then what all of them say is put together for the next one. Partitions may
be one or many, in this process or in others: the messages are put together so that the result is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from auditor.attribute import Partners, no_partners, shared_ids, wanted_by_all
from auditor.diagnose import Cuts, Roots, Surroundings, cuts_of, decide_cuts, windows_of
from auditor.normalise.calls import clock_offsets, find_twins
from auditor.normalise.requests import told_by_gateways
from auditor.pipeline import partition
from auditor.pipeline.partition import Begun, Conclusion, Known, Opened, Step

Bond = tuple[int, int]
"""Hashes of two traces."""


class Partitions(Protocol):
    """Partitions of an input, wherever they are."""

    def each(self, step: Step, shared: Any = None) -> list[Any]:
        """Take a step in every partition; what they say, in any order."""
        ...

    def bring_together(self, bonds: Sequence[Bond]) -> bool:
        """Put traces into one partition and begin anew; false where they are in one already."""
        ...


def run(partitions: Partitions) -> list[Conclusion]:
    """Take all steps; the parts of the report. No call at all gives no part."""
    opened = _open(partitions)
    if not sum(part.calls for part in opened):
        return []
    known = Known(
        shared=_shared_ids(partitions, opened),
        around=Surroundings(
            knowing=frozenset().union(*(part.knowing for part in opened)),
            pricing_logs=frozenset().union(*(part.pricing_logs for part in opened)),
            cuts={},
        ),
        unmetered=frozenset().union(*(part.unmetered for part in opened)),
    )
    if not any(part.may_be_cut for part in opened):
        return partitions.each(partition.conclude, known)
    roots = partitions.each(partition.show_roots, known)
    return partitions.each(partition.explain_by_cuts, _cuts(partitions, roots))


def _cuts(partitions: Partitions, roots: Sequence[Roots]) -> Cuts:
    """The cuts that explain roots, by their keys."""
    if not any(len(part.key) for part in roots):
        return {}
    decided = decide_cuts(roots, partitions.each(partition.show_callers, windows_of(roots)))
    if not decided.cuts:
        return {}
    return cuts_of(decided, partitions.each(partition.show_inside, decided))


def _open(partitions: Partitions) -> list[Opened]:
    """Find the calls, and attribute them as far as their own traces tell."""
    while True:
        begun = _begin(partitions)
        offsets = clock_offsets([part.clocks for part in begun])
        if not any(part.may_be_cut for part in begun):
            return partitions.each(partition.price_and_open, offsets)
        counts = np.unique(np.concatenate(partitions.each(partition.compare, offsets)))
        twins, bonds = find_twins(partitions.each(partition.show_lone, counts))
        if not partitions.bring_together(bonds):
            return partitions.each(partition.join_and_open, twins)


def _begin(partitions: Partitions) -> list[Begun]:
    begun = partitions.each(partition.begin)
    if not any(len(part.requests) for part in begun):
        return begun
    answers = partitions.each(partition.answer_requests)
    described = told_by_gateways([part.requests for part in begun if len(part.requests)], answers)
    return partitions.each(partition.take_requests_out, described)


def _shared_ids(partitions: Partitions, opened: Sequence[Opened]) -> Partners:
    wanted = wanted_by_all([part.wanted for part in opened])
    if not len(wanted.hash):
        return no_partners()
    return shared_ids(partitions.each(partition.know, wanted))
