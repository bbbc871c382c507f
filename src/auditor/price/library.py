"""The price data of the ``genai-prices`` package: model look-up and rates, read from its bundled snapshot.

This is the only module that imports the package, and only when the first card is built: it takes long. It reads
the bundled data itself instead of the package's current snapshot, because another library in the same process may
have switched that to one fetched from the network.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Final

from auditor.price.amounts import RateAmounts, RawCard, pico_per_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, TieredPrices
    from genai_prices.types import Provider as LibraryProvider

    from auditor.price.contexts import PriceContext

PACKAGE = "genai_prices"
PRICE_KEYS: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "input": (("input_mtok", 1_000_000),),
    "cache_read": (("cache_read_mtok", 1_000_000),),
    "cache_write_5m": (("cache_write_5m_mtok", 1_000_000), ("cache_write_mtok", 1_000_000)),
    "cache_write_1h": (("cache_write_1h_mtok", 1_000_000),),
    "output": (("output_mtok", 1_000_000),),
    "audio_in": (("input_audio_mtok", 1_000_000),),
    "audio_out": (("output_audio_mtok", 1_000_000),),
    "image_in": (("input_image_mtok", 1_000_000),),
    "image_out": (("output_image_mtok", 1_000_000),),
    "per_request": (("requests_kcount", 1_000),),
    "per_search": (("rerank_searches_kcount", 1_000), ("web_searches_kcount", 1_000)),
}
"""Our rate -> the package's price keys, first present wins, with the number of units each price is for."""


@dataclass(frozen=True, slots=True, eq=False)
class LibraryModel:
    """One model of the price data as one provider sells it."""

    provider: str
    model: str
    info: ModelInfo
    is_own: bool
    """Whether the provider lists the model itself; rates borrowed from another one ignore the context."""

    def needs_time(self) -> bool:
        """Say whether the price depends on the time of day."""
        prices = self.info.prices
        return isinstance(prices, list) and any(
            isinstance(conditional.constraint, bundled().TimeOfDateConstraint) for conditional in prices
        )

    def rates(self, day: date, half_hour: int, context: PriceContext) -> tuple[RawCard, frozenset[tuple[str, str]]]:
        """Return the rates at a UTC day and half-hour, and the context items that they take into account."""
        moment = datetime.combine(day, time(half_hour // 2, half_hour % 2 * 30), UTC)
        wanted = dict(context) if self.is_own else {}
        modelled = frozenset(
            item
            for variant in self.info.price_variants or ()
            if self.is_own and _is_in_force(variant, moment, wanted)
            for item in variant.when.items()
        )
        return _raw_card(self.info.get_prices(moment, wanted)), modelled


class Library:
    """Look-up in the package's bundled data."""

    def __init__(self) -> None:
        self._providers: list[LibraryProvider] = bundled().providers
        self._by_id = {provider.id: provider for provider in self._providers}

    def has_provider(self, provider: str) -> bool:
        """Say whether the data knows this provider id."""
        return provider in self._by_id

    def providers_of(self, model: str) -> tuple[str, ...]:
        """Return the providers whose own pattern claims a bare model name."""
        reference = model.lower()
        return tuple(
            provider.id
            for provider in self._providers
            if provider.model_match is not None and provider.model_match.is_match(reference)
        )

    def find(self, provider: str, spellings: Sequence[str]) -> LibraryModel | None:
        """Return the model under the first spelling that the data knows, or ``None``."""
        seller = self._by_id.get(provider)
        if seller is None:
            return None
        for spelling in spellings:
            info = seller.find_model(spelling, all_providers=self._providers)
            if info is not None:
                is_own = any(info is own for own in seller.models)
                return LibraryModel(provider, info.id, info, is_own)
        return None


@cache
def bundled() -> ModuleType:
    """The module of the package that holds the data, and the types that these are made of.

    The package itself is left out, unless something else has imported it: it brings a client that fetches newer
    prices, which takes longer to import than the data.
    """
    spec = None if PACKAGE in sys.modules else find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        return import_module(f"{PACKAGE}.data")
    stand_in = sys.modules[PACKAGE] = ModuleType(PACKAGE)
    stand_in.__path__ = spec.submodule_search_locations
    try:
        return import_module(f"{PACKAGE}.data")
    finally:
        # Whoever imports the package after this gets the real one, with the modules that are there already.
        del sys.modules[PACKAGE]


@cache
def library() -> Library:
    """Load the price data, once."""
    return Library()


def _is_in_force(variant: PriceVariant, moment: datetime, context: dict[str, str]) -> bool:
    if not any(price is not None for price in variant.prices.__dict__.values()):
        return False
    if variant.constraint is not None and not variant.constraint.active(moment):
        return False
    return all(context.get(key) == value for key, value in variant.when.items())


def _raw_card(prices: ModelPrice) -> RawCard:
    chosen: dict[str, tuple[Decimal | TieredPrices, int]] = {}
    for rate, keys in PRICE_KEYS.items():
        for key, per in keys:
            price = prices.__dict__.get(key)
            if price is not None:
                chosen[rate] = (price, per)
                break
    thresholds = sorted(
        {tier.start for price, _ in chosen.values() for tier in getattr(price, "tiers", ())},
    )

    def level(threshold: int | None) -> RateAmounts:
        return {rate: pico_per_unit(_price_above(price, threshold), per) for rate, (price, per) in chosen.items()}

    return RawCard(level(None), tuple((threshold, level(threshold)) for threshold in thresholds))


def _price_above(price: Decimal | TieredPrices, threshold: int | None) -> Decimal:
    """Return the price for just more input tokens than ``threshold``, or below all tiers for ``None``."""
    if isinstance(price, Decimal):
        return price
    found = price.base
    for tier in price.tiers:
        if threshold is not None and tier.start <= threshold:
            found = tier.price
    return found
