"""Our integer cards against the decimal arithmetic of the price data's own package."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import genai_prices
import pytest
from genai_prices import data
from genai_prices.types import StartDateConstraint, TimeOfDateConstraint
from genai_prices.units import _get_registry

from auditor.model.money import PICO
from auditor.price import CallUsage, PriceBook, PriceKey, RateCard, Unpriced, price_call
from auditor.price.library import PRICE_KEYS

CASES = 6000
CONTEXTS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (),
    (("processing", "batch"),),
    (("service_tier", "flex"),),
    (("service_tier", "priority"),),
    (("service_tier", "fast"),),
    (("service_tier", "default"),),
    (("speed", "fast"),),
    (("search_type", "fast"),),
    (("route", "mistral/eu"),),
    (("processing", "batch"), ("service_tier", "flex")),
    (("moon", "full"),),
)
USAGE_KEYS = {
    "input_uncached": "input_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "output": "output_tokens",
    "audio_in": "input_audio_tokens",
    "audio_out": "output_audio_tokens",
    "image_in": "input_image_tokens",
    "image_out": "output_image_tokens",
    "searches": "web_searches",
}


def library_price(
    provider: str, model: str, usage: CallUsage, when: datetime, context: tuple[tuple[str, str], ...]
) -> genai_prices.types.PriceCalculation:
    inputs = usage.cache_read + usage.cache_write_5m + usage.cache_write_1h + usage.audio_in + usage.image_in
    return genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_uncached + inputs,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write_5m + usage.cache_write_1h,
            cache_write_5m_tokens=usage.cache_write_5m,
            cache_write_1h_tokens=usage.cache_write_1h,
            output_tokens=usage.output + usage.audio_out + usage.image_out,
            input_audio_tokens=usage.audio_in,
            output_audio_tokens=usage.audio_out,
            input_image_tokens=usage.image_in,
            output_image_tokens=usage.image_out,
            cache_audio_read_tokens=0,
            cache_image_read_tokens=0,
            web_searches=usage.searches,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=when,
        price_context=dict(context) or None,
    )


def random_usage(rng: random.Random) -> CallUsage:
    def count() -> int:
        return rng.choice([0, rng.randrange(2_000), rng.randrange(400_000), rng.randrange(60_000_000)])

    usage = CallUsage(count(), rng.choice([0, count()]), rng.choice([0, count()]), rng.choice([0, count()]), count())
    if rng.random() < 0.3:
        usage = CallUsage(
            **{
                **asdict(usage),
                "audio_in": count(),
                "audio_out": count(),
                "image_in": count(),
                "image_out": count(),
            }
        )
    if rng.random() < 0.2:
        usage = CallUsage(**{**asdict(usage), "searches": rng.randrange(20)})
    if rng.random() < 0.2:
        limit = rng.choice([128_000, 199_999, 200_000, 256_000, 272_000])
        usage = CallUsage(input_uncached=limit - 50 + rng.randrange(2), cache_read=50, output=usage.output)
    return usage


def has_no_rate(found: genai_prices.types.PriceCalculation, usage: CallUsage) -> bool:
    """Say whether some usage has neither a rate nor a priced ancestor, by the package's own unit tree."""
    units = _get_registry().units
    priced = [
        unit.dimensions.items() for unit in units.values() if getattr(found.model_price, unit.price_key) is not None
    ]
    return any(
        count > 0 and not any(dimensions <= units[USAGE_KEYS[name]].dimensions.items() for dimensions in priced)
        for name, count in asdict(usage).items()
    )


def test_thousands_of_random_calls_cost_the_same_to_the_last_digit(
    model_names: list[tuple[str, str]],
) -> None:
    rng = random.Random(20261121)
    book = PriceBook.load()
    models = model_names
    famous = [pair for pair in models if pair[0] in {"openai", "anthropic", "google", "deepseek", "mistral"}]
    borrowed = [("azure", "gpt-4o"), ("azure", "claude-sonnet-4-5"), ("azure", "deepseek-chat")]
    borrowed += [("google", "claude-sonnet-4-5@20250929"), ("openai", "ft:gpt-4o-mini-2024-07-18:org::id")]
    borrowed += [("openai", "gpt-99-imaginary")]
    seen: Counter[str] = Counter()
    for _ in range(CASES):
        provider, model = rng.choice(rng.choice([models, models, models, famous, borrowed]))
        usage = random_usage(rng)
        when = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randrange(3 * 365 * 24 * 60))
        context = rng.choice(CONTEXTS)
        half_hour = when.hour * 2 + when.minute // 30 if book.needs_half_hour(provider, model) else None
        card = book.card(PriceKey(provider, model, when.date(), half_hour, context))
        try:
            expected = library_price(provider, model, usage, when, context)
        except LookupError:
            assert isinstance(card, Unpriced)
            seen["unknown to both"] += 1
            continue
        assert isinstance(card, RateCard), (provider, model)
        if card.adjustments:
            seen["left to the supplement"] += 1
            continue
        price = price_call(card, usage)
        off = abs(expected.total_price * PICO - price.cost)
        slack = Decimal(sum(asdict(usage).values())) / 2 if card.rounded_rates else 0
        assert off <= slack, (provider, model, when, context, usage)
        assert price.partial == has_no_rate(expected, usage), (provider, model, usage)
        assert not price.rejected
        seen["rounded" if card.rounded_rates else "exact"] += 1
        seen["tiered"] += bool(card.tiers)
        seen["by the clock"] += half_hour is not None
        seen["context"] += bool(context)

    assert seen["exact"] > 0.8 * CASES
    for kind in ("unknown to both", "tiered", "by the clock", "context", "left to the supplement", "rounded"):
        assert seen[kind] >= 5, seen


def test_a_context_is_called_modelled_only_where_the_package_reacts_to_it(
    model_names: list[tuple[str, str]],
) -> None:
    book = PriceBook.load()
    day = date(2026, 11, 20)
    usage = CallUsage(input_uncached=1000, cache_read=500, output=100, searches=1)
    modelled = 0
    for provider, model in model_names:
        plain = book.card(PriceKey(provider, model, day))
        for context in CONTEXTS[2:-2]:
            card = book.card(PriceKey(provider, model, day, None, context))
            assert isinstance(plain, RateCard)
            assert isinstance(card, RateCard)
            if card.adjustments:
                continue
            if card.discount_not_modelled:
                assert price_call(card, usage) == price_call(plain, usage)
            elif context != (("service_tier", "default"),):
                modelled += 1

    assert modelled > 100


def test_the_default_tier_has_no_rates_of_its_own() -> None:
    variants = [
        variant
        for provider in data.providers
        for model in provider.models
        for variant in model.price_variants or ()
        if variant.when == {"service_tier": "default"}
    ]

    assert variants
    assert not any(value is not None for variant in variants for value in variant.prices.__dict__.values())


def test_time_windows_begin_and_end_on_half_hours() -> None:
    windows = [
        price.constraint
        for provider in data.providers
        for model in provider.models
        if isinstance(model.prices, list)
        for price in model.prices
        if isinstance(price.constraint, TimeOfDateConstraint)
    ]

    assert windows
    for window in windows:
        for edge in (window.start_time, window.end_time):
            assert (edge.minute % 30, edge.second, edge.utcoffset()) == (0, 0, timedelta(0))


def test_variants_depend_on_the_day_alone() -> None:
    assert {
        type(variant.constraint)
        for provider in data.providers
        for model in provider.models
        for variant in model.price_variants or ()
    } <= {type(None), StartDateConstraint}


def test_our_price_keys_and_units_are_the_packages() -> None:
    registry = _get_registry()

    for keys in PRICE_KEYS.values():
        for key, per in keys:
            assert registry.unit_for_price_key(key).per == per


def cost(provider: str, model: str, day: str, usage: CallUsage, *context: tuple[str, str]) -> Decimal:
    card = PriceBook.load().card(PriceKey(provider, model, date.fromisoformat(day), None, context))
    assert isinstance(card, RateCard)
    return Decimal(price_call(card, usage).cost) / PICO


@pytest.mark.parametrize(("tokens", "usd"), [(200_000, "0.25"), (200_001, "0.5000025")])
def test_a_long_prompt_costs_the_higher_rate_from_its_first_token(tokens: int, usd: str) -> None:
    assert cost("google", "gemini-2.5-pro", "2026-11-20", CallUsage(input_uncached=tokens)) == Decimal(usd)


@pytest.mark.parametrize(("day", "usd"), [("2025-06-09", 50), ("2025-06-10", 10)])
def test_a_call_costs_what_it_cost_on_its_day(day: str, usd: int) -> None:
    assert cost("openai", "o3", day, CallUsage(input_uncached=10**6, output=10**6)) == usd


@pytest.mark.parametrize(("half_hour", "usd"), [(0, "0.135"), (1, "0.27"), (32, "0.27"), (33, "0.135")])
def test_a_price_by_the_clock_changes_on_the_half_hour(half_hour: int, usd: str) -> None:
    card = PriceBook.load().card(PriceKey("deepseek", "deepseek-chat", date(2025, 5, 1), half_hour))

    assert isinstance(card, RateCard)
    assert card.base.input == Decimal(usd) * 10**6


def test_the_time_matters_for_few_models_only(model_names: list[tuple[str, str]]) -> None:
    book = PriceBook.load()

    timed = [pair for pair in model_names if book.needs_half_hour(*pair)]

    assert {provider for provider, _ in timed} == {"deepseek"}
    assert book.needs_half_hour("azure", "deepseek-chat")


@pytest.mark.parametrize(
    ("provider", "model", "day", "expected"),
    [
        ("openai", "gpt-4o", "2026-11-20", "0.625"),
        ("openai", "gpt-4o", "2026-10-13", "0.625"),
        ("azure", "gpt-4o", "2026-11-20", "0.625"),
        ("aws.bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0", "2026-11-20", "0.9"),
        ("anthropic", "claude-sonnet-4-5", "2026-01-05", "0.9"),
        ("x_ai", "grok-4", "2026-01-05", "1.8"),
    ],
)
def test_batch_is_half_price_where_that_is_known(provider: str, model: str, day: str, expected: str) -> None:
    usage = CallUsage(input_uncached=10**5, output=10**5)

    assert cost(provider, model, day, usage, ("processing", "batch")) == Decimal(expected)


@pytest.mark.parametrize(
    ("provider", "model", "context", "unmodelled"),
    [
        ("openai", "gpt-4o", ("service_tier", "flex"), ("service_tier=flex",)),
        ("google", "claude-sonnet-4-5", ("processing", "batch"), ("processing=batch",)),
        ("openai", "o3", ("service_tier", "flex"), ()),
        ("openai", "gpt-4o", ("service_tier", "default"), ()),
        ("openai", "gpt-4o", ("service_tier", "BATCH"), ()),
        ("anthropic", "claude-sonnet-4-5", ("service_tier", "standard"), ()),
        ("anthropic", "claude-sonnet-4-5", ("service_tier", "priority"), ("service_tier=priority",)),
    ],
)
def test_a_context_without_a_rate_is_said_and_not_passed_over(
    provider: str, model: str, context: tuple[str, str], unmodelled: tuple[str, ...]
) -> None:
    card = PriceBook.load().card(PriceKey(provider, model, date(2026, 11, 20), None, (context,)))

    assert isinstance(card, RateCard)
    assert card.unmodelled_context == unmodelled
    assert card.discount_not_modelled == bool(unmodelled)


def test_few_rates_are_finer_than_a_pico_dollar(model_names: list[tuple[str, str]]) -> None:
    book = PriceBook.load()

    cards = [book.card(PriceKey(provider, model, date(2026, 11, 20))) for provider, model in model_names]

    rounded = sum(card.rounded_rates for card in cards if isinstance(card, RateCard))
    assert 0 < rounded < 40
