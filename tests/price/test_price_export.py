"""Compiled prices, exported and used again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

from auditor.price import PriceBook, PriceKey, RateCard, export_prices

KEYS = [
    PriceKey("openai", "gpt-4o", date(2026, 11, 18)),
    PriceKey("OpenAI", "GPT-4o", date(2026, 11, 19)),
    PriceKey("openai", "gpt-4o", date(2026, 11, 21)),
    PriceKey("openai", "o3", date(2025, 6, 9)),
    PriceKey("openai", "o3", date(2025, 6, 10)),
    PriceKey("openai", "gpt-4o", date(2026, 11, 18), None, (("service_tier", "batch"),)),
    PriceKey("openai", "gpt-4o", date(2026, 11, 18), None, (("service_tier", "flex"),)),
    PriceKey("gcp.gemini", "gemini-2.5-pro", date(2026, 11, 18)),
    PriceKey("deepseek", "deepseek-chat", date(2026, 11, 18), 0),
    PriceKey("deepseek", "deepseek-chat", date(2026, 11, 18), 1),
    PriceKey("cohere", "rerank-v3.5", date(2026, 11, 18)),
    PriceKey("aws.bedrock", "amazon.nova-lite-v1:0", date(2026, 1, 1), None, (("processing", "batch"),)),
    PriceKey(None, "anthropic/claude-sonnet-4-5", date(2026, 11, 18)),
    PriceKey("perplexity", "sonar", date(2026, 11, 18)),
    PriceKey("openai", "gpt-99-imaginary", date(2026, 11, 18)),
]


def asked(book: PriceBook, keys: list[PriceKey]) -> PriceBook:
    for key in keys:
        book.card(key)
    return book


def test_an_exported_book_gives_the_same_rates_again(tmp_path: Path) -> None:
    book = asked(PriceBook.load(), KEYS)
    path = tmp_path / "book.json"
    path.write_text(json.dumps(export_prices(book)), encoding="utf-8")

    again = PriceBook.load(path)

    for key in KEYS[:-1]:
        first, second = book.card(key), again.card(key)
        assert isinstance(first, RateCard)
        assert isinstance(second, RateCard)
        assert second.levels == first.levels
        assert [above for above, _ in second.tiers] == [above for above, _ in first.tiers]
        assert (second.provider, second.unmodelled_context) == (first.provider, first.unmodelled_context)
    assert not again.unused_entries()
    assert again.needs_half_hour("deepseek", "deepseek-chat")


def test_an_export_does_not_depend_on_the_order_of_questions() -> None:
    one = export_prices(asked(PriceBook.load(), KEYS))

    assert export_prices(asked(PriceBook.load(), KEYS[::-1])) == one


def test_days_with_one_price_are_one_entry() -> None:
    rates = export_prices(asked(PriceBook.load(), KEYS))["rates"]

    assert isinstance(rates, list)
    stretches = [(r["from"], r["to"]) for r in rates if r["model"] == "gpt-4o" and "when" not in r]
    assert stretches == [("2026-11-18", "2026-11-20"), ("2026-11-21", "2026-11-22")]
    assert [(r["from"], r["input"]) for r in rates if r["model"] == "o3"] == [
        ("2025-06-09", "0.00001"),
        ("2025-06-10", "0.000002"),
    ]


def test_a_name_that_would_be_a_pattern_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('version = 1\n[[rates]]\nmodel = "our-*"\ninput = "1"', encoding="utf-8")
    book = asked(PriceBook.load(path), [replace(KEYS[0], model="our-*"), replace(KEYS[0], model="our-7b")])

    rates = export_prices(book)["rates"]

    assert isinstance(rates, list)
    assert [rate["model"] for rate in rates] == ["our-7b"]
