"""Write the prices that a run used as a price file, so that the run can be repeated with ``--pricing``.

The file holds one rate for each model, context and stretch of days that was asked about, adjustments
included. What had no price is left out, and stays unpriced unless later price data knows it.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from auditor.model.money import to_decimal_string
from auditor.price.cards import RateCard, Rates
from auditor.price.contexts import normalise_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from auditor.price.book import PriceBook

Group = tuple[str, str, int, tuple[tuple[str, str], ...]]

ALL_DAY: Final = -1
"""Sorts prices that hold all day before those of one half-hour."""


def export_prices(book: PriceBook) -> dict[str, object]:
    """Return all cards that the book has handed out as a JSON-ready price file, sorted by key.

    A model whose name holds ``*`` or ``?`` is left out: in a price file it would be a pattern.
    """
    groups: dict[Group, dict[date, RateCard]] = {}
    for key, card in book.answers.items():
        if isinstance(card, RateCard) and not set(key.model) & set("*?"):
            half_hour = ALL_DAY if key.half_hour is None else key.half_hour
            group = (
                card.provider or "",
                key.model.strip().lower(),
                half_hour,
                normalise_context(key.context),
            )
            groups.setdefault(group, {})[key.day] = card
    rates = [
        _entry(group, first, last, card)
        for group, cards in sorted(groups.items(), key=lambda pair: pair[0])
        for first, last, card in _stretches(cards)
    ]
    return {"version": 1, "currency": "USD", "rates": rates}


def _stretches(cards: Mapping[date, RateCard]) -> Iterator[tuple[date, date, RateCard]]:
    """Yield runs of consecutive days with one and the same card, both ends included."""
    days = sorted(cards)
    start = 0
    for position in range(1, len(days) + 1):
        is_last = position == len(days)
        if (
            is_last
            or days[position] - days[position - 1] != timedelta(days=1)
            or cards[days[position]] != cards[days[start]]
        ):
            yield days[start], days[position - 1], cards[days[start]]
            start = position


def _entry(group: Group, first: date, last: date, card: RateCard) -> dict[str, object]:
    provider, model, half_hour, context = group
    entry: dict[str, object] = {"provider": provider} if provider else {}
    entry |= {"model": model, "from": first.isoformat(), "to": (last + timedelta(days=1)).isoformat()}
    if half_hour != ALL_DAY:
        entry["half_hour"] = half_hour
    if context:
        entry["when"] = dict(context)
    entry |= {"unit": "1", **_amounts(card.base)}
    if card.tiers:
        entry["tiers"] = [{"above_input_tokens": above, **_amounts(rates)} for above, rates in card.tiers]
    if card.discount_not_modelled:
        entry["discount_not_modelled"] = True
    entry["source"] = card.source.value
    return entry


def _amounts(rates: Rates) -> dict[str, str]:
    return {name: to_decimal_string(rate) for name, rate in asdict(rates).items() if rate is not None}
