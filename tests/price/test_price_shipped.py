"""What ships with the package: the supplement's data, a light import, and no network."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import date
from importlib import resources

import jsonschema
import pytest

from auditor.price.entries import refuse_contradictions
from auditor.price.pricing_file import _rate_entry, pricing_schema

SUPPLEMENT = tomllib.loads(resources.files("auditor.price").joinpath("supplement.toml").read_text(encoding="utf-8"))


def test_the_supplement_is_a_valid_price_file() -> None:
    jsonschema.Draft202012Validator(pricing_schema()).validate(SUPPLEMENT)
    refuse_contradictions(
        [_rate_entry(row, f"rates[{index}]", {}, "supplement") for index, row in enumerate(SUPPLEMENT["rates"])],
        "supplement",
    )


@pytest.mark.parametrize("row", SUPPLEMENT["rates"] + SUPPLEMENT["adjustments"], ids=str)
def test_every_shipped_rate_says_where_it_is_from_and_when_it_was_checked(row: dict[str, str]) -> None:
    assert len(row["source"]) > 20
    assert date.fromisoformat(row["checked"]) <= date(2026, 11, 21)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_and_loading_a_book_leaves_heavy_packages_alone() -> None:
    code = (
        "import sys; from auditor.price import PriceBook; PriceBook.load()\n"
        "heavy = {'genai_prices', 'genai_prices.data', 'pydantic', 'jsonschema', 'numpy', 'httpx2', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    assert run(code) == "[]"


def test_a_price_from_the_supplement_needs_no_price_data() -> None:
    code = (
        "import sys, datetime; from auditor.price import PriceBook, PriceKey\n"
        "card = PriceBook.load().card(PriceKey('cohere', 'rerank-v3.5', datetime.date(2026, 11, 20)))\n"
        "print(card.base.per_search, 'genai_prices.data' in sys.modules, 'jsonschema' in sys.modules)"
    )

    assert run(code) == "2000000000 False False"


def test_prices_are_found_without_any_socket() -> None:
    code = (
        "import sys, datetime\n"
        "def no_network(event, args):\n"
        "    if event.startswith('socket.') and event != 'socket.__new__':\n"
        "        raise SystemExit(f'network: {event}')\n"
        "sys.addaudithook(no_network)\n"
        "from auditor.price import PriceBook, PriceKey\n"
        "print(PriceBook.load().card(PriceKey('openai', 'gpt-4o', datetime.date(2026, 11, 20))).base.input)"
    )

    assert run(code) == "2500000"


def test_price_data_comes_without_the_client_that_fetches_newer_ones() -> None:
    code = (
        "import sys, datetime; from auditor.price import PriceBook, PriceKey\n"
        "key = PriceKey('openai', 'gpt-4o', datetime.date(2026, 11, 20))\n"
        "print(PriceBook.load().card(key).base.input, 'genai_prices.update_prices' in sys.modules)\n"
        "import genai_prices; from auditor.price.library import bundled\n"
        "usage = genai_prices.Usage(input_tokens=1000000)\n"
        "print(genai_prices.calc_price(usage, 'gpt-4o', provider_id='openai').input_price)\n"
        "print(genai_prices.types.ModelInfo is bundled().ModelInfo, PriceBook.load().card(key).base.input)"
    )

    assert run(code).split() == ["2500000", "False", "2.50", "True", "2500000"]


def test_a_snapshot_that_another_library_fetched_is_not_used() -> None:
    code = (
        "import datetime\n"
        "from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot\n"
        "set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))\n"
        "from auditor.price import PriceBook, PriceKey\n"
        "print(PriceBook.load().card(PriceKey('openai', 'gpt-4o', datetime.date(2026, 11, 20))).base.input)"
    )

    assert run(code) == "2500000"
