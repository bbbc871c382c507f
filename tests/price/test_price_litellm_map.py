"""LiteLLM's price map as the user's price file."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from auditor.errors import SettingsError
from auditor.price import PriceBook, PriceKey, PriceSource, RateCard, Unpriced, UnpricedReason

DAY = date(2026, 11, 20)

MAP = """{
  "sample_spec": {"litellm_provider": "one of the providers", "input_cost_per_token": 0.0},
  "gpt-4o": {
    "litellm_provider": "openai", "mode": "chat", "supports_vision": true,
    "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06,
    "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
    "input_cost_per_token_priority": 4.25e-06, "output_cost_per_token_priority": 1.7e-05,
    "search_context_cost_per_query": {"search_context_size_low": 0.03, "search_context_size_medium": 0.035}
  },
  "azure/gpt-4o": {"litellm_provider": "azure", "input_cost_per_token": 2.75e-06},
  "gemini/gemini-x": {
    "litellm_provider": "gemini", "input_cost_per_token": 1e-06, "output_cost_per_token": 8e-06,
    "input_cost_per_token_above_200k_tokens": 2e-06, "output_cost_per_token_above_200k_tokens": 1.2e-05,
    "input_cost_per_token_flex": 5e-07,
    "input_cost_per_audio_token": 3e-06
  },
  "claude-x": {
    "litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
    "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
    "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05
  },
  "bedrock/us-east-1/some.model-v1:0": {"litellm_provider": "bedrock_converse",
    "input_cost_per_token": 1.0375e-06},
  "rerank-v3.5": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002,
    "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
  "dall-e-2": {"litellm_provider": "openai", "mode": "image_generation", "output_cost_per_image": 0.02}
}"""


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    path = tmp_path / "model_prices.json"
    path.write_text(MAP, encoding="utf-8")
    return PriceBook.load(Path(f"litellm:{path}"))


def card_of(book: PriceBook, provider: str | None, model: str, **context: str) -> RateCard:
    card = book.card(PriceKey(provider, model, DAY, None, tuple(context.items())))
    assert isinstance(card, RateCard), card
    return card


def test_rates_are_read_as_decimals_and_come_first(book: PriceBook) -> None:
    card = card_of(book, "openai", "gpt-4o")

    assert (card.base.input, card.base.output, card.base.cache_read) == (2_500_000, 10_000_000, 1_250_000)
    assert card.base.per_search == 35 * 10**9
    assert (card.source, card.rounded_rates) == (PriceSource.FILE, 0)
    assert " + litellm sha256:" in book.id


def test_each_provider_has_its_own_rate(book: PriceBook) -> None:
    assert card_of(book, "azure.ai.openai", "gpt-4o").base.input == 2_750_000
    assert card_of(book, None, "azure/gpt-4o").base.input == 2_750_000
    assert card_of(book, "aws.bedrock", "some.model-v1:0").base.input == 1_037_500
    assert card_of(book, "vertex_ai", "gemini-x").base.audio_in == 3_000_000


def test_contexts_have_their_rates_and_share_the_rest(book: PriceBook) -> None:
    batch = card_of(book, "openai", "gpt-4o", service_tier="batch")
    priority = card_of(book, "openai", "gpt-4o", service_tier="priority")
    flex = card_of(book, "openai", "gpt-4o", service_tier="flex")

    assert (batch.base.input, batch.base.output, batch.base.cache_read) == (1_250_000, 5_000_000, 1_250_000)
    assert priority.base.output == 17_000_000
    assert flex.unmodelled_context == ("service_tier=flex",)
    assert not batch.discount_not_modelled


def test_long_prompts_have_their_tier(book: PriceBook) -> None:
    card = card_of(book, "google", "gemini-x")
    flex = card_of(book, "google", "gemini-x", service_tier="flex")

    assert [(above, rates.input, rates.output) for above, rates in card.tiers] == [(200_000, 2_000_000, 12_000_000)]
    assert [(above, rates.input, rates.output) for above, rates in flex.tiers] == [(200_000, 500_000, 12_000_000)]


def test_cache_writes_for_an_hour_are_told_from_long_prompts(book: PriceBook) -> None:
    card = card_of(book, "anthropic", "claude-x")

    assert (card.base.cache_write_5m, card.base.cache_write_1h) == (3_750_000, 6_000_000)
    assert [(above, rates.cache_write_1h) for above, rates in card.tiers] == [(200_000, 12_000_000)]


def test_a_rerank_is_priced_by_the_search(book: PriceBook) -> None:
    assert card_of(book, "cohere", "rerank-v3.5").base.per_search == 2 * 10**9


def test_what_the_map_prices_otherwise_falls_through(book: PriceBook) -> None:
    assert book.card(PriceKey("openai", "dall-e-2", DAY)) == Unpriced(UnpricedReason.UNKNOWN_MODEL)
    assert card_of(book, "openai", "gpt-4.1").source is PriceSource.GENAI_PRICES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        (
            '{"m": {"litellm_provider": "openai", "input_cost_per_token": 1e999999}}',
            "is no price for one unit",
        ),
        ("[]", "not LiteLLM's price map"),
        ('{"version": 1}', "not LiteLLM's price map"),
        (
            json.dumps({"m": {"litellm_provider": "openai", "input_cost_per_token": -1}}),
            "m.input_cost_per_token: -1",
        ),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError) as refused:
        PriceBook.load(f"litellm:{path}")

    assert f"{path}: " in str(refused.value)
    assert message in str(refused.value)
