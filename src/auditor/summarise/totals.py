"""Totals over all calls, what the joins gave back, and which fields the calls have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from auditor.model.joins import Join, Status
from auditor.model.report import Amount, JoinLine, Range, Readiness, Totals
from auditor.model.spans import I64
from auditor.summarise.tally import Costs, Like, Sum, Tally

LOW_PERCENT, HIGH_PERCENT = 10, 90


def build_totals(tally: Tally, estimates: Mapping[Like, Range], *, services: int) -> Totals:
    """Make the totals of the report."""
    internal = tally.statuses[Status.INTERNAL]
    audited = tally.all.cost - internal.cost

    def amount(part: Sum) -> Amount:
        return Amount(part.calls, part.cost, share_of(part.cost, audited))

    recoverable, lost = tally.statuses[Status.RECOVERABLE], tally.statuses[Status.LOST]
    return Totals(
        spans=tally.spans,
        calls=tally.all.calls,
        services=services,
        spend=tally.all.cost,
        audited_spend=audited,
        direct=amount(tally.statuses[Status.DIRECT]),
        recoverable=amount(recoverable),
        lost=amount(lost),
        internal=Amount(internal.calls, internal.cost, None),
        unattributed=amount(recoverable.plus(lost)),
        conflict=amount(tally.conflict),
        unmetered=Amount(tally.unmetered, 0, share_of(tally.unmetered, tally.all.calls)),
        unmetered_estimate=estimate(tally.unmetered_like, estimates),
        unpriced=Amount(tally.unpriced, 0, share_of(tally.unpriced, tally.all.calls)),
        duplicates=Amount(tally.copies + tally.redelivered, 0, None),
        failed=tally.failed,
        cache_hits=tally.cache_hits,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
    )


def share_of(part: int, whole: int) -> float | None:
    """A fraction, or ``None`` of nothing."""
    return part / whole if whole else None


def estimates_of(parts: Sequence[Costs]) -> dict[Like, Range]:
    """What one unmetered call may have cost: the 10th to 90th percentile of the metered ones like it."""
    together: dict[Like, list[tuple[I64, I64]]] = {}
    for part in parts:
        for like, costs in part.items():
            together.setdefault(like, []).append(costs)
    found = {}
    for like, entries in together.items():
        values = np.concatenate([values for values, _ in entries])
        counts = np.concatenate([counts for _, counts in entries])
        order = np.argsort(values, kind="stable")
        found[like] = _range(values[order], np.cumsum(counts[order]))
    return found


def _range(values: I64, up_to: I64) -> Range:
    # The lower and upper of the two neighbours: an amount that really occurred, and no float.
    last = int(up_to[-1]) - 1
    low = last * LOW_PERCENT // 100
    high = -(-last * HIGH_PERCENT // 100)
    return Range(*(int(values[np.searchsorted(up_to, at, side="right")]) for at in (low, high)))


def estimate(unmetered: Counter[Like], estimates: Mapping[Like, Range]) -> Range | None:
    """What unmetered calls may have cost.

    Like calls are the metered ones of the same service, model and operation; calls without any like them add
    nothing, and where no call has one there is no estimate.
    """
    known = [(estimates[like], calls) for like, calls in unmetered.items() if like in estimates]
    if not known:
        return None
    return Range(sum(each.low * calls for each, calls in known), sum(each.high * calls for each, calls in known))


def build_joins(tally: Tally) -> tuple[JoinLine, ...]:
    """What each join gave back, in the order in which joins are tried."""
    return tuple(JoinLine(join.label, *tally.joins[join]) for join in Join if join in tally.joins)


def build_readiness(tally: Tally) -> tuple[Readiness, ...]:
    """Share of production calls, and of their cost, that have each of the nine fields."""
    calls, cost = tally.production
    return tuple(
        Readiness(name, share_of(has.calls, calls) or 0.0, share_of(has.cost, cost))
        for name, has in tally.fields.items()
    )
