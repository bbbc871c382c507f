"""What the calls of a partition add up to: sums that can be added to those of other partitions in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from auditor.model.audited import USAGES, AuditedCalls
from auditor.model.case import UsageStatus
from auditor.model.joins import Join, Status
from auditor.model.spans import I64, Bools, CallFacts

_WITH_USAGE = (UsageStatus.COMPLETE, UsageStatus.PARTIAL, UsageStatus.ELSEWHERE)
_LOW_BITS = np.int64(31)
_LOW = np.int64(0x7FFF_FFFF)


class Sum(NamedTuple):
    """Calls and pico-dollars."""

    calls: int = 0
    cost: int = 0

    def plus(self, other: Sum) -> Sum:
        """Both together."""
        return Sum(self.calls + other.calls, self.cost + other.cost)


NONE = Sum()


class TenantSum(NamedTuple):
    """Calls of a tenant, and pico-dollars that it carries or that joins give back."""

    calls: int = 0
    direct: int = 0
    recovered: int = 0

    def plus(self, other: TenantSum) -> TenantSum:
        """Both together."""
        return TenantSum(*(mine + its for mine, its in zip(self, other, strict=True)))


class Like(NamedTuple):
    """Calls whose costs are comparable: one is an estimate for the other."""

    service: str
    model: str
    operation: str


@dataclass(slots=True)
class Tally:
    """Sums over calls; amounts are exact."""

    spans: int = 0
    redelivered: int = 0
    """Copies of spans that came more than once."""
    copies: int = 0
    """Further spans of calls that several spans describe."""
    failed: int = 0
    cache_hits: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    all: Sum = NONE
    conflict: Sum = NONE
    unmetered: int = 0
    unpriced: int = 0
    production: Sum = NONE
    """Billed calls that are not internal."""
    statuses: dict[Status, Sum] = field(default_factory=dict)
    joins: dict[Join, Sum] = field(default_factory=dict)
    """Recovered calls."""
    fields: dict[str, Sum] = field(default_factory=dict)
    """Production calls that have one of the nine fields."""
    tenants: dict[str, TenantSum] = field(default_factory=dict)
    keys: Counter[str] = field(default_factory=Counter)
    """Calls that carry a tenant, by the attribute that it stands in."""
    unmetered_like: Counter[Like] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Take another tally in."""
        for entry in fields(self):
            mine, its = getattr(self, entry.name), getattr(other, entry.name)
            if isinstance(mine, Counter):
                mine.update(its)
            elif isinstance(mine, dict):
                for key, value in its.items():
                    mine[key] = mine[key].plus(value) if key in mine else value
            else:
                setattr(self, entry.name, mine.plus(its) if isinstance(mine, Sum) else mine + its)


def tally(calls: AuditedCalls, *, spans: int, redelivered: int, keys: Counter[str]) -> Tally:
    """Add up the calls of a partition."""
    production = ~calls.having(Status.INTERNAL) & calls.is_billed
    recovered = calls.having(Status.RECOVERABLE)
    everything = np.ones(len(calls), dtype=bool)

    def sum_of(chosen: Bools) -> Sum:
        return Sum(int(chosen.sum()), calls.cost_of(chosen))

    return Tally(
        spans=spans,
        redelivered=redelivered,
        copies=sum(len(rows) for rows in calls.duplicates.values()),
        failed=int(_by_facts(calls, [facts.failed for facts in calls.facts]).sum()),
        cache_hits=int(_by_facts(calls, [facts.cache_hit for facts in calls.facts]).sum()),
        input_tokens=int((calls.uncached + calls.cache_read + calls.cache_write).sum()),
        output_tokens=int(calls.output.sum()),
        all=sum_of(everything),
        conflict=sum_of(calls.conflict),
        unmetered=int(calls.is_unmetered.sum()),
        unpriced=int(calls.is_unpriced.sum()),
        production=sum_of(production),
        statuses={status: sum_of(calls.having(status)) for status in Status},
        joins={join: sum_of(chosen) for join in Join if (chosen := recovered & (calls.join == join)).any()},
        fields={name: sum_of(has & production) for name, has in _fields(calls).items()},
        tenants=_tenants(calls),
        keys=keys,
        unmetered_like=like_calls(calls, np.flatnonzero(calls.is_unmetered)),
    )


def _fields(calls: AuditedCalls) -> Mapping[str, Bools]:
    """Which calls have each of the nine fields."""
    reported = np.isin(calls.usage, [USAGES.index(status) for status in _WITH_USAGE])
    return {
        "tenant_id": calls.carried >= 0,
        "user_id": calls.has_user,
        "workflow_id": calls.has_workflow,
        "environment": _by_facts(calls, [bool(facts.environment) for facts in calls.facts]),
        "feature": _by_facts(calls, [bool(facts.feature) for facts in calls.facts]),
        "input_tokens": reported,
        "output_tokens": reported,
        "cache_read_tokens": reported & (calls.cache_read > 0),
        "cache_write_tokens": reported & (calls.cache_write > 0),
    }


def _tenants(calls: AuditedCalls) -> dict[str, TenantSum]:
    """Tenants of production calls. Two keys may hold the same value: one tenant."""
    chosen = np.flatnonzero(calls.having(Status.DIRECT, Status.RECOVERABLE) & (calls.tenant >= 0))
    number, cost = calls.tenant[chosen].astype(np.int64), calls.cost[chosen]
    direct = calls.having(Status.DIRECT)[chosen]
    width = len(calls.values)
    counts = np.bincount(number, minlength=width)
    carried = sums(number, width, np.where(direct, cost, 0))
    recovered = sums(number, width, np.where(direct, 0, cost))
    found: dict[str, TenantSum] = {}
    for code in np.flatnonzero(counts).tolist():
        name = calls.values[code]
        found[name] = found.get(name, TenantSum()).plus(TenantSum(int(counts[code]), carried[code], recovered[code]))
    return found


def like_calls(calls: AuditedCalls, chosen: I64) -> Counter[Like]:
    """Count calls by what they are comparable with."""
    return likes_of(calls.services, calls.service_of[chosen], calls.facts, calls.facts_of[chosen])


def likes_of(services: Sequence[str], service_of: I64, facts: Sequence[CallFacts], facts_of: I64) -> Counter[Like]:
    """Count calls by what they are comparable with: by their services and facts."""
    counts: Counter[Like] = Counter()
    keys, numbers = np.unique(service_of * np.int64(len(facts)) + facts_of, return_counts=True)
    for code, number in zip(keys.tolist(), numbers.tolist(), strict=True):
        service, row = divmod(code, len(facts))
        counts[_like(services[service], facts[row])] += number
    return counts


def _like(service: str, facts: CallFacts) -> Like:
    return Like(service, facts.response_model or facts.request_model, str(facts.operation))


Costs = dict[Like, tuple[I64, I64]]
"""By what calls are comparable with: the different costs of metered ones in pico-dollars, and how often each is."""


def costs_like(calls: AuditedCalls, wanted: frozenset[Like]) -> Costs:
    """What calls like the wanted ones cost."""
    if not wanted:
        return {}
    billed = np.flatnonzero(calls.has_cost & calls.is_billed & calls.is_metered)
    codes = calls.service_of[billed] * np.int64(len(calls.facts)) + calls.facts_of[billed]
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    costs: dict[Like, list[I64]] = {}
    for code, members in zip(found.tolist(), np.split(order, starts[1:]), strict=False):
        service, row = divmod(code, len(calls.facts))
        like = _like(calls.services[service], calls.facts[row])
        if like in wanted:
            costs.setdefault(like, []).append(calls.cost[billed[members]])
    return {like: np.unique(np.concatenate(parts), return_counts=True) for like, parts in costs.items()}


def sums(groups: I64, number: int, values: I64) -> list[int]:
    """Sum by group without overflow, whatever the sums: high and low halves apart."""
    high, low = np.zeros(number, dtype=np.int64), np.zeros(number, dtype=np.int64)
    np.add.at(high, groups, values >> _LOW_BITS)
    np.add.at(low, groups, values & _LOW)
    return [(above << 31) + below for above, below in zip(high.tolist(), low.tolist(), strict=True)]


def _by_facts(calls: AuditedCalls, flags: list[bool]) -> Bools:
    return np.array(flags, dtype=bool)[calls.facts_of] if flags else np.zeros(len(calls), dtype=bool)
