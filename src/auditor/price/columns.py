"""Prices the calls of a run: from what their spans say to one cost a call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np

from auditor.price.book import PriceBook, PriceKey, Unpriced
from auditor.price.cards import PriceStatus, RateCard, UsageColumns, price_table
from auditor.price.contexts import PriceContext

if TYPE_CHECKING:
    from auditor.model.spans import I64, U8, Bools, CallFacts

DAY_NS = 86_400 * 10**9
HALF_HOUR_NS = 1_800 * 10**9
STATUSES = tuple(PriceStatus)
_PRICED, _OVERRIDE, _PARTIAL, _UNPRICED, _NO_USAGE, _FREE, _REPORTED = (
    STATUSES.index(status)
    for status in (
        PriceStatus.PRICED,
        PriceStatus.PRICED_OVERRIDE,
        PriceStatus.PARTIAL_PRICE,
        PriceStatus.UNPRICED,
        PriceStatus.NO_USAGE,
        PriceStatus.FREE,
        PriceStatus.REPORTED,
    )
)


@dataclass(slots=True)
class CallPrices:
    """One entry a call."""

    cost: I64
    """Pico-dollars; 0 where there is no price or no usage."""
    status: U8
    """Row of ``STATUSES``."""
    has_cost: Bools
    """The cost is known, be it 0."""
    unpriced_reasons: dict[str, int]
    """Calls without a price, by "provider model (reason)"."""
    rejected: int
    """Calls whose counts or cost no price can hold."""
    discounts_not_modelled: int


def price_columns(
    book: PriceBook,
    facts: Sequence[CallFacts],
    facts_of: I64,
    start_ns: I64,
    usage: UsageColumns,
    metered: Bools,
    reported: I64,
    *,
    cost_source: str,
) -> CallPrices:
    """Price all metered calls; ``reported`` is the source's own cost in pico-dollars, -1 for none.

    ``cost_source``: ``computed``, ``computed-or-reported`` (the source's cost where we have no price) or
    ``reported`` (the source's cost, and ours nowhere).
    """
    count = len(facts_of)
    cost = np.zeros(count, dtype=np.int64)
    status = np.full(count, _NO_USAGE, dtype=np.uint8)
    reasons: dict[str, int] = defaultdict(int)
    rejected = unmodelled = 0
    wanted = np.flatnonzero(metered) if cost_source != "reported" else np.empty(0, dtype=np.int64)
    if len(wanted):
        cards: list[RateCard] = []
        which = np.full(len(wanted), -1, dtype=np.int64)
        for key, members in _groups(book, facts, facts_of[wanted], start_ns[wanted]):
            card = book.card(key)
            if isinstance(card, Unpriced):
                reasons[f"{key.provider or '?'} {key.model or '?'} ({card.reason})"] += len(members)
                continue
            which[members] = len(cards)
            cards.append(card)
            unmodelled += len(members) if card.discount_not_modelled else 0
        status[wanted] = _UNPRICED
        priced = np.flatnonzero(which >= 0)
        if len(priced):
            result = price_table(cards, which[priced], _taken(usage, wanted[priced]))
            by_card = np.array([STATUSES.index(card.status) for card in cards], dtype=np.uint8)
            at = wanted[priced]
            cost[at] = result.cost
            status[at] = by_card[which[priced]]
            status[at[result.partial]] = _PARTIAL
            status[at[result.rejected]] = _UNPRICED
            rejected = int(result.rejected.sum())
    if cost_source != "computed":
        use = (reported >= 0) & (np.isin(status, (_UNPRICED, _NO_USAGE)))
        cost[use] = reported[use]
        status[use] = _REPORTED
        if cost_source == "reported":
            status[metered & ~use] = _UNPRICED
    has_cost = np.isin(status, (_PRICED, _OVERRIDE, _PARTIAL, _FREE, _REPORTED))
    return CallPrices(cost, status, has_cost, dict(reasons), rejected, unmodelled)


def _groups(book: PriceBook, facts: Sequence[CallFacts], facts_of: I64, start_ns: I64) -> list[tuple[PriceKey, I64]]:
    """Calls that share a price: same names, same context, same day (or half-hour, where that matters)."""
    names = {number: _names(facts[number]) for number in np.unique(facts_of).tolist()}
    subjects = sorted(set(names.values()))
    number_of = {subject: number for number, subject in enumerate(subjects)}
    subject_of_facts = np.zeros(len(facts), dtype=np.int64)
    for number, subject in names.items():
        subject_of_facts[number] = number_of[subject]
    timed = np.array([book.needs_half_hour(provider or None, model) for provider, model, _ in subjects], dtype=bool)
    subject_of = subject_of_facts[facts_of]
    day = start_ns // DAY_NS
    half_hour = np.where(timed[subject_of], start_ns % DAY_NS // HALF_HOUR_NS, -1)
    moment = day * 64 + half_hour + 1
    by = np.lexsort((moment, subject_of))
    differs = np.ones(len(by), dtype=bool)
    differs[1:] = (subject_of[by][1:] != subject_of[by][:-1]) | (moment[by][1:] != moment[by][:-1])
    starts = np.flatnonzero(differs)
    groups = []
    for first, members in zip(by[starts].tolist(), np.split(by, starts[1:]), strict=True):
        provider, model, context = subjects[subject_of[first]]
        half = int(half_hour[first])
        groups.append(
            (
                PriceKey(
                    provider or None,
                    model,
                    _day(int(start_ns[first])),
                    half if half >= 0 else None,
                    context,
                ),
                members,
            )
        )
    return groups


def _names(facts: CallFacts) -> tuple[str, str, PriceContext]:
    context: list[tuple[str, str]] = []
    if facts.service_tier:
        context.append(("service_tier", facts.service_tier))
    elif facts.batch:
        context.append(("service_tier", "batch"))
    return facts.provider, facts.response_model or facts.request_model, tuple(context)


def _day(start_ns: int) -> date:
    if start_ns <= 0:
        # Without a time the latest prices are the best guess; the book takes the last entry for a late day.
        return date.max
    return datetime.fromtimestamp(start_ns // 10**9, UTC).date()


def _taken(usage: UsageColumns, rows: I64) -> UsageColumns:
    return UsageColumns(
        **{name: column[rows] for name in UsageColumns.__slots__ if (column := getattr(usage, name)) is not None}
    )
