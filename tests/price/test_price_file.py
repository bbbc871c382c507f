"""The user's price file: what it changes, and what is refused with a message that helps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import SettingsError
from auditor.price import (
    CallUsage,
    PriceBook,
    PriceKey,
    PriceSource,
    PriceStatus,
    RateCard,
    Unpriced,
    UnpricedReason,
    price_call,
)
from auditor.price.entries import _compiled, _patterns_meet
from auditor.price.pricing_file import pricing_schema

DAY = date(2026, 11, 20)

BookOf = Callable[..., PriceBook]
"""Writes a price file and loads a book from it."""


@pytest.fixture
def book_of(tmp_path: Path) -> BookOf:
    def make(text: str, name: str = "prices.toml") -> PriceBook:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return PriceBook.load(path)

    return make


def card_of(book: PriceBook, provider: str | None, model: str, day: date = DAY, **context: str) -> RateCard:
    card = book.card(PriceKey(provider, model, day, None, tuple(context.items())))
    assert isinstance(card, RateCard), card
    return card


RATE = 'version = 1\n[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\n'


def test_the_users_rate_comes_before_every_other(book_of: BookOf) -> None:
    card = card_of(book_of(RATE + 'input = "1.25"\noutput = 5\ncache_read = "0.625"'), "openai", "gpt-4o")

    assert (card.base.input, card.base.output, card.base.cache_read) == (1_250_000, 5_000_000, 625_000)
    assert (card.source, card.status) == (PriceSource.FILE, PriceStatus.PRICED_OVERRIDE)


@pytest.mark.parametrize(("unit", "rate"), [("1", 2 * 10**12), ("1K", 2 * 10**9), ("1M", 2 * 10**6)])
def test_a_token_rate_is_for_its_unit_and_a_fee_is_for_one(book_of: BookOf, unit: str, rate: int) -> None:
    text = RATE + f'unit = "{unit}"\ninput = "2"\nper_request = "0.01"\nper_search = "0.002"'

    base = card_of(book_of(text), "openai", "gpt-4o").base

    assert (base.input, base.per_request, base.per_search) == (rate, 10**10, 2 * 10**9)
    assert base.output is None


def test_json_has_the_same_shape(book_of: BookOf) -> None:
    text = json.dumps({"version": 1, "rates": [{"provider": "openai", "model": "gpt-4o", "input": "1.25"}]})

    assert card_of(book_of(text, "prices.json"), "openai", "gpt-4o").base.input == 1_250_000
    assert card_of(book_of(text, "prices.txt"), "openai", "gpt-4o").base.input == 1_250_000


def test_a_tier_inherits_what_it_does_not_say(book_of: BookOf) -> None:
    text = RATE + (
        'input = "1"\noutput = "4"\ncache_read = "0.5"\n'
        'tiers = [ { above_input_tokens = 500, output = "9" },'
        ' { above_input_tokens = 200, input = "2", output = "8" } ]'
    )

    card = card_of(book_of(text), "openai", "gpt-4o")

    assert [above for above, _ in card.tiers] == [200, 500]
    assert [(rates.input, rates.output, rates.cache_read) for rates in card.levels] == [
        (1_000_000, 4_000_000, 500_000),
        (2_000_000, 8_000_000, 500_000),
        (2_000_000, 9_000_000, 500_000),
    ]


@pytest.mark.parametrize(
    ("day", "source"),
    [
        ("2025-12-31", "genai-prices"),
        ("2026-01-01", "file"),
        ("2026-06-30", "file"),
        ("2026-07-01", "genai-prices"),
    ],
)
def test_a_rate_holds_from_its_first_day_up_to_its_last(book_of: BookOf, day: str, source: str) -> None:
    book = book_of(RATE + 'input = "1"\nfrom = 2026-01-01\nto = "2026-07-01"')

    assert card_of(book, "openai", "gpt-4o", date.fromisoformat(day)).source == source


def test_a_rate_with_a_context_is_for_calls_in_that_context(book_of: BookOf) -> None:
    book = book_of(RATE + 'input = "1"\nwhen = { processing = "batch" }')

    assert card_of(book, "openai", "gpt-4o").source is PriceSource.GENAI_PRICES
    batch = card_of(book, "openai", "gpt-4o", processing="batch")
    assert (batch.source, batch.discount_not_modelled) == (PriceSource.FILE, False)


def test_the_users_standard_rate_is_not_discounted_behind_their_back(book_of: BookOf) -> None:
    batch = card_of(book_of(RATE + 'input = "1"'), "openai", "gpt-4o", processing="batch")

    assert (batch.base.input, batch.unmodelled_context) == (1_000_000, ("processing=batch",))


def test_a_name_beats_a_pattern_and_more_context_beats_less(book_of: BookOf) -> None:
    book = book_of(
        'version = 1\n[[rates]]\nprovider = "openai"\nmodel = "gpt-*"\ninput = "3"\n'
        '[[rates]]\nmodel = "gpt-4o"\ninput = "4"\n'
        '[[rates]]\nprovider = "openai"\nmodel = "GPT-4o"\ninput = "1"\n'
        '[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\ninput = "2"\nwhen = { service_tier = "flex" }\n'
    )

    assert card_of(book, "openai", "gpt-4o").base.input == 1_000_000
    assert card_of(book, "openai", "gpt-4o", service_tier="flex").base.input == 2_000_000
    assert card_of(book, "openai", "gpt-4.1").base.input == 3_000_000
    assert card_of(book, "azure", "gpt-4o").base.input == 4_000_000


def test_a_rate_without_a_provider_prices_calls_whose_provider_is_unknown(book_of: BookOf) -> None:
    book = book_of('version = 1\n[[rates]]\nmodel = "our-own-7b"\ninput = "0"\noutput = "0"')

    assert card_of(book, None, "our-own-7b").status is PriceStatus.FREE
    assert card_of(book, "vllm", "our-own-7b").status is PriceStatus.FREE
    assert card_of(book, "somewhere", "our-own-7b").status is PriceStatus.FREE


def test_a_provider_alias_is_followed_before_anything_else(book_of: BookOf) -> None:
    book = book_of('version = 1\n[provider_aliases]\n"my_gateway" = "azure.ai.openai"')

    assert card_of(book, "My-Gateway", "gpt-4o").provider == "azure"


@pytest.mark.parametrize(
    ("rule", "model"),
    [
        ('match = "prod-chat-eu"', "PROD-chat-eu"),
        ('prefix = "prod-"', "Prod-anything/at.all"),
        ('regex = "prod-[a-z]+-\\\\d"', "prod-chat-7"),
    ],
)
def test_a_model_alias_leads_to_the_model(book_of: BookOf, rule: str, model: str) -> None:
    book = book_of(f'version = 1\n[[model_aliases]]\nprovider = "azure"\n{rule}\nmodel = "gpt-4o"')

    card = card_of(book, "azure.ai.openai", model)

    assert (card.provider, card.model, card.source) == ("azure", "gpt-4o", PriceSource.GENAI_PRICES)
    assert book.card(PriceKey("openai", model, DAY)) == Unpriced(UnpricedReason.UNKNOWN_MODEL)


def test_an_alias_makes_an_opaque_profile_priced(book_of: BookOf) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    book = book_of(f'version = 1\n[[model_aliases]]\nmatch = "{arn}"\nmodel = "anthropic.claude-3-haiku-20240307-v1:0"')

    assert card_of(book, "aws.bedrock", arn).provider == "aws"
    assert card_of(book, "aws.bedrock", f"bedrock/{arn}").provider == "aws"


def test_an_alias_can_tell_the_provider_too(book_of: BookOf) -> None:
    book = book_of('version = 1\n[[model_aliases]]\nmatch = "fast"\nmodel = "anthropic/claude-haiku-4-5"')

    assert card_of(book, None, "fast").provider == "anthropic"


def test_rates_are_matched_after_aliases(book_of: BookOf) -> None:
    book = book_of(RATE + 'input = "1"\n[[model_aliases]]\nmatch = "fast"\nmodel = "gpt-4o"')

    assert card_of(book, "openai", "fast").source is PriceSource.FILE


def test_a_list_multiplier_changes_the_price_and_replaces_the_shipped_one(book_of: BookOf) -> None:
    book = book_of(
        'version = 1\n[[adjustments]]\nprovider = "aws"\nwhen = { processing = "batch" }\nmultiplier = "0.25"'
    )

    standard = card_of(book, "aws", "amazon.nova-lite-v1:0")
    batch = card_of(book, "aws", "amazon.nova-lite-v1:0", processing="batch")

    assert standard.base.input is not None
    assert batch.base.input == standard.base.input // 4
    assert (batch.status, batch.list_card, batch.unmodelled_context) == (
        PriceStatus.PRICED_OVERRIDE,
        None,
        (),
    )


def test_a_contract_keeps_the_list_price_beside_its_own(book_of: BookOf) -> None:
    book = book_of(
        'version = 1\n[[adjustments]]\nprovider = "anthropic"\nmultiplier = "0.92"\nkind = "contract"\n'
        '[[adjustments]]\nprovider = "anthropic"\nmodel = "claude-*"\nmultiplier = "0.5"\nkind = "discount"'
    )
    listed = card_of(PriceBook.load(), "anthropic", "claude-sonnet-4-5")

    card = card_of(book, "anthropic", "claude-sonnet-4-5")

    assert card.list_card is not None
    assert card.list_card == listed
    assert card.status is PriceStatus.PRICED_OVERRIDE
    assert card.base.input is not None
    assert listed.base.input is not None
    assert card.base.input * 100 == listed.base.input * 46
    assert card_of(book, "openai", "gpt-4o").list_card is None


def test_shipped_batch_prices_and_a_contract_combine(book_of: BookOf) -> None:
    book = book_of('version = 1\n[[adjustments]]\nprovider = "aws"\nmultiplier = "0.9"\nkind = "contract"')
    plain = card_of(PriceBook.load(), "aws", "amazon.nova-pro-v1:0")

    card = card_of(book, "aws", "amazon.nova-pro-v1:0", processing="batch")

    assert plain.base.input is not None
    assert card.base.input == plain.base.input * 45 // 100
    assert card.list_card is not None
    assert card.list_card.base.input == plain.base.input // 2


@given(st.integers(2, 1000), st.builds(CallUsage, **dict.fromkeys(asdict(CallUsage()), st.integers(0, 300_000))))
def test_a_multiplier_of_k_makes_every_amount_times_k(
    tmp_path_factory: pytest.TempPathFactory, k: int, usage: CallUsage
) -> None:
    path = tmp_path_factory.mktemp("k") / "prices.toml"
    path.write_text(f"version = 1\n[[adjustments]]\nmultiplier = {k}", encoding="utf-8")
    plain, dearer = PriceBook.load(), PriceBook.load(path)

    for provider, model in [
        ("google", "gemini-2.5-pro"),
        ("anthropic", "claude-sonnet-4-5"),
        ("perplexity", "sonar"),
    ]:
        one, other = card_of(plain, provider, model), card_of(dearer, provider, model)
        assert price_call(other, usage).cost == k * price_call(one, usage).cost


def test_the_book_names_its_sources(book_of: BookOf) -> None:
    text = RATE + 'input = "1"'

    digest = hashlib.sha256(text.encode()).hexdigest()[:12]

    assert book_of(text).id == f"{PriceBook.load().id} + sha256:{digest}"
    assert PriceBook.load().id.startswith("genai-prices 0.")
    assert " + supplement " in PriceBook.load().id


def test_entries_that_fitted_nothing_are_listed(book_of: BookOf) -> None:
    book = book_of(
        RATE + 'input = "1"\n[[rates]]\nmodel = "never-called"\ninput = "1"\n'
        '[[adjustments]]\nprovider = "cohere"\nmultiplier = 2\n[[model_aliases]]\nmatch = "x"\nmodel = "y"'
    )

    card_of(book, "openai", "gpt-4o")

    assert book.unused_entries() == ("model_aliases[0]", "rates[1]", "adjustments[0]")


@pytest.mark.parametrize(
    ("day", "context", "reason"),
    [
        ("2025-06-01", "batch", UnpricedReason.UNKNOWN_DATE),
        ("2026-06-01", "standard", UnpricedReason.UNKNOWN_CONTEXT),
    ],
)
def test_a_near_miss_is_told_apart_from_an_unknown_model(
    book_of: BookOf, day: str, context: str, reason: UnpricedReason
) -> None:
    book = book_of(
        'version = 1\n[[rates]]\nprovider = "openai"\nmodel = "our-tune"\ninput = "1"\nfrom = "2026-01-01"\n'
        'when = { processing = "batch" }'
    )

    key = PriceKey("openai", "our-tune", date.fromisoformat(day), None, (("processing", context),))

    assert book.card(key) == Unpriced(reason)


ERRORS = [
    (
        "version = 1\n[[rates]]\nmodel = 'm'\ninput = 2.5",
        "rates[0].input is the floating-point number 2.5",
        '"2.5"',
    ),
    (
        "version = 1\n[[rates]]\nmodel = 'm'\ninput = nan",
        "rates[0].input is the floating-point number nan",
        "string",
    ),
    (
        "version = 1\n[[rates]]\nmodel = 'm'\ninptu = '1'",
        "unknown key rates[0].inptu",
        "did you mean 'input'?",
    ),
    ("version = 1\nrate = []", "unknown key rate", "did you mean 'rates'?"),
    ("version = 1\nzzz = 1", "unknown key zzz", "known keys: version"),
    ("version = 2", "version", "Version of this format"),
    ("[[rates]]\nmodel = 'm'", "the file: 'version' is a required property", ""),
    ("version = 1\ncurrency = 'EUR'", "currency", "Only US dollars"),
    ("version = 1\n[[rates]]\nmodel = 'm'\ninput = '-1'", "rates[0].input", "0 or more"),
    ("version = 1\n[[rates]]\nmodel = 'm'\ninput = 'ten'", "rates[0].input", "0 or more"),
    ("version = 1\n[[rates]]\nmodel = 'm'\ninput = true", "rates[0].input", "0 or more"),
    ("version = 1\n[[rates]]\nmodel = 'm'", "rates[0] has no rate", "at least one of input"),
    ("version = 1\n[[rates]]\ninput = '1'", "rates[0]: 'model' is a required property", ""),
    (
        "version = 1\n[[rates]]\nmodel = 'm'\ninput = '9'\nfrom = '2026-02-30'",
        "rates[0].from: '2026-02-30'",
        "",
    ),
    (
        "version = 1\n[[rates]]\nmodel = 'm'\ninput = '9'\nfrom = 2026-03-01\nto = 2026-03-01",
        "rates[0] ends (2026-03-01) before it begins",
        "exclusive",
    ),
    (
        "version = 1\n[[rates]]\nmodel = 'm'\ninput = '1000001'\nunit = '1'",
        "rates[0].input: 1000001 is more",
        "",
    ),
    ("version = 1\n[[rates]]\nmodel = 'm'\ninput = '1'\nunit = '1G'", "rates[0].unit", "How many tokens"),
    (
        (
            "version = 1\n[[rates]]\nmodel = 'm'\ninput = '1'\n"
            "tiers = [{above_input_tokens = 5}, {above_input_tokens = 5}]"
        ),
        "rates[0].tiers has above_input_tokens = 5 twice",
        "",
    ),
    ("version = 1\n[[model_aliases]]\nmodel = 'm'", "model_aliases[0] needs exactly one of", ""),
    ("version = 1\n[[model_aliases]]\nmodel = 'm'\nregex = '('", "model_aliases[0].regex", ""),
    ("version = 1\n[[adjustments]]\nmultiplier = '-1'", "adjustments[0].multiplier", "0 to 1000"),
    (
        "version = 1\n[[adjustments]]\nmultiplier = '1'\nkind = 'gift'",
        "adjustments[0].kind",
        "commercial agreement",
    ),
    ("version = = 1", "not TOML", ""),
    (
        "version = 1\n[[rates]]\nmodel = 'm'\ninput = '1'\n[[rates]]\nmodel = 'M'\noutput = '1'",
        "rates[0] and rates[1] overlap",
        "from and to",
    ),
    (
        "version = 1\n[[rates]]\nmodel = 'gpt-*'\ninput = '1'\n[[rates]]\nmodel = '*-mini'\noutput = '1'",
        "rates[0] and rates[1] overlap: both price any provider gpt-* and *-mini",
        "from and to",
    ),
    (
        (
            "version = 1\n[[rates]]\nprovider = 'azure'\nmodel = 'm'\ninput = '1'\nto = 2026-03-02\n"
            "[[rates]]\nprovider = 'az.ai.openai'\nmodel = 'm'\noutput = '1'\nfrom = 2026-03-01"
        ),
        "rates[0] and rates[1] overlap: both price azure m",
        "",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), ERRORS)
def test_what_cannot_be_followed_is_refused_by_name(book_of: BookOf, text: str, message: str, hint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        book_of(text)

    assert "prices.toml: " in str(refused.value)
    assert message in str(refused.value)
    assert hint in (refused.value.hint or "")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"version": 1, "rates": [{"model": "m", "input": 2.5}]}',
            "rates[0].input is the floating-point number 2.5",
        ),
        (
            '{"version": 1, "rates": [{"model": "m", "input": NaN}]}',
            "rates[0].input is the floating-point number NaN",
        ),
        (
            '{"version": 1, "rates": [{"model": "m", "input": 1e2}]}',
            "rates[0].input is the floating-point number 1e2",
        ),
        ('{"version": 1, "version": 1}', "key 'version' is given twice"),
        ('{"version": 1,\n}', "not JSON: "),
        ("[]", "the file: [] is not of type 'object'"),
        ('{"version": 1, "rates": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_broken_json_is_refused_by_name(book_of: BookOf, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        book_of(text, "prices.json")

    assert message in str(refused.value)
    assert len(str(refused.value)) < 500


def test_neighbouring_entries_do_not_overlap(book_of: BookOf) -> None:
    book = book_of(
        RATE + 'input = "1"\nto = 2026-03-01\n[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\ninput = "2"\n'
        'from = 2026-03-01\n[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\ninput = "3"\nhalf_hour = 4\n'
        '[[rates]]\nmodel = "gpt-*"\ninput = "4"\n[[rates]]\nmodel = "o?"\ninput = "5"'
    )

    assert card_of(book, "openai", "gpt-4o", date(2026, 2, 28)).base.input == 1_000_000
    assert card_of(book, "openai", "gpt-4o", date(2026, 3, 1)).base.input == 2_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "not UTF-8 (byte 0)"), (None, "cannot read price file")],
)
def test_a_file_that_cannot_be_read_is_a_settings_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "prices.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError) as refused:
        PriceBook.load(path)

    assert message in str(refused.value)


def test_multipliers_that_explode_are_refused(book_of: BookOf) -> None:
    book = book_of('version = 1\n[[rates]]\nmodel = "m"\nper_request = "1000000"\n[[adjustments]]\nmultiplier = "1000"')

    with pytest.raises(SettingsError, match=r"adjustments\[0\] makes a rate"):
        book.card(PriceKey(None, "m", DAY))


PATTERN = st.text("ab*?", max_size=5)


@given(PATTERN, PATTERN, st.text("ab", max_size=6))
def test_patterns_that_share_a_name_are_seen_to_meet(one: str, other: str, name: str) -> None:
    if _compiled(one).fullmatch(name) and _compiled(other).fullmatch(name):
        assert _patterns_meet(one, other)


@given(PATTERN, PATTERN)
def test_patterns_that_meet_share_a_short_name(one: str, other: str) -> None:
    from itertools import product  # noqa: PLC0415  # used here only

    names = ("".join(letters) for size in range(11) for letters in product("ab", repeat=size))
    shared = any(_compiled(one).fullmatch(name) and _compiled(other).fullmatch(name) for name in names)

    assert _patterns_meet(one, other) == shared


def test_a_bracket_in_a_name_stands_for_itself() -> None:
    assert _compiled("m[1]*").fullmatch("m[1]-large")
    assert not _compiled("m[1]*").fullmatch("m1-large")


def test_the_schema_is_a_schema() -> None:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # used here only

    Draft202012Validator.check_schema(pricing_schema())
