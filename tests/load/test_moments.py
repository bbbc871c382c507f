"""Moments as text: one by one, and many at once."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.load.moments import SECOND, iso_columns, iso_nanoseconds, nanoseconds, nanoseconds_of_seconds

# 2026-11-01T00:00:00Z, by ``date -u -d 2026-11-01 +%s``.
NOVEMBER = 1_793_491_200


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-11-01T00:00:00.5", 500_000_000),
        ("2026-11-01 00:00:00.500", 500_000_000),
        ("2026-11-01T00:00:00.5Z", 500_000_000),
        ("2026-11-01T00:00:00.000005", 5_000),
        ("2026-11-01T00:00:00.000005+00:00", 5_000),
        ("2026-11-01T00:00:00.123456789", 123_456_789),
        ("2026-11-01T00:00:00", 0),
    ],
)
def test_a_fraction_has_as_many_digits_as_it_has(text: str, nanoseconds: int) -> None:
    assert iso_nanoseconds(text) == NOVEMBER * 10**9 + nanoseconds
    assert iso_columns([text, text]) == [[NOVEMBER * 10**9 + nanoseconds] * 2]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "",
        7,
        {"a": 1},
        ["2026-11-01T00:00:00.815Z"],
        "2026-02-30T00:00:00.815Z",
        "2026-11-01T24:00:00.815Z",
        "2026-11-01T00:00:60.815Z",
        "2026-11-01T00:00:00,815Z",
        "2026-11-01T00:00:00.81 Z",
        "2026-11-01T00:00:00.815z",
        "2026-11-01T00:00:00.8150Z",
        "1969-11-01T00:00:00.815Z",
        "9999-11-01T00:00:00.815Z",
        "2026-11-01T00:00:0\u0661.815Z",
        "\ud8002026-11-01T00:00:00.81Z",
    ],
)
def test_a_moment_that_is_odd_is_read_as_if_it_were_alone(odd: Any) -> None:
    usual = "2026-11-01T00:00:00.815Z"

    columns = iso_columns([usual, odd], [usual, usual], [])

    assert columns == [[iso_nanoseconds(usual), iso_nanoseconds(odd)], [iso_nanoseconds(usual)] * 2, []]


@pytest.mark.parametrize(
    "odd", [0.0, -0.0, 1e-9, 0.99999999, NOVEMBER + 0.5, -1.5, 9e9, 1e300, float("inf"), float("nan")]
)
def test_a_column_of_seconds_says_what_they_say_one_by_one(odd: float) -> None:
    column = [NOVEMBER + 0.25, odd, NOVEMBER + 0.815282]

    found = nanoseconds_of_seconds(column)

    assert found == [nanoseconds(value, SECOND) for value in column]
    assert found[0] == NOVEMBER * 10**9 + 250_000_000


def test_a_column_may_have_no_moments() -> None:
    assert nanoseconds_of_seconds([]) == []
