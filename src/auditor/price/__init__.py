"""Price: integer rate cards for calls, and the cost of calls by them.

Importing this package loads neither the price data nor numpy.
"""

from __future__ import annotations

from auditor.price.book import PriceBook, PriceKey, Unpriced, UnpricedReason
from auditor.price.cards import (
    CallPrice,
    CallUsage,
    Priced,
    PriceSource,
    PriceStatus,
    RateCard,
    Rates,
    UsageColumns,
    price_call,
    price_calls,
    price_table,
)
from auditor.price.export import export_prices

__all__ = [
    "CallPrice",
    "CallUsage",
    "PriceBook",
    "PriceKey",
    "PriceSource",
    "PriceStatus",
    "Priced",
    "RateCard",
    "Rates",
    "Unpriced",
    "UnpricedReason",
    "UsageColumns",
    "export_prices",
    "price_call",
    "price_calls",
    "price_table",
]
