"""Who bills a call: every spelling of a provider, and what a bare model name tells."""

from __future__ import annotations

from datetime import date

import pytest
from genai_prices import data

from auditor.price import PriceBook, PriceKey, PriceSource, RateCard, Unpriced, UnpricedReason
from auditor.price.providers import ProviderKind, model_spellings, provider_named, provider_table

DAY = date(2026, 11, 20)

SPELLINGS = {
    "openai": "openai OpenAI OPENAI openai.chat openai.responses openai.embedding text-completion-openai",
    "azure": "azure azure.ai.openai az.ai.openai azure.ai.inference az.ai.inference azure-openai.chat"
    " azure_openai azure_ai Azure azure.chat azure_text",
    "anthropic": "anthropic Anthropic ANTHROPIC anthropic.messages anthropic_text",
    "aws": "aws aws.bedrock aws_bedrock bedrock AWS amazon-bedrock amazon_bedrock bedrock_converse Bedrock",
    "google": "google gcp.vertex_ai vertex_ai gcp.gemini gemini gcp.gen_ai google.generative-ai"
    " google.generative-ai.chat google.vertex.chat google-vertex vertex_ai-language-models"
    " vertex_ai_beta Google vertex_ai-embedding-models vertex.anthropic.messages",
    "cohere": "cohere Cohere cohere_chat cohere.chat",
    "mistral": "mistral mistral_ai mistralai MistralAI mistral.chat codestral",
    "x-ai": "x_ai xai x-ai xAI xai.chat",
    "groq": "groq Groq groq.chat",
    "deepseek": "deepseek DeepSeek deepseek.chat",
    "perplexity": "perplexity Perplexity",
    "moonshotai": "moonshot_ai moonshot moonshotai moonshotai.chat",
    "together": "together_ai together togetherai.chat",
    "fireworks": "fireworks fireworks_ai fireworks.chat",
    "openrouter": "openrouter OpenRouter openrouter.chat",
    "voyageai": "voyage voyageai",
}


@pytest.mark.parametrize(
    ("spelling", "provider"),
    [(name, provider) for provider, names in SPELLINGS.items() for name in names.split()],
)
def test_every_spelling_leads_to_one_provider(spelling: str, provider: str) -> None:
    assert provider_named(spelling) == (provider, ProviderKind.BILLED)


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        " ",
        "unknown",
        "_OTHER",
        "langchain",
        "crewai",
        "microsoft.agent_framework",
        "litellm",
        "litellm_proxy",
    ],
)
def test_a_framework_or_gateway_is_not_who_bills(name: str | None) -> None:
    assert provider_named(name) == (None, ProviderKind.MISSING)


@pytest.mark.parametrize("name", ["ollama", "Ollama", "vllm", "hosted_vllm", "lm_studio", "aws.sagemaker"])
def test_what_runs_at_home_has_no_price_whatever_the_model_is_called(name: str) -> None:
    card = PriceBook.load().card(PriceKey(name, "gpt-4o", DAY))

    assert card == Unpriced(UnpricedReason.SELF_HOSTED)


@pytest.mark.parametrize(
    "name", ["openai-compatible", "custom_openai", "openai_like", "default/tars/route/aigw-run/rule/0/ref/0"]
)
def test_a_name_that_only_contains_a_provider_is_not_taken_for_it(name: str) -> None:
    assert PriceBook.load().card(PriceKey(name, "gpt-4o", DAY)) == Unpriced(UnpricedReason.UNKNOWN_PROVIDER)


def test_every_model_of_the_price_data_is_reached_under_its_own_provider(
    model_names: list[tuple[str, str]],
) -> None:
    book = PriceBook.load()

    for provider, model in model_names:
        card = book.card(PriceKey(provider, model, DAY))
        assert isinstance(card, RateCard), (provider, model)
        assert card.provider == provider

    assert {provider for provider, _ in model_names} == {provider.id for provider in data.providers}


def test_the_table_leads_only_to_providers_of_the_price_data() -> None:
    known = {provider.id for provider in data.providers}
    table = provider_table()

    billed = {provider.id for provider in table.ids.values() if provider.kind is ProviderKind.BILLED}

    assert billed <= known
    assert set(table.route_segments) <= known
    assert {provider for _, provider in table.models} <= known | {"self-hosted"}


@pytest.mark.parametrize(
    ("provider", "model", "spellings"),
    [
        ("openai", "openai/gpt-4o", ("openai/gpt-4o", "gpt-4o")),
        ("openai", "openai/responses/gpt-5", ("openai/responses/gpt-5", "responses/gpt-5", "gpt-5")),
        ("groq", "openai/gpt-oss-120b", ("openai/gpt-oss-120b",)),
        ("groq", "groq/openai/gpt-oss-120b", ("groq/openai/gpt-oss-120b", "openai/gpt-oss-120b")),
        ("openrouter", "openrouter/openai/gpt-4o", ("openrouter/openai/gpt-4o", "openai/gpt-4o")),
        ("together", "meta-llama/Llama-3.3-70B", ("meta-llama/Llama-3.3-70B",)),
        ("openai", "openai/", ("openai/",)),
        (None, "openai/gpt-4o", ("openai/gpt-4o",)),
    ],
)
def test_only_what_repeats_the_provider_is_dropped(
    provider: str | None, model: str, spellings: tuple[str, ...]
) -> None:
    assert model_spellings(provider, model) == spellings


@pytest.mark.parametrize(
    ("model", "provider", "canonical"),
    [
        ("gpt-4o", "openai", "gpt-4o"),
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("azure/gpt-4o", "azure", "gpt-4o"),
        ("anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", "aws", None),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", None),
        ("gemini/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("vertex_ai/claude-sonnet-4-5@20250929", "google", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "google", "claude-sonnet-4-5"),
        ("vercel_ai_gateway/openai/gpt-4o", "openai", "gpt-4o"),
        ("litellm_proxy/anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("voyage-3-large", "voyageai", "voyage-3-large"),
        ("rerank-2", "voyageai", "rerank-2"),
        ("rerank-v3.5", "cohere", "rerank-v3.5"),
    ],
)
def test_without_a_provider_the_model_name_tells(model: str, provider: str, canonical: str | None) -> None:
    card = PriceBook.load().card(PriceKey(None, model, DAY))

    assert isinstance(card, RateCard)
    assert card.provider == provider
    assert canonical in (None, card.model)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("", UnpricedReason.MISSING_MODEL),
        ("prod-chat-eu", UnpricedReason.UNKNOWN_PROVIDER),
        ("meta-llama/Llama-3.3-70B-Instruct", UnpricedReason.UNKNOWN_PROVIDER),
        ("mistralai/Mistral-7B-Instruct-v0.2", UnpricedReason.UNKNOWN_PROVIDER),
        ("deepseek-r1:7b", UnpricedReason.SELF_HOSTED),
        ("llama3.2:latest", UnpricedReason.SELF_HOSTED),
        ("ollama/mistral", UnpricedReason.SELF_HOSTED),
        ("gpt-99-imaginary", UnpricedReason.UNKNOWN_MODEL),
    ],
)
def test_a_model_that_nobody_knows_is_unpriced_with_a_reason(model: str, reason: UnpricedReason) -> None:
    assert PriceBook.load().card(PriceKey(None, model, DAY)) == Unpriced(reason)


def test_a_model_that_two_providers_claim_is_not_given_to_either() -> None:
    both = "grok-claude-hybrid"  # the price data's patterns for anthropic and x-ai are substrings

    assert PriceBook.load().card(PriceKey(None, both, DAY)) == Unpriced(UnpricedReason.AMBIGUOUS_PROVIDER)


@pytest.mark.parametrize(
    ("provider", "model", "source", "canonical"),
    [
        ("openai", "openai/gpt-4o", PriceSource.GENAI_PRICES, "gpt-4o"),
        ("x_ai", "grok-4", PriceSource.GENAI_PRICES, "grok-4-0709"),
        ("gcp.gen_ai", "gemini-2.5-pro", PriceSource.GENAI_PRICES, "gemini-2.5-pro"),
        ("azure.ai.inference", "gpt-4o", PriceSource.GENAI_PRICES, "gpt-4o"),
        ("cohere", "rerank-v3.5", PriceSource.SUPPLEMENT, "rerank-v3.5"),
        ("voyageai", "rerank-2", PriceSource.SUPPLEMENT, "rerank-2"),
        ("aws.bedrock", "cohere.rerank-v3-5:0", PriceSource.SUPPLEMENT, "cohere.rerank-v3-5:0"),
    ],
)
def test_references_that_the_price_data_refuses_are_priced_all_the_same(
    provider: str, model: str, source: PriceSource, canonical: str
) -> None:
    card = PriceBook.load().card(PriceKey(provider, model, DAY))

    assert isinstance(card, RateCard)
    assert (card.source, card.model) == (source, canonical)


def test_azures_openai_is_priced_as_azure() -> None:
    card = PriceBook.load().card(PriceKey("azure.ai.openai", "gpt-4o", DAY))

    assert isinstance(card, RateCard)
    assert card.provider == "azure"


@pytest.mark.parametrize(
    ("provider", "model", "reason"),
    [
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
            UnpricedReason.UNKNOWN_MODEL,
        ),
        ("azure.ai.openai", "prod-chat-eu", UnpricedReason.UNKNOWN_MODEL),
        ("cohere", "embed-english-v3.0", UnpricedReason.UNKNOWN_MODEL),
        ("google", "text-embedding-004", UnpricedReason.UNKNOWN_MODEL),
        ("jina_ai", "jina-embeddings-v3", UnpricedReason.UNKNOWN_PROVIDER),
        ("ibm.watsonx.ai", "ibm/granite-3-8b-instruct", UnpricedReason.UNKNOWN_PROVIDER),
        ("openai", "gpt-99-imaginary", UnpricedReason.UNKNOWN_MODEL),
    ],
)
def test_what_has_no_published_rate_here_is_unpriced_and_never_free(
    provider: str, model: str, reason: UnpricedReason
) -> None:
    assert PriceBook.load().card(PriceKey(provider, model, DAY)) == Unpriced(reason)


def test_two_spellings_of_one_model_are_one_model() -> None:
    book = PriceBook.load()

    names = ["gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o", "gpt-4o-20240806"]
    cards = [book.card(PriceKey("openai", name, DAY)) for name in names]

    assert len({id(card) for card in cards}) == 1
