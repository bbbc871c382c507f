"""Published rates on their way to integers: exact decimals of pico-dollars per unit, tiers, multipliers."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from auditor.model.money import PICO
from auditor.price.cards import RATE_NAMES, TOKEN_RATES, Rates

EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)
"""Wide enough for every product of a published rate and a handful of multipliers to come out exact."""

RateAmounts = dict[str, Decimal]


def pico_per_unit(usd: Decimal, per: int) -> Decimal:
    """Return pico-dollars for one unit, given US dollars for ``per`` units (a power of ten)."""
    return EXACT.divide(EXACT.multiply(usd, Decimal(PICO)), Decimal(per))


@dataclass(frozen=True, slots=True)
class RawCard:
    """Rates as published: exact pico-dollars per unit by rate name, with the complete rates of each tier."""

    base: RateAmounts
    tiers: tuple[tuple[int, RateAmounts], ...] = field(default=())

    def scaled(self, multiplier: Decimal, *, tokens_only: bool) -> RawCard:
        """Return the card with its rates, or only those per token, times ``multiplier``."""
        names = TOKEN_RATES if tokens_only else RATE_NAMES

        def scale(rates: RateAmounts) -> RateAmounts:
            return {name: EXACT.multiply(rate, multiplier) if name in names else rate for name, rate in rates.items()}

        return RawCard(scale(self.base), tuple((above, scale(rates)) for above, rates in self.tiers))

    def compiled(self) -> tuple[Rates, tuple[tuple[int, Rates], ...], int]:
        """Return integer rates, tiers, and how many rates had to be rounded to a whole pico-dollar."""
        rounded = 0
        levels: list[Rates] = []
        for rates in (self.base, *(tier for _, tier in self.tiers)):
            whole: dict[str, int] = {}
            for name, rate in rates.items():
                whole[name] = int(rate.to_integral_value(ROUND_HALF_EVEN))
                rounded += whole[name] != rate
            levels.append(Rates(**whole))
        return levels[0], tuple(zip((above for above, _ in self.tiers), levels[1:], strict=True)), rounded
