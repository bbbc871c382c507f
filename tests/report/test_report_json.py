from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from datetime import date, timedelta
from enum import Enum
from functools import partial
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from report_builders import accepted, amount, broken, clean, finding, gate, hostile, report, source, totals, usd

from auditor.errors import InputError
from auditor.model.report import GateCheck, GateUnit, MapEdge, Report
from auditor.report import json_v1
from auditor.report.schema import report_schema, validate

REPORTS: dict[str, Callable[[], Report]] = {
    "accepted": accepted,
    "broken": broken,
    "clean": clean,
    "hostile": hostile,
}


def document(of: Report) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(json_v1.render(of))
    return parsed


@pytest.mark.parametrize("name", REPORTS)
def test_report_is_as_reviewed(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"report/{name}.json", json_v1.render(REPORTS[name]()).decode())


@pytest.mark.parametrize("name", REPORTS)
def test_report_follows_its_schema(name: str) -> None:
    validate(document(REPORTS[name]()))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(report_schema())


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_every_object_of_the_schema_is_closed_and_complete() -> None:
    found = list(objects(report_schema()))

    assert len(found) > 20
    assert [part for part in found if part.get("additionalProperties") is not False] == []
    assert [part for part in found if set(part["required"]) != set(part["properties"])] == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from places(part, (*path, index))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def small() -> Report:
    """One of everything."""
    whole = accepted()
    parts = (
        "tenants",
        "tenant_keys",
        "candidate_keys",
        "plan",
        "joins",
        "map_nodes",
        "map_edges",
        "rules_run",
        "suppressions",
        "services",
    )
    return replace(
        whole,
        **{part: getattr(whole, part)[:1] for part in parts},
        findings=whole.findings[1:2],
    )


WHOLE = document(small())


def is_a_report(changed: dict[str, Any]) -> bool:
    try:
        validate(changed)
    except InputError:
        return False
    return True


def test_a_value_of_another_type_breaks_the_schema() -> None:
    survivors = []
    for path in places(WHOLE):
        if path:
            changed = deepcopy(WHOLE)
            wrong = "not this" if isinstance(at(WHOLE, path), dict) else {"not": "this"}
            at(changed, path[:-1])[path[-1]] = wrong
            survivors += [path] if is_a_report(changed) else []

    assert survivors == []


def test_a_key_too_many_or_too_few_breaks_the_schema() -> None:
    survivors = []
    for path in places(WHOLE):
        if isinstance(at(WHOLE, path), dict):
            for key in at(WHOLE, path):
                changed = deepcopy(WHOLE)
                del at(changed, path)[key]
                survivors += [(*path, key)] if is_a_report(changed) else []
            changed = deepcopy(WHOLE)
            at(changed, path)["surprise"] = "boo"
            survivors += [(*path, "surprise")] if is_a_report(changed) else []

    assert survivors == [("joins", "ancestor")], "only joins are named freely"


@pytest.mark.parametrize("money", ["1.10", "01", "1e3", "", ".5", "1.", "NaN", "0.1234567890123", "1,000", "$1"])
def test_money_that_is_not_a_plain_decimal_breaks_the_schema(money: str) -> None:
    changed = deepcopy(WHOLE)
    changed["totals"]["spend"] = money

    with pytest.raises(InputError, match=r"\$\.totals\.spend"):
        validate(changed)


@pytest.mark.parametrize("pico", [0, 1, 10**12, 10**11, 1_250_000_000_000, 10**30 + 7])
def test_any_money_follows_the_schema(pico: int) -> None:
    validate(document(report(totals=totals(spend=pico))))


Rebuild = Callable[[Any], Report]


def leaves(value: Any, rebuild: Rebuild, path: str = "") -> Iterator[tuple[str, Rebuild, Any]]:
    """Every single value in a report, with a way to build the report with another in its place."""
    if is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            inside = partial(with_field, value, part.name, rebuild)
            yield from leaves(getattr(value, part.name), inside, f"{path}.{part.name}")
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from leaves(part, partial(with_item, value, index, rebuild), f"{path}[{index}]")
    else:
        yield path, rebuild, value


def with_field(value: Any, name: str, rebuild: Rebuild, new: Any) -> Report:
    return rebuild(replace(value, **{name: new}))


def with_item(value: tuple[Any, ...], index: int, rebuild: Rebuild, new: Any) -> Report:
    return rebuild((*value[:index], new, *value[index + 1 :]))


def another(value: Any) -> Any:
    match value:
        case GateUnit.SHARE:
            return GateUnit.TEXT
        case GateUnit.MONEY:
            return GateUnit.COUNT
        case None:
            return 0.5
        case Enum():
            return next(member for member in type(value) if member is not value)
        case bool():
            return not value
        case date():
            return value + timedelta(days=1)
        case str() if value.replace(".", "", 1).isdigit():
            return value + "1"
        case str():
            return value + "!"
        case int() | float():
            return value + 1
    raise AssertionError(value)


def test_digest_changes_with_everything_but_inputs_positions_and_what_came_twice() -> None:
    before = small()
    told, written = json_v1.digest(before), json_v1.render(before)
    unmoved: set[str] = set()
    moved: set[str] = set()
    unwritten: set[str] = set()
    for path, rebuild, value in leaves(before, lambda new: new):
        after = rebuild(another(value))
        (unmoved if json_v1.digest(after) == told else moved).add(path)
        unwritten |= {path} if json_v1.render(after) == written else set()

    # How the format was told is for `audit doctor` alone.
    assert unwritten == {".inputs[0].recognition"}
    assert {path for path in unmoved if not path.startswith(".inputs")} == {
        *(
            f".findings[0].samples[{index}].{part}"
            for index in (0, 1)
            for part in ("input", "line", "code.file", "code.line")
        ),
        *(path for path in moved | unmoved if path.startswith(".totals.duplicates")),
        ".suppressions[0].entry.place",
        ".baseline.path",
    }
    assert not any(path.startswith(".inputs") for path in moved)
    assert len(moved) > 150


def test_digest_can_be_computed_from_the_document_alone() -> None:
    whole = document(broken())
    told = whole.pop("digest")
    del whole["inputs"], whole["totals"]["duplicates"]
    for found in whole["findings"]:
        for sample in found["samples"]:
            del sample["input"], sample["line"], sample["code"]

    canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert hashlib.sha256(canonical.encode()).hexdigest() == told


def test_an_order_of_inputs_changes_no_digest() -> None:
    first, second = source(path="a.json"), source(path="b.json")

    assert json_v1.digest(report(inputs=(first, second))) == json_v1.digest(report(inputs=(second, first)))


def test_an_order_of_findings_changes_the_digest() -> None:
    first, second = finding(id="a"), finding(id="b")

    assert json_v1.digest(report(findings=(first, second))) != json_v1.digest(report(findings=(second, first)))


def test_hops_and_edges_say_from_and_to() -> None:
    whole = document(broken())

    assert whole["findings"][0]["hop"] == {"from": "api", "to": "jobs", "kind": "queue"}
    assert whole["map"]["edges"][0] == {
        "from": "api",
        "to": "jobs",
        "kind": "queue",
        "calls": 41_200,
        "cost": "1904.11",
        "lost_cost": "1904.11",
    }


def test_amounts_are_exact_decimal_strings() -> None:
    whole = document(report(totals=totals(lost=amount(3, "0.000000000001", 0.25))))

    assert whole["totals"]["lost"] == {"calls": 3, "cost": "0.000000000001", "share": 0.25}


def test_joins_and_readiness_are_found_by_name() -> None:
    whole = document(broken())

    assert whole["joins"]["ancestor"] == {"calls": 41_200, "cost": "1904.11"}
    assert whole["readiness"]["tenant_id"] == {"calls_share": 0.2623, "cost_share": 0.686}


def test_gate_measures_are_numbers_of_their_unit() -> None:
    checks = (
        GateCheck("max-unattributed", "0.1", "0.25", passed=False, hint="", unit=GateUnit.SHARE),
        GateCheck("max-unattributed-usd", str(usd("5")), str(usd("7.5")), passed=False, hint="", unit=GateUnit.MONEY),
        GateCheck("strict", "0", "3", passed=False, hint="", unit=GateUnit.COUNT),
        GateCheck("fail-on", "certain", "likely", passed=True, hint="", unit=GateUnit.TEXT),
        GateCheck("max-lost", "0.1", "", passed=True, hint="", unit=GateUnit.SHARE),
    )

    whole = document(report(gate=gate(checks=checks)))

    assert [(check["limit"], check["actual"]) for check in whole["gate"]["checks"]] == [
        (0.1, 0.25),
        ("5", "7.5"),
        (0, 3),
        ("certain", "likely"),
        (0.1, None),
    ]
    validate(whole)


def test_times_are_utc_to_the_nanosecond() -> None:
    whole = document(report(start_ns=1_793_520_000_123_456_789, end_ns=None))

    assert whole["time_range"] == {"start": "2026-11-01T08:00:00.123456789Z", "end": None}


def test_a_file_name_that_is_not_utf_8_is_written_as_escape() -> None:
    whole = orjson.loads(json_v1.render(report(inputs=(source(path="tr\udce4ce.json"),))))

    assert whole["inputs"][0]["path"] == "tr\\udce4ce.json"


def test_sums_beyond_64_bits_are_written_whole() -> None:
    assert document(report(totals=totals(input_tokens=10**25)))["totals"]["input_tokens"] == 10**25


def test_an_edge_with_no_cost_is_zero_not_missing() -> None:
    edge = MapEdge("a", "b", broken().findings[0].hop.kind, 0, 0, 0)

    assert document(report(map_edges=(edge,)))["map"]["edges"][0]["cost"] == "0"
