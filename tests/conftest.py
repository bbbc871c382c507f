"""Golden files: outputs compared whole with what was reviewed before; and no time limit for examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden; read the diff")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with the file of that name below tests/golden."""

    def compare(name: str, actual: str) -> None:
        home = GOLDEN / name
        if request.config.getoption("--update-golden"):
            home.parent.mkdir(parents=True, exist_ok=True)
            home.write_bytes(actual.encode())
        assert home.is_file(), f"{home} is missing: pytest --update-golden writes it"
        assert actual == home.read_bytes().decode()

    return compare
