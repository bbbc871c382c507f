"""Sources that the user declared: every concept, unit and condition of ``[mapping.NAME]``, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from auditor.errors import InputError, SettingsError
from auditor.ledger.calls import call_rows
from auditor.load.draft import draft
from auditor.load.sources import find
from auditor.pipeline import audit
from auditor.settings import resolve
from auditor.settings.mappings import to_toml

GUIDE = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text("utf-8")
LOG = GUIDE.split("```json\n")[1].split("```")[0]
MAPPING = GUIDE.split("```toml\n")[1].split("```")[0]

ROW: dict[str, Any] = {
    "call": "c-1", "at": "2026-07-06T12:00:00Z", "model": "gpt-4o-mini", "in": 1000, "out": 100, "who": "acme",
}  # fmt: skip
PLAIN = """
[mapping.house.fields]
id = "call"
time = "at"
model = "model"
input_tokens = "in"
output_tokens = "out"
tenant = "who"
"""
"""1,000 x 0.15 + 100 x 0.60 = 210 millionths of a dollar."""


@pytest.fixture
def ledger(tmp_path: Path) -> Callable[..., Any]:
    """Audit one log by a mapping; rows of the ledger, and what was rejected."""

    def run(log: str | list[Any], settings: str = PLAIN, name: str = "log.jsonl", **flags: Any) -> Any:
        text = log if isinstance(log, str) else "\n".join(map(json.dumps, log))
        (tmp_path / name).write_text(text)
        (tmp_path / "auditor.toml").write_text(f"{settings}\n[internal]\nenvironments = []\n")
        found = resolve({"use_mappings": ["house"], **flags}, file=tmp_path / "auditor.toml")
        done = audit([str(tmp_path / name)], found)
        return list(call_rows(done.calls)), [entry.reason for entry in done.report.inputs[0].rejections], done.report

    return run


def test_the_guides_example_says_what_the_guide_says(ledger: Any) -> None:
    # (176 x 0.15 + 1024 x 0.075 + 150 x 0.60) / 1e6 and (500 x 0.15 + 500 x 0.60) / 1e6
    rows, rejected, report = ledger(LOG, MAPPING)

    assert rejected == []
    assert [
        (row["call_id"], row["time"], row["input_tokens"], row["cache_read_tokens"], row["cost_usd"], row["tenant_id"])
        for row in rows
    ] == [
        ("c-1", "2026-07-06T12:00:00.000000000Z", 1200, 1024, "0.0001932", "acme"),
        ("c-2", "2026-07-06T12:00:04.000000000Z", 500, 0, "0.000375", None),
        ("c-3", "2026-07-06T12:00:09.000000000Z", None, None, "0", "acme"),
    ]
    assert [row["failed"] for row in rows] == [False, False, True]
    assert report.inputs[0].format == "mapping:house"
    (finding,) = report.findings
    assert (finding.rule, finding.hop.target) == ("gateway-single-key", "house")


def test_costs_of_the_guides_example_are_in_millionths(ledger: Any) -> None:
    rows, _, _ = ledger(LOG, MAPPING, cost_source="reported")

    assert [row["cost_usd"] for row in rows] == ["0.0001932", "0.000375", "0"]


def test_guide_names_every_concept() -> None:
    from auditor.model.mapping import CONCEPTS  # noqa: PLC0415  # only here

    section = GUIDE.split("- **`fields`**")[1].split("- **`constants`**")[0]

    assert set(re.findall(r"`([a-z_]+)`", section)) == set(CONCEPTS)


def test_table_is_read_by_its_columns(ledger: Any) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, list(ROW))
    table.writeheader()
    table.writerows([ROW, {**ROW, "call": "c-2", "who": "", "out": ""}])

    rows, rejected, _ = ledger(text.getvalue(), name="log.csv")

    assert rejected == []
    assert [(row["call_id"], row["cost_usd"], row["tenant_id"]) for row in rows] == [
        ("c-1", "0.00021", "acme"), ("c-2", "0.00015", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "value"),
    [("usd", 0.0125), ("usd", "0.0125"), ("cents", 1.25), ("cents", "1.25"), ("microdollars", 12500)],
)
def test_units_of_cost(ledger: Any, unit: str, value: Any) -> None:
    settings = f'[mapping.house.units]\ncost = "{unit}"\n{PLAIN}cost = "paid"\n'

    rows, _, _ = ledger([{**ROW, "paid": value}], settings, cost_source="reported")

    assert rows[0]["cost_usd"] == "0.0125"


@pytest.mark.parametrize(
    ("unit", "value"),
    [("iso", "2026-07-06T12:00:00.5Z"), ("iso", "2026-07-06 14:00:00.500+02:00"), ("s", 1783339200.5),
     ("s", "1783339200.5"), ("ms", 1783339200500), ("us", 1783339200500000), ("ns", "1783339200500000000")],
)  # fmt: skip
def test_units_of_time(ledger: Any, unit: str, value: Any) -> None:
    rows, rejected, _ = ledger([{**ROW, "at": value}], f'[mapping.house.units]\ntime = "{unit}"\n{PLAIN}')

    assert (rows[0]["time"], rejected) == ("2026-07-06T12:00:00.500000000Z", [])


@pytest.mark.parametrize(
    ("inside", "counts"),
    # Inside: 1,000 of which 600 were read from the cache. Beside: 1,600 in all.
    [("true", (1000, 600, "0.000165")), ("false", (1600, 600, "0.000255"))],
)
def test_cache_inside_input_or_beside_it(ledger: Any, inside: str, counts: tuple[int, int, str]) -> None:
    settings = f'[mapping.house]\ncache_inside_input = {inside}\n{PLAIN}cache_read_tokens = "cached"\n'

    rows, _, _ = ledger([{**ROW, "cached": 600}], settings)

    assert (rows[0]["input_tokens"], rows[0]["cache_read_tokens"], rows[0]["cost_usd"]) == counts


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("deep.er.who", {"deep": {"er": {"who": "acme"}}}),
        ("deep.who", {"deep": '{"who": "acme"}'}),
        ("people.1.who", {"people": [{"who": "x"}, {"who": "acme"}]}),
        ("with.dots", {"with.dots": "acme"}),
        ("deep.with.dots", {"deep": {"with.dots": "acme"}}),
    ],
)
def test_paths(ledger: Any, path: str, row: dict[str, Any]) -> None:
    rows, _, _ = ledger([{**ROW, "who": None, **row}], PLAIN.replace('"who"', f'"{path}"'))

    assert rows[0]["tenant_id"] == "acme"


def test_first_path_that_has_a_value_counts_and_a_placeholder_is_nobody(ledger: Any) -> None:
    settings = PLAIN.replace('"who"', '["org", "who"]')

    rows, _, _ = ledger([ROW, {**ROW, "call": "c-2", "org": "globex"}, {**ROW, "call": "c-3", "who": "unknown"}],
                        settings)  # fmt: skip

    assert [row["tenant_id"] for row in rows] == ["acme", "globex", None]


def test_metadata_and_tags_are_searched_by_the_usual_names(ledger: Any) -> None:
    settings = PLAIN.replace('tenant = "who"', 'metadata = "extra"\ntags = "tags"')

    rows, _, _ = ledger([{**ROW, "extra": {"tenant_id": "acme"}, "tags": ["env:prod", "feature:search"]}], settings)

    assert (rows[0]["tenant_id"], rows[0]["environment"], rows[0]["feature"]) == ("acme", "prod", "search")


def test_constants_hold_where_a_row_is_silent(ledger: Any) -> None:
    settings = (
        f'{PLAIN}feature = "for"\n[mapping.house.constants]\nprovider = "openai"\nfeature = "search"\nbatch = true\n'
    )

    rows, _, _ = ledger([ROW, {**ROW, "call": "c-2", "for": "chat"}], settings)

    assert [(row["provider"], row["feature"], row["batch"], row["cost_usd"]) for row in rows] == [
        ("openai", "search", True, "0.000105"), ("openai", "chat", True, "0.000105"),
    ]  # fmt: skip


def test_operations_are_translated_and_unknown_ones_rejected(ledger: Any) -> None:
    settings = f'{PLAIN}operation = "what"\n[mapping.house.operations]\nVectors = "embeddings"\nstatus = "poll"\n'
    names = ["vectors", "chat", "status", "telepathy"]

    rows, rejected, _ = ledger([{**ROW, "call": name, "what": name} for name in names], settings)

    assert sorted(row["operation"] for row in rows) == ["chat", "embeddings"]
    assert rejected == ["what has a name that is in no entry of the mapping's operations"]


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [('"ok"', "OK", True), ('["a", "b"]', "b", True), ('"ok"', None, False), ("true", True, True),
     ("true", False, False),
     ("200", 200, True), ('">=400"', 503, True), ('">=400"', "399", False), ('">=400"', "none", False)],
)  # fmt: skip
def test_conditions(ledger: Any, condition: str, value: Any, *, holds: bool) -> None:
    # A failed call that says its tokens costs what it says.
    rows, rejected, _ = ledger([{**ROW, "state": value}], f"{PLAIN}[mapping.house.failed]\nstate = {condition}\n")

    assert ([row["failed"] for row in rows], rejected) == ([holds], [])


def test_what_is_not_billable_is_no_call_and_no_error(ledger: Any) -> None:
    settings = f'{PLAIN}[mapping.house.billable]\nevent = ["llm", "embed"]\n'
    log = [{**ROW, "event": "llm"}, {**ROW, "call": "c-2", "event": "health"}, {"event": "login"}]

    rows, rejected, _ = ledger(log, settings)

    assert ([row["call_id"] for row in rows], rejected) == (["c-1"], [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"in": "many"}, "in is no count"),
        ({"in": -1}, "in is no count"),
        ({"at": "noon"}, "at is no ISO time"),
        ({"at": 5}, "at is no ISO time"),
        ({"paid": "free"}, "paid is no cost in usd"),
        ({"paid": -0.1}, "paid is no cost in usd"),
        ({"paid": True}, "paid is no cost in usd"),
        ({"paid": "1e999999999"}, "paid is no cost in usd"),
        ({"paid": "NaN"}, "paid is no cost in usd"),
        ({"paid": "inf"}, "paid is no cost in usd"),
        ({"took": "long"}, "took is no duration"),
    ],
)
def test_value_that_is_not_what_the_mapping_says_rejects_its_record(
    ledger: Any, change: dict[str, Any], reason: str
) -> None:
    settings = f'{PLAIN}cost = "paid"\nduration = "took"\n'

    rows, rejected, _ = ledger([ROW, {**ROW, "call": "c-2", **change}], settings)

    assert ([row["call_id"] for row in rows], rejected) == (["c-1"], [reason])


def test_record_without_any_of_the_fields_is_rejected(ledger: Any) -> None:
    rows, rejected, _ = ledger([ROW, {"other": 1}, 5, {"call": "c-9", "who": "acme"}])

    assert len(rows) == 1
    assert rejected == [
        "none of the fields that the mapping house names is in it",
        "neither a row nor a list of rows",
        "neither model nor tokens nor cost in it; what is no call, the mapping's table billable can tell",
    ]


def test_billable_row_of_which_nothing_else_is_known_is_an_unread_call(ledger: Any) -> None:
    settings = f'{PLAIN}[mapping.house.billable]\nevent = "llm"\n'

    rows, rejected, report = ledger([{"event": "llm", "call": "c-9", "who": "acme"}], settings)

    assert ([row["usage_status"] for row in rows], rejected) == (["missing"], [])
    assert [finding.rule for finding in report.findings] == ["unlogged-spend"]


@pytest.mark.parametrize("rows", ["", 'rows = "page.entries"'])
def test_rows_inside_a_document(ledger: Any, rows: str) -> None:
    document = {"data": [ROW]} if not rows else {"page": {"number": 1, "entries": [ROW]}}

    found, _, _ = ledger([document], f"[mapping.house]\n{rows}\n{PLAIN}")

    assert [row["call_id"] for row in found] == ["c-1"]


def test_format_that_is_known_comes_before_a_mapping_unless_it_names_the_file(ledger: Any) -> None:
    known = {**ROW, "id": "k", "call_type": "acompletion", "response_cost": 0.1, "metadata": {}, "prompt_tokens": 5,
             "completion_tokens": 5}  # fmt: skip

    _, _, report = ledger([known])
    _, _, named = ledger([known], f'[mapping.house]\nfiles = ["log.*"]\n{PLAIN}')

    assert (report.inputs[0].format, named.inputs[0].format) == ("litellm", "mapping:house")


def test_of_two_mappings_the_one_that_finds_more_is_taken(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "auditor.toml").write_text('[mapping.other.fields]\nid = "call"\nmodel = "engine"\n' + PLAIN)
    settings = resolve({"use_mappings": ["other", "house"]}, file=tmp_path / "auditor.toml")

    assert audit([str(tmp_path / "log.jsonl")], settings).report.inputs[0].format == "mapping:house"


def test_same_row_twice_counts_once_and_rows_join_traces_by_their_ids(ledger: Any) -> None:
    rows, _, _ = ledger([ROW, ROW])

    assert len(rows) == 1


def test_logged_cost_of_zero_is_a_gap_of_the_mapped_gateway(ledger: Any) -> None:
    _, _, report = ledger([{**ROW, "paid": 0}], f'{PLAIN}cost = "paid"\n')

    (finding,) = report.findings
    assert (finding.rule, finding.hop.target) == ("unlogged-spend", "house")


# -- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[mapping.house.fields]\nmodle = "m"\n', "unknown key mapping.house.fields.modle",
         "did you mean mapping.house.fields.model?"),
        ("[mapping.house]\nfeilds = {}\n", "unknown key mapping.house.feilds", "did you mean mapping.house.fields?"),
        ('[mapping.house]\nrows = "x"\n', "mapping.house has no fields", "audit doctor"),
        ("[mapping.house.fields]\nmodel = 5\n", "mapping.house.fields.model is 5, expected a path", ""),
        ('[mapping.house.units]\ncost = "euro"\n[mapping.house.fields]\nid = "x"\n',
         'mapping.house.units.cost is "euro", expected one of usd, cents, microdollars', ""),
        ('[mapping.house]\ncache_inside_input = "yes"\n[mapping.house.fields]\nid = "x"\n',
         'mapping.house.cache_inside_input is "yes", expected true or false', ""),
        ('[mapping.house.fields]\nid = "x"\n[mapping.house.operations]\nfoo = "talk"\n',
         'mapping.house.operations.foo is "talk", expected one of chat', ""),
    ],
)  # fmt: skip
def test_broken_mapping_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = tmp_path / "auditor.toml"
    path.write_text(text)

    with pytest.raises(SettingsError) as raised:
        resolve({}, file=path)

    assert str(raised.value).startswith(f"{path}: {message}")
    assert hint in (raised.value.hint or "")
    assert raised.value.exit_code == 2


def test_mapping_that_nobody_declared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "auditor.toml"
    path.write_text(PLAIN)

    with pytest.raises(SettingsError, match="there is no mapping hose") as raised:
        resolve({"use_mappings": ["hose"]}, file=path)

    assert raised.value.hint == "did you mean house?"


def test_mapping_that_is_declared_and_not_used_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "auditor.toml").write_text(PLAIN)

    with pytest.raises(InputError, match="none of the formats") as raised:
        audit([str(tmp_path / "log.jsonl")], resolve({}, file=tmp_path / "auditor.toml"))

    assert "audit doctor FILE drafts a mapping" in str(raised.value.hint)


def test_mapping_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "auditor.toml"
    path.write_text(MAPPING)
    mapping = resolve({}, file=path).mappings["house"]

    path.write_text("\n".join(to_toml(mapping)))

    assert resolve({}, file=path).mappings["house"] == mapping


# -- drafts ------------------------------------------------------------------------------------------

DRAFTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "the guide's log": ("log.jsonl", LOG, {
        "units": {"cost": "usd", "time": "ms", "duration": "ms"},
        "fields": {"id": "call", "time": "at", "duration": "took", "model": "llm.name", "input_tokens": "llm.in",
                   "output_tokens": "llm.out", "cost": "charge", "tenant": "headers.x-customer",
                   "cache_read_tokens": "llm.cached"},
        "failed": {"status": ">=400"},
    }),
    "a table": ("calls.csv", (
        "request_id,created_at,model_name,prompt_tokens,completion_tokens,cost_cents,customer_id,user_id,streaming,latency_s\n"
        "r1,2026-07-06T12:00:00Z,gpt-4o-mini,1200,150,0.027,acme,u1,true,1.4\n"
    ), {
        "units": {"cost": "cents", "time": "iso", "duration": "s"},
        "fields": {"id": "request_id", "time": "created_at", "duration": "latency_s", "model": "model_name",
                   "input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "cost": "cost_cents",
                   "streamed": "streaming", "tenant": "customer_id", "user": "user_id"},
    }),
    "a document of rows": ("page.json", json.dumps({"page": {"entries": [
        {"ts": 1783339200, "model": "m", "usage": {"input_tokens": 5, "output_tokens": 5}, "cost_micros": 7,
         "metadata": {"team": "red", "tenant": "acme"}},
    ]}}), {
        "rows": "page.entries",
        "units": {"cost": "microdollars", "time": "s", "duration": "ms"},
        "fields": {"time": "ts", "model": "model", "input_tokens": "usage.input_tokens",
                   "output_tokens": "usage.output_tokens", "cost": "cost_micros",
                   "tenant": ["metadata.tenant", "metadata.team"], "metadata": "metadata"},
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAFTS)
def test_draft_guesses_from_names_and_tells_no_value(tmp_path: Path, name: str) -> None:
    file, text, expected = DRAFTS[name]
    (tmp_path / file).write_text(text)
    (source,) = find([str(tmp_path / file)])

    drafted = draft(source)

    assert drafted is not None
    written = "\n".join(to_toml(drafted))
    assert tomllib.loads(written)["mapping"] == {file.partition(".")[0]: expected}
    assert "acme" not in written


@pytest.mark.parametrize("name", DRAFTS)
def test_draft_is_a_mapping_that_audits_its_file(tmp_path: Path, name: str) -> None:
    file, text, _ = DRAFTS[name]
    (tmp_path / file).write_text(text)
    drafted = draft(find([str(tmp_path / file)])[0])
    assert drafted is not None
    (tmp_path / "auditor.toml").write_text("\n".join(to_toml(drafted)))

    settings = resolve({"use_mappings": [drafted.name]}, file=tmp_path / "auditor.toml")

    assert audit([str(tmp_path / file)], settings).report.totals.direct.calls >= 1


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", '{"user": "x", "cost": 5}', "a,b\n1,2\n", "\x00\x01"])
def test_nothing_is_drafted_for_what_is_no_log_of_calls(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)

    assert draft(find([str(tmp_path / "x.json")])[0]) is None


# -- anything ----------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["1e999999999", "NaN", '{"a": 1}', "[1]", "2026-07-06T12:00:00Z", "-", "unknown"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["who", "in", "a", "0"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(change=st.dictionaries(st.sampled_from([*ROW, "paid", "took", "state", "what"]), ANYTHING, max_size=4))
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_values_are_a_call_or_rejected(ledger: Any, change: dict[str, Any]) -> None:
    declared = (
        f'{PLAIN}cost = "paid"\nduration = "took"\noperation = "what"\nmetadata = "who"\n'
        '[mapping.house.failed]\nstate = ">=400"\n'
    )

    rows, rejected, _ = ledger([{**ROW, "call": "before"}, {**ROW, **change}, {**ROW, "call": "after"}], declared)

    assert {"before", "after"} <= {row["call_id"] for row in rows}
    assert len(rows) + len(rejected) in {2, 3}
