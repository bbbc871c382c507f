"""Cards and the arithmetic of calls: tiers, missing rates, limits, columns against single calls."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.price import (
    CallUsage,
    PriceSource,
    PriceStatus,
    RateCard,
    Rates,
    UsageColumns,
    price_call,
    price_calls,
    price_table,
)
from auditor.price.cards import INPUT_CLASSES, MAX_CALL_COST, MAX_COUNT, MAX_RATE, RATE_NAMES, RATE_OF_CLASS

CLASSES = tuple(field.name for field in fields(CallUsage))


def card(base: Rates | None = None, tiers: tuple[tuple[int, Rates], ...] = ()) -> RateCard:
    return RateCard("openai", "m", PriceSource.GENAI_PRICES, base or Rates(input=2, output=8), tiers)


def columns(usages: list[CallUsage]) -> UsageColumns:
    return UsageColumns(
        **{name: np.array([getattr(usage, name) for usage in usages], dtype=np.int64) for name in CLASSES}
    )


def rates(top: int) -> st.SearchStrategy[Rates]:
    rate = st.none() | st.integers(0, top)
    return st.builds(Rates, **dict.fromkeys(RATE_NAMES, rate))


@st.composite
def cards(draw: st.DrawFn, top: int = 10**9) -> RateCard:
    thresholds = sorted(draw(st.sets(st.integers(0, 500), max_size=3)))
    return card(draw(rates(top)), tuple((threshold, draw(rates(top))) for threshold in thresholds))


def usages(top: int = 300) -> st.SearchStrategy[CallUsage]:
    return st.builds(CallUsage, **dict.fromkeys(CLASSES, st.integers(0, top)))


ANY_COUNT = st.integers(0, 400) | st.sampled_from([-1, MAX_COUNT, MAX_COUNT + 1, 2**63 - 1, -(2**63)])


@given(
    st.lists(cards() | cards(top=MAX_RATE), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.builds(CallUsage, **dict.fromkeys(CLASSES, ANY_COUNT))), max_size=8),
)
def test_columns_are_priced_like_single_calls(some: list[RateCard], calls: list[tuple[int, CallUsage]]) -> None:
    which = np.array([choice % len(some) for choice, _ in calls], dtype=np.int64)

    priced = price_table(some, which, columns([usage for _, usage in calls]))

    for position, (choice, usage) in enumerate(calls):
        expected = price_call(some[choice % len(some)], usage)
        assert int(priced.cost[position]) == expected.cost
        assert bool(priced.partial[position]) == expected.partial
        assert bool(priced.rejected[position]) == expected.rejected


def test_a_column_that_is_left_out_counts_as_zeros() -> None:
    full = columns([CallUsage(input_uncached=7, output=3)])

    short = UsageColumns(input_uncached=full.input_uncached, output=full.output)

    assert price_calls(card(), short).cost.tolist() == price_calls(card(), full).cost.tolist() == [38]


def test_no_calls_are_priced_to_nothing() -> None:
    assert price_calls(card(), columns([])).cost.tolist() == []


@pytest.mark.parametrize("which", [[1], [-1]])
def test_a_call_without_a_card_is_an_error(which: list[int]) -> None:
    with pytest.raises(IndexError):
        price_table([card()], np.array(which, dtype=np.int64), columns([CallUsage()]))


@pytest.mark.parametrize("name", INPUT_CLASSES)
def test_a_tier_begins_with_one_input_token_more_than_its_threshold(name: str) -> None:
    tiered = card(Rates(input=1, output=10), ((200_000, Rates(input=2, output=20)),))

    below = price_call(tiered, CallUsage(**{name: 200_000}, output=5))
    above = price_call(tiered, CallUsage(**{name: 200_001}, output=5))

    assert (below.cost, above.cost) == (200_050, 400_102)


def test_output_tokens_do_not_reach_a_tier() -> None:
    tiered = card(Rates(input=1, output=10), ((100, Rates(input=2, output=20)),))

    assert price_call(tiered, CallUsage(input_uncached=100, output=1_000, audio_out=1)).cost == 10_110


@pytest.mark.parametrize(
    ("base", "usage", "cost"),
    [
        (Rates(input=5, output=7), CallUsage(cache_read=2), 10),
        (Rates(input=5, output=7, cache_read=0), CallUsage(cache_read=2), 0),
        (Rates(input=5, output=7), CallUsage(cache_write_5m=2), 10),
        (Rates(input=5, output=7, cache_write_5m=6), CallUsage(cache_write_1h=2), 12),
        (Rates(input=5, output=7), CallUsage(cache_write_1h=2), 10),
        (Rates(input=5, output=7, cache_write_5m=6, cache_write_1h=9), CallUsage(cache_write_1h=2), 18),
        (Rates(input=5, output=7), CallUsage(audio_in=1, image_in=1, audio_out=1, image_out=1), 24),
        (Rates(input=5, output=7, per_request=100), CallUsage(output=1), 107),
        (Rates(input=0, output=0, per_search=2), CallUsage(input_uncached=9, searches=3), 6),
    ],
)
def test_a_missing_rate_falls_back_and_a_rate_of_zero_does_not(base: Rates, usage: CallUsage, cost: int) -> None:
    found = price_call(card(base), usage)

    assert (found.cost, found.partial) == (cost, False)


@pytest.mark.parametrize(
    ("base", "usage"),
    [
        (Rates(output=7), CallUsage(input_uncached=1)),
        (Rates(output=7), CallUsage(cache_read=1)),
        (Rates(input=5), CallUsage(output=1)),
        (Rates(input=5, output=7), CallUsage(searches=1)),
        (Rates(), CallUsage(input_uncached=1)),
    ],
)
def test_usage_without_any_rate_makes_the_price_partial(base: Rates, usage: CallUsage) -> None:
    assert price_call(card(base), usage).partial


def test_a_missing_rate_that_nothing_uses_is_no_fault() -> None:
    assert not price_call(card(Rates(input=5)), CallUsage(input_uncached=3)).partial


def test_a_call_that_would_overflow_is_rejected_and_the_largest_that_fits_is_not() -> None:
    dear = card(Rates(input=MAX_CALL_COST // MAX_COUNT, output=1))

    priced = price_calls(
        dear,
        columns([CallUsage(input_uncached=MAX_COUNT), CallUsage(input_uncached=MAX_COUNT, output=MAX_COUNT)]),
    )

    assert priced.rejected.tolist() == [False, True]
    assert priced.cost.tolist() == [MAX_CALL_COST, 0]


@pytest.mark.parametrize("rate", [-1, MAX_RATE + 1])
def test_a_rate_out_of_range_makes_no_card(rate: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        card(Rates(input=rate))


def test_thresholds_must_ascend() -> None:
    with pytest.raises(ValueError, match="ascend"):
        card(Rates(input=1), ((10, Rates()), (10, Rates())))


@pytest.mark.parametrize(
    ("base", "status"),
    [
        (Rates(input=0, output=0), PriceStatus.FREE),
        (Rates(input=0, output=1), PriceStatus.PRICED),
        (Rates(), PriceStatus.PRICED),
    ],
)
def test_only_rates_that_are_all_zero_are_free(base: Rates, status: PriceStatus) -> None:
    assert card(base).status is status


@given(cards(), usages(), usages())
def test_prices_add_up_within_a_tier(some: RateCard, one: CallUsage, other: CallUsage) -> None:
    flat = card(Rates(**{**asdict(some.base), "per_request": None}))
    both = CallUsage(**{name: getattr(one, name) + getattr(other, name) for name in CLASSES})

    assert price_call(flat, both).cost == price_call(flat, one).cost + price_call(flat, other).cost


@given(cards(), usages(), st.sampled_from(CLASSES), st.integers(1, 50))
def test_more_usage_never_costs_less_within_a_tier(some: RateCard, usage: CallUsage, name: str, more: int) -> None:
    flat = card(some.base)
    grown = CallUsage(**{**asdict(usage), name: getattr(usage, name) + more})

    assert price_call(flat, grown).cost >= price_call(flat, usage).cost


@given(cards(), st.lists(usages(), min_size=1, max_size=6), st.integers(1, 1000))
def test_rates_times_k_make_every_amount_times_k(some: RateCard, calls: list[CallUsage], k: int) -> None:
    def times_k(level: Rates) -> Rates:
        return Rates(**{name: None if rate is None else rate * k for name, rate in asdict(level).items()})

    dearer = card(times_k(some.base), tuple((above, times_k(level)) for above, level in some.tiers))

    before, after = price_calls(some, columns(calls)), price_calls(dearer, columns(calls))

    assert after.cost.tolist() == [cost * k for cost in before.cost.tolist()]
    assert after.partial.tolist() == before.partial.tolist()


def test_every_usage_class_has_a_rate() -> None:
    assert set(RATE_OF_CLASS) == set(CLASSES)
    assert set(RATE_OF_CLASS.values()) | {"per_request"} == set(RATE_NAMES)
