"""Rate cards: what one model costs on one day, in integers, and the cost of calls by them.

A card is compiled once for each distinct (provider, model, day, context) and then applied to columns of
token counts. Everything is an integer number of pico-dollars; nothing is rounded after a card is built.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Int64Array = npt.NDArray[np.int64]
    BoolArray = npt.NDArray[np.bool_]

MAX_COUNT: Final = 10**9
"""Largest count of tokens or searches that one call can have; more is corrupt input and is rejected."""

MAX_RATE: Final = 10**18
"""Largest rate in pico-dollars per unit (a million dollars per token), so that rates fit a 64-bit integer."""

MAX_CALL_COST: Final = 9 * 10**18
"""Largest cost of one call in pico-dollars (nine million dollars): 2**63 less room for a check in floats."""


class PriceSource(StrEnum):
    """Layer that a card's rates come from, in order of precedence."""

    FILE = "file"
    SUPPLEMENT = "supplement"
    GENAI_PRICES = "genai-prices"


class PriceStatus(StrEnum):
    """What is known about the price of one call."""

    PRICED = "priced"
    PRICED_OVERRIDE = "priced_override"
    PARTIAL_PRICE = "partial_price"
    UNPRICED = "unpriced"
    NO_USAGE = "no_usage"
    FREE = "free"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-dollars per token, request or search. ``None`` means no published rate, 0 means free of charge."""

    input: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    image_in: int | None = None
    image_out: int | None = None
    per_request: int | None = None
    per_search: int | None = None


RATE_NAMES: Final = tuple(field.name for field in fields(Rates))
"""Names of all rates, in the order of the fields of ``Rates``."""

TOKEN_RATES: Final = RATE_NAMES[:9]
"""Names of the rates that are per token."""

FALLBACKS: Final[dict[str, tuple[str, ...]]] = {
    "cache_read": ("input",),
    "cache_write_5m": ("input",),
    "cache_write_1h": ("cache_write_5m", "input"),
    "audio_in": ("input",),
    "image_in": ("input",),
    "audio_out": ("output",),
    "image_out": ("output",),
}
"""Rate that a provider charges where a more specific one is not published, nearest first."""


@dataclass(frozen=True, slots=True)
class RateCard:
    """Rates of one model for one day, context and, for a few models, half-hour.

    A tier holds for the whole call, output included, when its input tokens (cache, audio and images
    included) are strictly more than the tier's threshold; thresholds ascend. Raises ``ValueError`` when a
    rate or a threshold is out of range.
    """

    provider: str | None
    model: str
    """Canonical id: two spellings of one model have the same."""
    source: PriceSource
    base: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    unmodelled_context: tuple[str, ...] = ()
    """Items of the context, ``key=value``, without a rate of their own; the standard rate stands in."""
    adjustments: tuple[str, ...] = ()
    """Multipliers that went into the rates, as said in the price file or the supplement."""
    is_override: bool = False
    """Whether the user's price file supplied or adjusted the rates."""
    rounded_rates: int = 0
    """How many published rates were finer than a pico-dollar and were rounded half to even."""
    list_card: RateCard | None = None
    """The card before commercial adjustments (discount, contract, markup); ``None`` where there are none."""

    def __post_init__(self) -> None:
        below = -1
        for threshold, _ in self.tiers:
            if threshold <= below:
                raise ValueError(f"tier thresholds do not ascend: {threshold} after {below}")
            below = threshold
        for rates in self.levels:
            for name in RATE_NAMES:
                rate: int | None = getattr(rates, name)
                if rate is not None and not 0 <= rate <= MAX_RATE:
                    raise ValueError(f"rate {name} of {self.model} is out of range: {rate}")

    @property
    def levels(self) -> tuple[Rates, ...]:
        """The base rates, then those of each tier."""
        return (self.base, *(rates for _, rates in self.tiers))

    @property
    def discount_not_modelled(self) -> bool:
        """Whether the call's context asks for a rate that is not known; the standard rate stands in."""
        return bool(self.unmodelled_context)

    @property
    def free(self) -> bool:
        """Whether there are rates and all of them are 0."""
        present = [rate for rates in self.levels for name in RATE_NAMES if (rate := getattr(rates, name)) is not None]
        return bool(present) and not any(present)

    @property
    def status(self) -> PriceStatus:
        """Status of a call that this card prices in full."""
        if self.free:
            return PriceStatus.FREE
        return PriceStatus.PRICED_OVERRIDE if self.is_override else PriceStatus.PRICED


@dataclass(frozen=True, slots=True)
class CallUsage:
    """Counts of one call; the token classes are disjoint: input tokens are the sum of ``INPUT_CLASSES``."""

    input_uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    audio_in: int = 0
    audio_out: int = 0
    image_in: int = 0
    image_out: int = 0
    searches: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class UsageColumns:
    """``CallUsage`` of many calls, an array of ``int64`` for each class; ``None`` is a column of zeros."""

    input_uncached: Int64Array
    cache_read: Int64Array | None = None
    cache_write_5m: Int64Array | None = None
    cache_write_1h: Int64Array | None = None
    output: Int64Array | None = None
    audio_in: Int64Array | None = None
    audio_out: Int64Array | None = None
    image_in: Int64Array | None = None
    image_out: Int64Array | None = None
    searches: Int64Array | None = None


INPUT_CLASSES: Final = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "audio_in",
    "image_in",
)
"""Usage classes that count towards the threshold of a tier."""

RATE_OF_CLASS: Final[dict[str, str]] = {
    "input_uncached": "input",
    "cache_read": "cache_read",
    "cache_write_5m": "cache_write_5m",
    "cache_write_1h": "cache_write_1h",
    "output": "output",
    "audio_in": "audio_in",
    "audio_out": "audio_out",
    "image_in": "image_in",
    "image_out": "image_out",
    "searches": "per_search",
}
"""Rate that each usage class is charged at."""


class Priced(NamedTuple):
    """Cost of many calls in pico-dollars, and what is wrong with it."""

    cost: Int64Array
    partial: BoolArray
    """Calls with usage that has no rate, nor a fallback; that usage is in no cost."""
    rejected: BoolArray
    """Calls with a count below 0 or above ``MAX_COUNT``, or above ``MAX_CALL_COST``; their cost is 0."""


class CallPrice(NamedTuple):
    """``Priced`` of one call."""

    cost: int
    partial: bool
    rejected: bool


def charged_rate(rates: Rates, name: str) -> int | None:
    """Return the rate that is charged under ``name``: its own, else the nearest fallback's, else ``None``."""
    for candidate in (name, *FALLBACKS.get(name, ())):
        rate: int | None = getattr(rates, candidate)
        if rate is not None:
            return rate
    return None


def price_call(card: RateCard, usage: CallUsage) -> CallPrice:
    """Price one call in plain integers, without limits of width."""
    counts = {name: int(getattr(usage, name)) for name in RATE_OF_CLASS}
    if any(not 0 <= count <= MAX_COUNT for count in counts.values()):
        return CallPrice(0, partial=False, rejected=True)
    input_total = sum(counts[name] for name in INPUT_CLASSES)
    rates = card.base
    for threshold, tier_rates in card.tiers:
        if input_total > threshold:
            rates = tier_rates
    cost = rates.per_request or 0
    partial = False
    for name, count in counts.items():
        rate = charged_rate(rates, RATE_OF_CLASS[name])
        if rate is None:
            partial = partial or count > 0
        else:
            cost += rate * count
    if cost > MAX_CALL_COST:
        return CallPrice(0, partial=False, rejected=True)
    return CallPrice(cost, partial=partial, rejected=False)


def price_calls(card: RateCard, usage: UsageColumns) -> Priced:
    """Price many calls by one card."""
    import numpy as np  # noqa: PLC0415  # heavy: the start of the program must not pay for it

    return price_table([card], np.zeros(len(usage.input_uncached), dtype=np.int64), usage)


def price_table(cards: Sequence[RateCard], which: Int64Array, usage: UsageColumns) -> Priced:
    """Price many calls at once, call ``i`` by ``cards[which[i]]``.

    Raises ``IndexError`` when ``which`` points outside ``cards``, so leave unpriced calls out beforehand.
    """
    import numpy as np  # noqa: PLC0415  # heavy: the start of the program must not pay for it

    size = len(which)
    if size and not (int(which.min()) >= 0 and int(which.max()) < len(cards)):
        raise IndexError("a call points at no card")
    columns = {name: column for name in RATE_OF_CLASS if (column := getattr(usage, name)) is not None}
    rejected = np.zeros(size, dtype=np.bool_)
    for column in columns.values():
        rejected |= (column < 0) | (column > MAX_COUNT)

    level = _levels(cards, which, columns, rejected)
    rate_rows = [rates for card in cards for rates in card.levels]
    cost = np.array([rates.per_request or 0 for rates in rate_rows], dtype=np.int64)[level]
    magnitude = cost.astype(np.float64)
    partial = np.zeros(size, dtype=np.bool_)
    for name, column in columns.items():
        charged = [charged_rate(rates, RATE_OF_CLASS[name]) for rates in rate_rows]
        rate = np.array([found or 0 for found in charged], dtype=np.int64)[level]
        counts = np.where(rejected, 0, column)
        cost += counts * rate
        magnitude += counts.astype(np.float64) * rate
        partial |= (counts > 0) & np.array([found is None for found in charged], dtype=np.bool_)[level]

    rejected |= magnitude > MAX_CALL_COST
    cost[rejected] = 0
    partial[rejected] = False
    return Priced(cost, partial, rejected)


def _levels(
    cards: Sequence[RateCard], which: Int64Array, columns: dict[str, Int64Array], rejected: BoolArray
) -> Int64Array:
    """Return for each call the position of its rates in the concatenated levels of all cards."""
    import numpy as np  # noqa: PLC0415  # heavy: the start of the program must not pay for it

    first = np.cumsum([0, *(len(card.levels) for card in cards)], dtype=np.int64)[:-1]
    depth = max((len(card.tiers) for card in cards), default=0)
    level: Int64Array = first[which]
    if not depth:
        return level
    input_total = np.zeros(len(which), dtype=np.int64)
    for name in INPUT_CLASSES:
        if name in columns:
            input_total += np.where(rejected, 0, columns[name])
    thresholds = np.full((len(cards), depth), np.iinfo(np.int64).max, dtype=np.int64)
    for position, card in enumerate(cards):
        thresholds[position, : len(card.tiers)] = [threshold for threshold, _ in card.tiers]
    for step in range(depth):
        level += input_total > thresholds[which, step]
    return level
