"""The named commands."""

from __future__ import annotations

import csv
import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from cli_builders import RULES, Audit, Pipeline, a_report
from jsonschema import Draft202012Validator

from auditor import demo as traffic
from auditor.cli.init import just_above
from auditor.settings import NO_LIMITS, resolve

ROWS = (
    {
        "call_id": "c1", "duplicates": [{"trace_id": "a", "span_id": "b"}], "time": "2026-11-02T09:00:00Z",
        "service": "web", "cost_usd": "0.25", "status": "direct", "tenant_id": "acme", "conflict": False,
        "environment": "production",
    },
    {
        "call_id": "c2", "duplicates": [], "time": "2026-11-02T09:00:01Z",
        "service": "\x1b[31m=cmd", "cost_usd": None, "status": "lost", "tenant_id": None, "conflict": True,
        "environment": "qa",
    },
)  # fmt: skip


# --- ledger


def test_ledger_as_json_lines_has_every_field(audit: Audit, pipeline: Pipeline) -> None:
    pipeline.rows = ROWS

    done = audit("ledger", "x.json", "--by", "call", "-f", "jsonl")

    assert done.code == 0
    assert [json.loads(line) for line in done.out.splitlines()] == list(ROWS)


def test_ledger_as_csv_is_safe_in_a_spreadsheet(audit: Audit, pipeline: Pipeline) -> None:
    pipeline.rows = ({**ROWS[0], "service": '=cmd|"/c"', "cost_usd": "-0.5"}, ROWS[1])

    rows = list(csv.DictReader(audit("ledger", "x.json", "-f", "csv").out.splitlines()))

    assert [list(row) for row in rows] == [list(ROWS[0])] * 2
    assert rows[0]["service"] == '\'=cmd|"/c"'
    assert rows[0]["cost_usd"] == "-0.5"
    assert rows[0]["conflict"] == "false"
    assert json.loads(rows[0]["duplicates"]) == ROWS[0]["duplicates"]
    assert rows[1]["tenant_id"] == ""


def test_ledger_on_a_terminal_is_aligned_and_safe(audit: Audit, pipeline: Pipeline) -> None:
    pipeline.rows = ROWS

    assert audit("ledger", "x.json").out == (
        "time                  service       cost_usd  status  tenant_id\n"
        "2026-11-02T09:00:00Z  web               0.25  direct  acme\n"
        "2026-11-02T09:00:01Z  \\x1b[31m=cmd            lost\n"
    )
    pipeline.rows = ({"tenant_id": "acme", "calls": 3},)
    assert audit("ledger", "x.json", "--by", "tenant").out == "tenant_id  calls\nacme           3\n"


@pytest.mark.parametrize("form", ["jsonl", "csv", "terminal"])
def test_an_empty_ledger_is_empty(form: str, audit: Audit) -> None:
    assert audit("ledger", "x.json", "-f", form).out == ""


@pytest.mark.parametrize("code", [0, 3, 4])
def test_ledger_gives_no_verdict_but_says_what_it_lacks(code: int, audit: Audit, pipeline: Pipeline) -> None:
    pipeline.report = a_report(exit_code=code)

    assert audit("ledger", "x.json", "-f", "jsonl").code == code
    assert pipeline.settings.gate == NO_LIMITS


def test_ledger_can_go_to_a_file(audit: Audit, pipeline: Pipeline, home: Path) -> None:
    pipeline.rows = ROWS

    assert audit("ledger", "x.json", "-f", "jsonl", "-o", "out.jsonl").out == ""
    assert len((home / "out.jsonl").read_bytes().splitlines()) == 2


# --- explain, rules


def test_explain_prints_the_page_of_a_rule(audit: Audit) -> None:
    assert audit("explain", "header-stripping").out == (
        "header-stripping: A proxy drops the tenant's header\n"
        "\n"
        "A proxy drops it.\n"
        "\n"
        "What goes wrong\n"
        "    It is gone.\n"
        "\n"
        "What it needs to be checked\n"
        "    spans of two services\n"
    )


def test_explain_names_the_rule_that_was_meant(audit: Audit) -> None:
    done = audit("explain", "header-striping")

    assert (done.code, done.err) == (
        2,
        "audit: there is no rule header-striping\nhint: did you mean header-stripping?\n",
    )


def test_explain_of_a_trace_wants_files(audit: Audit, pipeline: Pipeline) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"

    without = audit("explain", trace)
    with_files = audit("explain", trace, "x.json")

    assert (without.code, without.err) == (
        2,
        f"audit: which files is trace {trace} in?\nhint: audit explain {trace} traces.json\n",
    )
    assert (with_files.code, with_files.out) == (0, f"tree of {trace}\n")
    assert pipeline.paths == ["x.json"]


def test_rules_are_listed_with_their_needs_and_what_the_settings_say(audit: Audit, home: Path) -> None:
    (home / "auditor.toml").write_text(
        '[rules.async-drop]\nenabled = false\n[rules.header-stripping]\nrequired = true\nfail_on = "likely"\n'
    )

    assert audit("rules").out == (
        "header-stripping  (required, fails the gate from likely)\n"
        "    A proxy drops the tenant's header\n"
        "    needs spans of two services\n"
        "\n"
        "async-drop  (switched off)\n"
        "    A queue drops the tenant\n"
        "\n"
        "audit explain RULE prints a rule's page.\n"
    )
    assert all(rule.id in audit("rules", "--no-config").out for rule in RULES)


# --- schema, config, init


@pytest.mark.parametrize("name", ["report", "settings", "pricing", "vocabulary", "baseline", "diff"])
def test_published_schemas_are_schemas(name: str, audit: Audit) -> None:
    Draft202012Validator.check_schema(json.loads(audit("schema", name).out))


def test_an_unknown_schema_is_refused(audit: Audit) -> None:
    done = audit("schema", "reprot")

    assert (done.code, done.err) == (
        2,
        "audit: schema reprot: expected one of report, settings, pricing, vocabulary, baseline, diff\n",
    )


def test_config_shows_each_value_and_where_it_came_from(
    audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "auditor.toml").write_text(
        'tenant_keys = ["a\\"b"]\n[gate]\nmax_lost = "2%"\n[rules.async-drop]\nrequired = true\n'
    )
    monkeypatch.setenv("AUDITOR_MAX_UNPRICED", "4%")

    done = audit("config", "show")

    assert done.code == 0
    assert 'tenant_keys = ["a\\"b"]  # file auditor.toml\n' in done.out
    assert 'max_lost = "2%"  # file auditor.toml\n' in done.out
    assert 'max_unpriced = "4%"  # variable AUDITOR_MAX_UNPRICED\n' in done.out
    assert 'rollup = "call"  # default\n' in done.out
    assert "required = true  # file auditor.toml\n" in done.out


def test_what_config_shows_is_a_settings_file_that_says_the_same(audit: Audit, home: Path) -> None:
    (home / "auditor.toml").write_text(
        'tenant_keys = ["x"]\nhash_ids = true\n[gate]\nmax_lost = "2.5%"\nmax_unattributed_usd = "1.5"\n'
        '[rules.async-drop]\nfail_on = "certain"\n'
    )
    before = resolve()
    shown = audit("config", "show").out

    (home / "auditor.toml").write_text(shown)

    assert resolve() == before


def test_init_writes_a_file_that_changes_nothing_and_explains_everything(audit: Audit, home: Path) -> None:
    done = audit("init")

    assert (done.code, done.err) == (
        0,
        "note: auditor.toml is written; audit config show prints what is in force\n",
    )
    before = resolve(search=False)
    assert resolve() == before
    uncommented = [
        line.removeprefix("# ") if " = " in line else line
        for line in (home / "auditor.toml").read_text().splitlines()
        if not line.startswith("# [rules")
    ]
    text = "\n".join(line for line in uncommented if not line.startswith("# "))
    example = tomllib.loads(text.partition("enabled = ")[0])
    assert example["gate"]["max_unattributed"] == "10%"
    assert example["internal"]["environments"][0] == "staging"


def test_init_does_not_overwrite_unless_told(audit: Audit, home: Path) -> None:
    (home / "auditor.toml").write_text("hash_ids = true\n")

    refused = audit("init")
    assert (refused.code, refused.err) == (
        2,
        "audit: auditor.toml is already there\nhint: --force overwrites it\n",
    )
    assert (home / "auditor.toml").read_text() == "hash_ids = true\n"

    assert audit("init", "--force").code == 0
    assert "hash_ids = true\n" not in (home / "auditor.toml").read_text()


def test_init_drafts_what_the_traces_show(audit: Audit, pipeline: Pipeline, home: Path) -> None:
    pipeline.rows = ROWS

    assert audit("init", "x.json").code == 0

    text = (home / "auditor.toml").read_text()
    settings = resolve()
    assert settings.tenant_keys == ("tenant.id",)
    assert settings.gate.max_unattributed == Decimal("0.32")
    assert settings.gate.max_lost == Decimal("0.12")
    assert settings.gate.max_unmetered == Decimal("0.01")
    assert settings.gate.max_unpriced == Decimal("0.01")
    assert "# Found: tenant.id on 8 calls.\n" in text
    assert "# Found: production (1 call), qa (1 call). Assumed: qa needs no tenant; production needs one.\n" in text
    assert "# Today: 31.4 %.\n" in text


def test_init_names_the_keys_that_look_like_tenants(audit: Audit, pipeline: Pipeline) -> None:
    pipeline.report = a_report(tenant_keys=())

    out = audit("init", "x.json", "-o", "-").out

    assert "# No known key was found; these look like tenants: client_ref.\n" in out
    assert "# tenant_keys = []\n" in out


@pytest.mark.parametrize(
    ("share", "limit"), [("0", "0.01"), ("0.314", "0.32"), ("0.31", "0.32"), ("0.999", "1"), ("1", "1")]
)
def test_a_drafted_limit_lets_today_pass(share: str, limit: str) -> None:
    assert just_above(Decimal(share)) == Decimal(limit)


# --- demo


def test_demo_audits_its_export_with_default_settings_and_leaves_nothing(
    audit: Audit, pipeline: Pipeline, home: Path
) -> None:
    (home / "auditor.toml").write_text("hash_ids = true\n")

    done = audit("demo")

    assert done.code == 0
    assert "31.4 %" in done.out
    assert pipeline.paths == [traffic.FILE_NAME]
    assert not pipeline.settings.hash_ids
    assert pipeline.settings.exit_zero
    assert [path.name for path in home.iterdir()] == ["auditor.toml"]


def test_demo_keeps_its_export_where_told(audit: Audit, pipeline: Pipeline, home: Path) -> None:
    (home / "d").mkdir()

    assert audit("demo", "--dir", "d").code == 0
    assert pipeline.paths == [f"d/{traffic.FILE_NAME}"]
    assert (home / "d" / traffic.FILE_NAME).read_bytes() == traffic.export()

    assert audit("demo", "--keep", "mine.jsonl", "-f", "json=r.json").code == 0
    assert (home / "mine.jsonl").read_bytes() == traffic.export()
    assert (home / "r.json").exists()

    assert audit("demo", "--keep", "a", "--dir", "d").code == 2
    assert audit("demo", "--dir", "gone").err.startswith(f"audit: gone/{traffic.FILE_NAME}: there is no directory")


def test_demo_writes_reports_beside_the_user_not_beside_the_export(audit: Audit, home: Path) -> None:
    assert audit("demo", "-q", "-f", "json=r.json").code == 0
    assert [path.name for path in home.iterdir()] == ["r.json"]
