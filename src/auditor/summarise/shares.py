"""What the calls of each case say of the finding that it will be part of: samples, features, tenants, estimates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from auditor.model.audited import AuditedCalls
from auditor.model.joins import STATUSES, Status
from auditor.model.spans import I64, U32
from auditor.model.stakes import Stakes
from auditor.summarise.tally import Like, Sum, like_calls, sums

SAMPLES = 3
"""Calls of a case that are kept as samples: the costliest, then those with the smallest keys."""


class SampleCall(NamedTuple):
    """A call, where it can be read."""

    cost: int
    """Pico-dollars."""
    key: int
    trace_id: str
    span_id: str
    part: int
    """Number of the part of the input that it was read from."""
    line: int
    """Within that part."""


@dataclass(slots=True)
class Share:
    """The calls of one case, or of several."""

    samples: list[SampleCall] = field(default_factory=list)
    features: dict[str, Sum] = field(default_factory=dict)
    """By the feature that calls name."""
    tenants: dict[str, Stakes] = field(default_factory=dict)
    """By tenant, carried or recovered; empty for none. Told only where it is asked for."""
    unmetered: Counter[Like] = field(default_factory=Counter)

    def add(self, other: Share) -> None:
        """Take another share in."""
        self.samples += other.samples
        for name, part in other.features.items():
            self.features[name] = self.features.get(name, Sum()).plus(part)
        for name, stakes in other.tenants.items():
            self.tenants[name] = self.tenants.get(name, Stakes()).plus(stakes)
        self.unmetered.update(other.unmetered)


Shares = dict[int, Share]
"""By the key of the case."""


def merge_shares(parts: Iterable[Mapping[int, Share]]) -> Shares:
    """Put together what all partitions say; of each case the best samples stay."""
    merged: Shares = defaultdict(Share)
    for part in parts:
        for key, share in part.items():
            merged[key].add(share)
    for share in merged.values():
        share.samples = sorted(share.samples, key=lambda entry: (-entry.cost, entry.key))[:SAMPLES]
    return merged


class Positions(NamedTuple):
    """Where candidate calls were read, by candidate."""

    of_call: I64
    """The candidate that stands for each call."""
    part: U32
    line: U32


def share_out(
    calls: AuditedCalls, case_of_call: I64, keys: Sequence[int], positions: Positions, tenants: Sequence[str] | None
) -> Shares:
    """Share the calls out to cases; ``keys`` by case, ``tenants`` by number where they are asked for."""
    chosen = np.flatnonzero(case_of_call >= 0)
    case = case_of_call[chosen]
    shares = {key: Share() for key in keys}
    _add_samples([shares[key] for key in keys], calls, chosen, case, positions)
    _add_features([shares[key] for key in keys], calls, chosen, case)
    unmetered = calls.is_unmetered[chosen]
    for number in np.unique(case[unmetered]).tolist():
        shares[keys[number]].unmetered = like_calls(calls, chosen[unmetered & (case == number)])
    if tenants is not None:
        _add_tenants([shares[key] for key in keys], calls, chosen, case, tenants)
    return shares


def _add_samples(shares: Sequence[Share], calls: AuditedCalls, chosen: I64, case: I64, positions: Positions) -> None:
    span_key = calls.spans.key[calls.row[chosen]]
    order = np.lexsort((span_key, -calls.cost[chosen], case))
    ordered = case[order]
    starts = np.searchsorted(ordered, np.arange(len(shares)))
    rank = np.arange(len(order)) - starts[ordered]
    for number, at in zip(ordered[rank < SAMPLES].tolist(), order[rank < SAMPLES].tolist(), strict=True):
        call, candidate = chosen[at], positions.of_call[chosen[at]]
        row = int(calls.row[call])
        shares[number].samples.append(
            SampleCall(
                int(calls.cost[call]),
                int(span_key[at]),
                calls.spans.trace_id(row),
                calls.spans.span_id(row),
                int(positions.part[candidate]),
                int(positions.line[candidate]),
            )
        )


def _add_features(shares: Sequence[Share], calls: AuditedCalls, chosen: I64, case: I64) -> None:
    names = ["", *sorted({facts.feature for facts in calls.facts if facts.feature})]
    if len(names) == 1:
        return
    codes = {name: code for code, name in enumerate(names)}
    of_facts = np.array([codes[facts.feature] for facts in calls.facts], dtype=np.int64)
    feature = of_facts[calls.facts_of[chosen]]
    named = feature > 0
    keys, inverse = np.unique(case[named] * np.int64(len(names)) + feature[named], return_inverse=True)
    counts = np.bincount(inverse, minlength=len(keys)).tolist()
    costs = sums(inverse, len(keys), calls.cost[chosen[named]])
    for key, count, cost in zip(keys.tolist(), counts, costs, strict=True):
        shares[key // len(names)].features[names[key % len(names)]] = Sum(count, cost)


def _add_tenants(shares: Sequence[Share], calls: AuditedCalls, chosen: I64, case: I64, names: Sequence[str]) -> None:
    width = np.int64(len(names) + 1)
    keys, inverse = np.unique(case * width + calls.tenant[chosen].astype(np.int64) + 1, return_inverse=True)
    status = calls.status[chosen]
    recoverable = status == STATUSES.index(Status.RECOVERABLE)
    unattributed = recoverable | (status == STATUSES.index(Status.LOST))
    cost = calls.cost[chosen]
    columns = (
        np.ones(len(chosen), dtype=np.int64),
        cost,
        unattributed.astype(np.int64),
        np.where(unattributed, cost, 0),
        np.where(recoverable, cost, 0),
        calls.is_unmetered[chosen].astype(np.int64),
    )
    stakes = zip(*(sums(inverse, len(keys), column) for column in columns), strict=True)
    for key, values in zip(keys.tolist(), stakes, strict=True):
        number, tenant = divmod(key, int(width))
        # Two keys may hold the same value: one tenant as far as a glob can tell.
        name = names[tenant - 1] if tenant else ""
        share = shares[number]
        share.tenants[name] = share.tenants.get(name, Stakes()).plus(Stakes(*values))
