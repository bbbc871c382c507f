"""Whose calls a finding is made of: by feature of the product, and by tenant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from auditor.model.audited import AuditedCalls
from auditor.model.joins import STATUSES, Status
from auditor.model.report import FeatureSeen
from auditor.model.spans import I64
from auditor.model.stakes import Stakes

FEATURES = 20
"""Features of a finding that are named: those with the most dollars."""

_LOW_BITS = np.int64(31)
_LOW = np.int64(0x7FFF_FFFF)


def features_of(finding_of_call: I64, calls: AuditedCalls) -> Mapping[int, tuple[FeatureSeen, ...]]:
    """By number of the finding (-1: the call is in none): the features that its calls name, most dollars first."""
    names = ["", *sorted({facts.feature for facts in calls.facts if facts.feature})]
    if len(names) == 1:
        return {}
    codes = {name: code for code, name in enumerate(names)}
    of_facts = np.array([codes[facts.feature] for facts in calls.facts], dtype=np.int64)
    feature = of_facts[calls.facts_of]
    chosen = np.flatnonzero((finding_of_call >= 0) & (feature > 0))
    keys, inverse = np.unique(finding_of_call[chosen] * np.int64(len(names)) + feature[chosen], return_inverse=True)
    counts = np.bincount(inverse, minlength=len(keys)).tolist()
    costs = _sums(inverse, len(keys), calls.cost[chosen])
    seen: dict[int, list[FeatureSeen]] = defaultdict(list)
    for key, count, cost in zip(keys.tolist(), counts, costs, strict=True):
        seen[key // len(names)].append(FeatureSeen(names[key % len(names)], count, cost))
    return {
        number: tuple(sorted(entries, key=lambda entry: (-entry.cost, -entry.calls, entry.feature))[:FEATURES])
        for number, entries in seen.items()
    }


def tenants_of(finding_of_call: I64, calls: AuditedCalls, names: Sequence[str]) -> Mapping[int, Mapping[str, Stakes]]:
    """By number of the finding and tenant (empty for none): the stakes; ``names`` are the tenants by number."""
    chosen = np.flatnonzero(finding_of_call >= 0)
    width = np.int64(len(names) + 1)
    keys, inverse = np.unique(
        finding_of_call[chosen] * width + calls.tenant[chosen].astype(np.int64) + 1, return_inverse=True
    )
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
    sums = zip(*(_sums(inverse, len(keys), column) for column in columns), strict=True)
    parts: dict[int, dict[str, Stakes]] = defaultdict(dict)
    for key, values in zip(keys.tolist(), sums, strict=True):
        number, tenant = divmod(key, int(width))
        # Two keys may hold the same value: one tenant as far as a glob can tell.
        name = names[tenant - 1] if tenant else ""
        parts[number][name] = parts[number].get(name, Stakes()).plus(Stakes(*values))
    return parts


def _sums(groups: I64, number: int, values: I64) -> list[int]:
    """Sum by group without overflow, whatever the sums: high and low halves apart."""
    high, low = np.zeros(number, dtype=np.int64), np.zeros(number, dtype=np.int64)
    np.add.at(high, groups, values >> _LOW_BITS)
    np.add.at(low, groups, values & _LOW)
    return [(above << 31) + below for above, below in zip(high.tolist(), low.tolist(), strict=True)]
