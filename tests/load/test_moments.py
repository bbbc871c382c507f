"""Moments as text: one by one, and many at once."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.load.moments import iso_columns, iso_nanoseconds

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
