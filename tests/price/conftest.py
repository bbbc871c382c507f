"""What the tests of prices share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from genai_prices import data


def literals(clause: Any) -> Iterator[str]:
    """Yield the texts that a clause of the price data matches on."""
    for part in vars(clause).values():
        if isinstance(part, str):
            yield part
        else:
            for inner in part:
                yield from literals(inner)


@pytest.fixture(scope="session")
def model_names() -> list[tuple[str, str]]:
    """(provider, name) for every model of the price data that some name leads to."""
    found = []
    for provider in data.providers:
        for model in provider.models:
            for name in (model.id, *literals(model.match)):
                if provider.find_model(name) is model:
                    found.append((provider.id, name))
                    break
    return found
