"""``audit diff``: traces and saved reports held against each other, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_builders import Audit, requests, usd, written
from jsonschema import Draft202012Validator

from auditor.report.schema import diff_schema


def difference(real: Audit, *arguments: object) -> tuple[int, Any]:
    done = real("diff", *arguments, "-q", "-f", "json")
    document = json.loads(done.out)
    Draft202012Validator(diff_schema()).validate(document)
    return done.code, document


def saved(real: Audit, traces: str, name: str) -> str:
    real(traces, "-q", "-f", f"json={name}")
    return name


@pytest.fixture
def before(home: Path) -> str:  # noqa: ARG001  # the working directory
    """Ten calls: three of them leak in api, one in web."""
    return written(
        "before.jsonl",
        requests("api", 5, leaks=False, **{"service.version": "1.0"}),
        requests("api", 3, leaks=True, **{"service.version": "1.0"}),
        requests("web", 1, leaks=False),
        requests("web", 1, leaks=True),
    )


@pytest.fixture
def after(home: Path) -> str:  # noqa: ARG001  # the working directory
    """Twenty calls: ten of them leak in api, none in web, one in jobs."""
    return written(
        "after.jsonl",
        requests("api", 5, leaks=False, run="2", **{"service.version": "1.1"}),
        requests("api", 10, leaks=True, run="2", feature="summary", **{"service.version": "1.1"}),
        requests("web", 4, leaks=False, run="2"),
        requests("jobs", 1, leaks=True, run="2"),
    )


def test_a_difference_is_that_of_shares(real: Audit, before: str, after: str) -> None:
    code, told = difference(real, before, after)

    assert code == 0
    assert told["before"]["unattributed"] == {"calls": 4, "cost": usd(4), "share": 0.4}
    assert told["after"]["unattributed"] == {"calls": 11, "cost": usd(11), "share": 0.55}
    assert [(change["hop"]["from"], change["trend"]) for change in told["changes"]] == [
        ("jobs", "new"),
        ("api", "worse"),
        ("web", "gone"),
    ]
    new, worse, gone = told["changes"]
    assert (new["points"], new["before"], new["after"]["calls"]) == (0.05, None, 1)
    # 3 of 10 then, which would be 6 of 20; now 10.
    assert (worse["points"], worse["cost_change"]) == (0.2, usd(4))
    assert gone["points"] == -0.1
    assert (told["worse_points"], told["better_points"]) == (0.25, 0.1)
    assert {"aspect": "version", "service": "api", "name": "", "before": ["1.0"], "after": ["1.1"]} in worse["shifts"]
    assert {"aspect": "feature", "service": "", "name": "chat", "before": [], "after": ["summary"]} in worse["shifts"]
    assert {"aspect": "service", "service": "jobs", "name": "", "before": [], "after": ["jobs"]} in new["shifts"]


def test_a_saved_report_says_what_its_traces_say(real: Audit, before: str, after: str) -> None:
    _, of_traces = difference(real, before, after)
    _, of_reports = difference(real, saved(real, before, "b.json"), saved(real, after, "a.txt"))
    _, of_both = difference(real, before, "a.txt")

    for told in (of_reports, of_both):
        assert {**told, "before": None, "after": None} == {**of_traces, "before": None, "after": None}
        assert told["after"]["kind"] == "report"
    assert of_reports["before"]["kind"] == "report"
    assert of_both["before"]["kind"] == "traces"


@pytest.mark.parametrize(("limit", "code"), [("25%", 0), ("24.9%", 1), ("0.25", 0), ("0", 1), ("none", 0)])
def test_more_points_than_the_limit_fail(limit: str, code: int, real: Audit, before: str, after: str) -> None:
    assert difference(real, before, after, "--max-worse", limit)[0] == code
    assert difference(real, before, before, "--max-worse", limit)[0] == 0
    assert difference(real, before, after, "--max-worse", limit, "--exit-zero")[0] == 0


def test_the_limit_can_stand_in_the_settings_and_no_gate_of_an_audit_counts(
    real: Audit, home: Path, before: str, after: str
) -> None:
    (home / "auditor.toml").write_text('baseline = "gone.json"\n[gate]\nmax_worse = "10%"\nmax_unattributed = "0"\n')

    assert difference(real, before, after)[0] == 1
    assert difference(real, before, after, "--max-worse", "30%")[0] == 0


def test_people_read_what_got_worse_first(real: Audit, before: str, after: str) -> None:
    done = real("diff", before, after, "--max-worse", "2%", "-f", "terminal", "-f", "markdown=d.md")

    assert done.code == 1
    assert done.out.startswith("40.0 % → 55.0 % of spend has no tenant\n")
    assert "before  before.jsonl (traces): $0.002100 on 10 calls, $0.0008400 without a tenant\n" in done.out
    assert "\nNew\n    +5.0 points  tenant-not-copied  jobs (chat)\n" in done.out
    assert "\nWorse\n   +20.0 points  tenant-not-copied  api (chat)\n" in done.out
    assert "$0.0006300 30.0 % (3 calls) → $0.002100 50.0 % (10 calls); $0.0008400 more at equal traffic\n" in done.out
    assert "with it: version of api: 1.0 → 1.1\n" in done.out
    assert "\nGone\n   -10.0 points  tenant-not-copied  web (chat)\n" in done.out
    assert done.out.endswith("FAILED: 25.0 points new or worse, 10.0 points better or gone; limit 2 points\n")
    page = Path("d.md").read_text()
    assert page.startswith("### ❌ 40.0 % → 55.0 % of spend has no tenant\n")
    assert "| `tenant-not-copied` | `api` (`chat`) | $0.0006300 30.0 % (3 calls) | $0.002100 50.0 % (10 calls) " in page
    assert "version of api: 1.0 → 1.1" in page


def test_what_is_not_looked_for_is_not_gone(real: Audit, home: Path, before: str) -> None:
    saved(real, before, "b.json")
    (home / "auditor.toml").write_text("[rules.tenant-not-copied]\nenabled = false\n")

    _, told = difference(real, "b.json", written("only.jsonl", requests("api", 5, leaks=False)))

    assert [change["trend"] for change in told["changes"]] == ["not checked", "not checked"]
    assert told["better_points"] == 0
    assert "Checked before and not after: tenant-not-copied." in told["notes"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["before.jsonl"], 2, "Missing argument"),
        (["before.jsonl", "gone.jsonl"], 3, "gone.jsonl"),
        (["before.jsonl", "broken.json"], 3, "broken.json: not a report"),
        (["-", "-"], 2, "only one side can come from stdin"),
        (["before.jsonl", "before.jsonl", "-f", "sarif"], 2, "a diff has no format 'sarif'"),
        (["before.jsonl", "before.jsonl", "-f", "jsn"], 2, "a diff has no format 'jsn'"),
        (["before.jsonl", "before.jsonl", "-f", "json=before.jsonl"], 2, "before.jsonl is an input"),
        (["before.jsonl", "before.jsonl", "-f", "json", "-f", "markdown"], 2, "only one format can go to stdout"),
        (["before.jsonl", "before.jsonl", "--max-worse", "200%"], 2, '--max-worse is "200%"'),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: list[str], code: int, message: str, real: Audit, home: Path, before: str
) -> None:
    (home / "broken.json").write_text('{"schema_version": "json-v1", "totals": {}}')
    content = Path(before).read_bytes()

    done = real("diff", *arguments)

    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert Path(before).read_bytes() == content
