from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_builders import NASTY, broken, source

from auditor.errors import SettingsError
from auditor.model.report import GateCheck, GateUnit
from auditor.report import RENDERERS, Screen, renderer
from auditor.report.wording import NAME_LIMIT, day_range, inputs_named, measured, percent, visible

HOUR = 3600 * 10**9
DAY = 24 * HOUR
START = 1_793_520_000 * 10**9  # 2026-11-01T08:00:00Z


@pytest.mark.parametrize("name", RENDERERS)
def test_every_format_gives_the_same_bytes_for_the_same_report(name: str) -> None:
    first, second = (renderer(name)(broken(), Screen(width=100, color=True)) for _ in range(2))

    assert first == second
    assert first.endswith(b"\n")
    assert first.decode()


def test_an_unknown_format_names_the_one_that_was_meant() -> None:
    with pytest.raises(SettingsError, match="'markdwon'") as caught:
        renderer("markdwon")

    assert caught.value.hint
    assert caught.value.hint.startswith("did you mean markdown?")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import auditor.report", {"rich", "jsonschema", "orjson"}),
        ("from auditor.report import json_v1", {"rich", "jsonschema"}),
        ("from auditor.report import markdown", {"rich", "jsonschema", "orjson"}),
        ("from auditor.report import terminal", {"jsonschema", "orjson"}),
        ("from auditor.report import schema; schema.report_schema()", {"rich", "jsonschema"}),
    ],
)
def test_a_format_imports_only_what_it_needs(code: str, absent: set[str]) -> None:
    ask = f"{code}; import sys; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout.split()

    assert absent.isdisjoint(loaded)


@given(st.text() | st.sampled_from(NASTY))
def test_a_visible_name_can_be_printed_and_is_short(name: str) -> None:
    shown = visible(name)

    assert shown.isprintable() or not shown.encode("utf-8", "strict").decode().isspace()
    assert not set(shown) & set("\x00\x07\x1b\n\r\t\x7f\x9b\u200b\u202e\u2028\u2066\ufeff")
    assert 0 < len(shown) <= NAME_LIMIT


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=NAME_LIMIT))
def test_an_ordinary_name_is_shown_as_it_is(name: str) -> None:
    assert visible(name) == name


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (None, "—"),
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.314005, "31.4 %"),
        (0.0000001, "<0.1 %"),
        (0.0005, "0.1 %"),
        (0.99999, ">99.9 %"),
        (0.99949, "99.9 %"),
    ],
)
def test_shares_have_one_decimal_and_do_not_round_to_none_or_all(share: float | None, expected: str) -> None:
    assert percent(share) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (START, START + 6 * DAY, "1~7 Nov 2026 UTC"),
        (START - 4 * DAY, START, "28 Oct ~ 1 Nov 2026 UTC"),
        (START, START + 100 * DAY, "1 Nov 2026 ~ 9 Feb 2027 UTC"),
        (START, START + HOUR, "1 Nov 2026 08:00~09:00 UTC"),
        (START, START, "1 Nov 2026 08:00 UTC"),
        (None, None, "time unknown"),
        (0, 2**64 - 1, "1 Jan 1970 ~ 21 Jul 2554 UTC"),
    ],
)
def test_the_time_range_is_as_short_as_it_can_be(start: int | None, end: int | None, expected: str) -> None:
    assert day_range(start, end).replace("\N{EN DASH}", "~") == expected


@pytest.mark.parametrize(
    ("unit", "limit", "actual", "expected"),
    [
        (GateUnit.SHARE, "0.1", "0.314005", ("31.4 %", "10 %")),
        (GateUnit.SHARE, "0.1", "0.1", ("10.0 %", "10 %")),
        (GateUnit.SHARE, "0.1", "0.1000004", ("10.00004 %", "10 %")),
        (GateUnit.SHARE, "0.1", "0.0999", ("9.99 %", "10 %")),
        (GateUnit.SHARE, "0", "0.00001", ("0.001 %", "0 %")),
        (GateUnit.SHARE, "0.025", "", ("unknown", "2.5 %")),
        (GateUnit.MONEY, str(5 * 10**12), str(5 * 10**12 + 10**9), ("$5.001", "$5.00")),
        (GateUnit.COUNT, "0", "1200", ("1,200", "0")),
        (GateUnit.TEXT, "certain", "likely", ("likely", "certain")),
    ],
)
def test_what_a_gate_measured_never_looks_like_its_limit(
    unit: GateUnit, limit: str, actual: str, expected: tuple[str, str]
) -> None:
    assert measured(GateCheck("a", limit, actual, passed=False, hint="", unit=unit)) == expected


@given(st.decimals(0, 1, places=9), st.decimals(0, 1, places=9))
def test_two_shares_that_differ_are_written_differently(limit: Decimal, actual: Decimal) -> None:
    shown, wanted = measured(GateCheck("a", str(limit), str(actual), passed=False, hint=""))

    assert (Decimal(shown[:-2]) == Decimal(wanted[:-2])) is (limit == actual)


def test_many_inputs_are_counted() -> None:
    inputs = tuple(source(path=f"{number}.json") for number in range(1203))

    assert inputs_named(inputs) == ("0.json", "1.json", "2.json", "and 1,200 more")
