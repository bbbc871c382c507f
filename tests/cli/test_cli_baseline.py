"""Adopting the gate: suppressions and a baseline, end to end on real inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_builders import Audit, requests, usd, written
from jsonschema import Draft202012Validator

from auditor.baseline import baseline_schema
from auditor.model.money import to_decimal_string
from auditor.report.schema import validate
from builders import CALL_PICO, span


def report_of(real: Audit, *arguments: object) -> tuple[int, Any]:
    done = real(*arguments, "-q", "-f", "json=r.json")
    document = json.loads(Path("r.json").read_bytes()) if Path("r.json").exists() else None
    if document is not None:
        validate(document)
    return done.code, document


def checks(document: Any) -> dict[str, tuple[Any, Any, bool]]:
    return {check["name"]: (check["actual"], check["limit"], check["passed"]) for check in document["gate"]["checks"]}


# --- suppressions


def test_a_suppression_changes_the_verdict_and_no_total(real: Audit, home: Path) -> None:
    traces = written("t.jsonl", requests("api", 6, leaks=False), requests("api", 4, leaks=True))
    code, before = report_of(real, traces)
    assert code == 1
    assert checks(before)["max-unattributed"] == (0.4, 0.1, False)

    (home / "auditor.toml").write_text(
        '[[suppress]]\nrule = "tenant-not-*"\nreason = "the SDK is replaced in May"\nowner = "core"\n'
        'expires = 2999-01-01\nmax_usd = "1"\n'
    )
    code, after = report_of(real, traces)

    assert code == 0
    assert after["totals"] == before["totals"]
    assert after["tenants"] == before["tenants"]
    assert checks(after)["max-unattributed"] == (0, 0.1, True)
    assert after["gate"]["suppressed"] == {"calls": 4, "cost": usd(4), "share": 0.4}
    assert after["gate"]["warnings"] == []
    (found,) = after["findings"]
    assert found["unattributed_cost"] == usd(4)
    assert found["suppression"]["is_whole"]
    assert after["suppressions"] == [
        {
            "rule": "tenant-not-*", "service": "*", "hop": "*", "operation": "*", "tenant": "*",
            "reason": "the SDK is replaced in May", "owner": "core", "expires": "2999-01-01", "max_usd": "1",
            "state": "active", "findings": [found["id"]], "calls": 4, "cost": usd(4),
            "place": "auditor.toml: suppress[0]",
        }
    ]  # fmt: skip


def test_people_see_what_is_suppressed_and_why(real: Audit, home: Path) -> None:
    traces = written("t.jsonl", requests("api", 6, leaks=False), requests("api", 4, leaks=True))
    (home / "auditor.toml").write_text(
        '[[suppress]]\nservice = "api"\nreason = "the SDK is replaced"\nowner = "core team"\nexpires = 2999-01-01\n'
    )

    out = " ".join(real(traces, "-f", "markdown=r.md").out.split())

    assert "40.0 % of $0.002100 has no tenant gate passed" in out
    assert "not in the verdict: $0.0008400 suppressed" in out
    assert "Suppressed calls spend share 1 tenant-not-copied" in out
    assert "active service api: $0.0008400 on 4 calls, until 2999-01-01, core team: the SDK is replaced" in out
    page = (home / "r.md").read_text()
    assert "Not in the verdict: $0.0008400 suppressed." in page
    assert "<details><summary>Suppressed</summary>" in page
    assert "active: service api: $0.0008400 on 4 calls, until `2999-01-01`, core team: the SDK is replaced" in page


def test_an_expired_suppression_fails_on_the_day_after(
    real: Audit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = written("t.jsonl", requests("api", 99, leaks=False), requests("api", 1, leaks=True))
    (home / "auditor.toml").write_text('[[suppress]]\nrule = "*"\nreason = "x"\nexpires = "2026-11-21"\n')

    monkeypatch.setenv("AUDITOR_TODAY", "2026-11-21")
    assert report_of(real, traces)[0] == 0
    monkeypatch.setenv("AUDITOR_TODAY", "2026-11-22")
    code, document = report_of(real, traces)

    assert code == 1
    assert document["suppressions"][0]["state"] == "expired"
    assert document["findings"][0]["suppression"] is None
    assert checks(document)["suppression of everything"] == ("expired", "until 2026-11-21", False)
    assert checks(document)["max-unattributed"][2]
    assert "suppression of everything expired" in " ".join(real(traces).out.split())


def test_a_day_that_is_none_is_refused(real: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_TODAY", "tomorrow")

    done = real(written("t.jsonl", requests("api", 1, leaks=False)))

    assert (done.code, done.err) == (
        2, 'audit: AUDITOR_TODAY is "tomorrow": expected a day such as 2027-01-31\n'
    )  # fmt: skip


def test_more_dollars_than_agreed_fail(real: Audit, home: Path) -> None:
    traces = written("t.jsonl", requests("api", 99, leaks=False), requests("api", 1, leaks=True))
    for most, expected in ((usd(1), 0), (to_decimal_string(CALL_PICO - 1), 1)):
        (home / "auditor.toml").write_text(f'[[suppress]]\nservice = "api"\nreason = "x"\nmax_usd = "{most}"\n')

        code, document = report_of(real, traces)

        assert code == expected
        assert checks(document)["suppression of service api"] == (usd(1), most, expected == 0)


def test_an_unused_suppression_is_a_warning(real: Audit, home: Path) -> None:
    (home / "auditor.toml").write_text('[[suppress]]\nhop = "web -> api"\nreason = "x"\n')

    code, document = report_of(real, written("t.jsonl", requests("api", 3, leaks=False)))

    assert code == 0
    assert document["suppressions"][0]["state"] == "unused"
    assert document["gate"]["warnings"] == ["the suppression of web -> api matches nothing; remove it"]
    out = " ".join(real("t.jsonl").out.split())
    assert "unused web -> api: matches nothing: x" in out


def test_a_tenant_suppresses_its_own_calls_only(real: Audit, home: Path) -> None:
    traces = written(
        "t.jsonl",
        requests("api", 5, leaks=False),
        requests("api", 3, leaks=True, tenant="acme"),
        requests("api", 2, leaks=True, tenant="globex"),
    )
    (home / "auditor.toml").write_text('[[suppress]]\ntenant = "glob*"\nreason = "flat rate"\n')

    code, document = report_of(real, traces)

    assert code == 1
    assert checks(document)["max-unattributed"] == (0.3, 0.1, False)
    (found,) = document["findings"]
    assert found["suppression"] == {
        "by": [0], "calls": 2, "cost": usd(2), "unattributed_calls": 2, "unattributed_cost": usd(2),
        "recoverable_cost": usd(2), "unmetered_calls": 0, "is_whole": False,
    }  # fmt: skip
    assert found["unattributed_calls"] == 5
    _, hashed = report_of(real, traces, "--hash-ids")
    assert hashed["suppressions"][0]["calls"] == 2
    assert "glob" not in json.dumps(hashed)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('rule = "async-drop"', "auditor.toml: suppress[0] has no reason", "reason ="),
        (
            'rule = "async-dorp"\nreason = "x"',
            "auditor.toml: suppress[0]: there is no rule async-dorp",
            "did you mean async-drop?",
        ),
        ('rule = "x-*"\nreason = "x"', "auditor.toml: suppress[0]: there is no rule x-*", "`audit rules` lists them"),
        (
            'rule = "async-drop"\nresaon = "x"',
            "auditor.toml: unknown key suppress[0].resaon",
            "did you mean suppress[0].reason?",
        ),
        ('reason = "x"', "auditor.toml: suppress[0] does not say what it suppresses", "give one of rule, service"),
        ('rule = "*"\nreason = " "', 'auditor.toml: suppress[0].reason is " ", expected a reason, in words', None),
        (
            'rule = "*"\nreason = "x"\nexpires = "soon"',
            'auditor.toml: suppress[0].expires is "soon": expected a day such as 2027-01-31',
            None,
        ),
        (
            'rule = "*"\nreason = "x"\nexpires = 2027-01-31T10:00:00',
            "auditor.toml: suppress[0].expires is 2027-01-31 10:00:00: expected a day such as 2027-01-31",
            None,
        ),
        (
            'rule = "*"\nreason = "x"\nmax_usd = -1',
            "auditor.toml: suppress[0].max_usd is -1: expected an amount of US dollars that is not negative",
            None,
        ),
        ('rule = 3\nreason = "x"', "auditor.toml: suppress[0].rule is 3, expected a name", None),
    ],
)
def test_a_suppression_that_cannot_be_followed_is_refused(
    text: str, message: str, hint: str | None, real: Audit, home: Path
) -> None:
    (home / "auditor.toml").write_text(f"[[suppress]]\n{text}\n")

    done = real(written("t.jsonl", requests("api", 1, leaks=False)))

    assert done.code == 2
    assert done.err.startswith(f"audit: {message}")
    assert hint is None or hint in done.err


def test_config_shows_suppressions_as_the_file_would_have_them(real: Audit, home: Path) -> None:
    text = (
        '[[suppress]]\nrule = "async-*"\ntenant = "a\\"b"\nreason = "x"\nowner = "me"\nexpires = 2027-01-31\n'
        'max_usd = "2.5"\n'
    )
    (home / "auditor.toml").write_text(text)

    assert text in real("config", "show").out


# --- baseline


def test_a_repository_with_a_leak_is_adopted_and_a_second_leak_fails(real: Audit, home: Path) -> None:
    old = [requests("api", 6, leaks=False), requests("api", 4, leaks=True)]
    first = written("first.jsonl", *old)
    assert real(first).code == 1
    adopted = real(first, "--baseline", "base.json", "--update-baseline")
    assert adopted.code == 0
    assert "note: base.json is written: 1 known finding; commit it\n" in adopted.err
    document = json.loads((home / "base.json").read_bytes())
    Draft202012Validator(baseline_schema()).validate(document)
    assert document["traffic"] == {"calls": 10, "spend": usd(10)}
    assert document["services"] == ["api"]
    (known,) = document["known"]
    assert (known["rule"], known["from"], known["to"], known["calls"], known["unattributed_cost"], known["share"]) == (
        "tenant-not-copied", "api", "api", 4, usd(4), 0.4,
    )  # fmt: skip

    # The next run has other ids, other times and twice the traffic.
    again = [*requests("api", 12, leaks=False, run="2"), *requests("api", 8, leaks=True, run="2")]
    code, told = report_of(real, written("second.jsonl", again), "--baseline", "base.json")
    assert code == 0
    assert told["findings"][0]["baseline"]["standing"] == "known"
    assert told["gate"]["known"] == {"calls": 8, "cost": usd(8), "share": 0.4}
    assert told["totals"]["unattributed"]["cost"] == usd(8)
    assert told["gate"]["warnings"] == []
    assert checks(told)["max-unattributed"] == (0, 0.1, True)

    # One call of 21 is a small share: below every limit, and new all the same.
    third = written("third.jsonl", again, requests("web", 1, leaks=True))
    code, told = report_of(real, third, "--baseline", "base.json")
    assert code == 1
    assert {found["hop"]["from"]: found["baseline"]["standing"] for found in told["findings"]} == {
        "api": "known", "web": "new",
    }  # fmt: skip
    assert checks(told)["baseline: new findings"] == (1, 0, False)
    assert checks(told)["max-unattributed"][2]
    out = " ".join(real(third, "--baseline", "base.json").out.split())
    lost, known = out.index("Where the tenant is lost"), out.index("Known, in the baseline calls")
    assert lost < out.index("2 tenant-not-copied") < out.index("new, not in the baseline") < known
    assert known < out.index("1 tenant-not-copied")
    assert "FAILED baseline: new findings 1, limit 0" in out

    # The repair passes.
    fixed = written("fixed.jsonl", again, requests("web", 1, leaks=False))
    assert report_of(real, fixed, "--baseline", "base.json")[0] == 0


def test_growth_beyond_the_tolerance_fails_and_counts_against_the_limit(real: Audit) -> None:
    first = written("first.jsonl", requests("api", 60, leaks=False), requests("api", 40, leaks=True))
    real(first, "--baseline", "base.json", "--update-baseline")

    within = written("within.jsonl", requests("api", 56, leaks=False), requests("api", 44, leaks=True))
    assert report_of(real, within, "--baseline", "base.json")[0] == 0
    assert report_of(real, within, "--baseline", "base.json", "--baseline-tolerance", "9%")[0] == 1
    beyond = written("beyond.jsonl", requests("api", 45, leaks=False), requests("api", 55, leaks=True))
    code, told = report_of(real, beyond, "--baseline", "base.json")

    assert code == 1
    assert told["findings"][0]["baseline"] == {
        "standing": "grown", "calls": 40, "cost": usd(40), "unattributed_cost": usd(40), "share": 0.4,
        "grown_cost": usd(15),
    }  # fmt: skip
    assert checks(told)["baseline: grown findings"] == (1, 0, False)
    assert checks(told)["max-unattributed"] == (0.15, 0.1, False)
    assert report_of(real, beyond, "--baseline", "base.json", "--baseline-tolerance", "none")[0] == 0


def test_a_rule_or_service_that_is_checked_no_longer_fails(real: Audit, home: Path) -> None:
    both = written("both.jsonl", requests("api", 3, leaks=False), requests("web", 3, leaks=False))
    real(both, "--baseline", "base.json", "--update-baseline")
    one = written("one.jsonl", requests("api", 3, leaks=False))

    code, told = report_of(real, one, "--baseline", "base.json")
    assert code == 1
    assert told["baseline"]["unchecked_services"] == ["web"]
    assert checks(told)["baseline: service web"] == ("not checked", "checked", False)

    (home / "auditor.toml").write_text("[rules.tenant-not-copied]\nenabled = false\n")
    code, told = report_of(real, both, "--baseline", "base.json")
    assert code == 1
    assert told["baseline"]["unchecked_rules"] == ["tenant-not-copied"]

    (home / "auditor.toml").unlink()
    assert report_of(real, both, "--baseline", "base.json")[0] == 0


def test_known_findings_do_not_fail_by_their_confidence(real: Audit) -> None:
    leak = written("t.jsonl", requests("api", 1, leaks=False), requests("api", 1, leaks=True))
    real(leak, "--baseline", "base.json", "--update-baseline")

    assert report_of(real, leak, "--baseline", "base.json", "--fail-on", "possible")[0] == 0
    assert report_of(real, leak, "--fail-on", "possible", "--max-unattributed", "none")[0] == 1


def test_leaks_that_are_gone_are_told_and_leave_with_the_update(real: Audit, home: Path) -> None:
    leak = written("leak.jsonl", requests("api", 1, leaks=False), requests("api", 1, leaks=True))
    real(leak, "--baseline", "base.json", "--update-baseline")
    fixed = written("fixed.jsonl", requests("api", 2, leaks=False))

    out = " ".join(real(fixed, "--baseline", "base.json").out.split())
    assert "Baseline base.json: 0 new, 0 known, 0 grown, 1 gone" in out
    assert "gone: tenant-not-copied at api (chat), was $0.0002100, 50.0 %" in out

    assert real(fixed, "--baseline", "base.json", "--update-baseline").code == 0
    assert json.loads((home / "base.json").read_bytes())["known"] == []


def test_the_same_input_writes_the_same_baseline(real: Audit, home: Path) -> None:
    leak = written("t.jsonl", requests("web", 2, leaks=True), requests("api", 3, leaks=True))
    real(leak, "--baseline", "a.json", "--update-baseline")
    turned = written("u.jsonl", requests("api", 3, leaks=True, run="9"), requests("web", 2, leaks=True, run="9"))
    real(turned, "--baseline", "b.json", "--update-baseline")

    assert (home / "a.json").read_bytes() == (home / "b.json").read_bytes()


def test_what_is_suppressed_is_not_adopted(real: Audit, home: Path) -> None:
    leak = written("t.jsonl", requests("web", 2, leaks=True), requests("api", 3, leaks=True))
    (home / "auditor.toml").write_text('[[suppress]]\nservice = "web"\nreason = "x"\n')
    real(leak, "--baseline", "base.json", "--update-baseline")
    assert [entry["from"] for entry in json.loads((home / "base.json").read_bytes())["known"]] == ["api"]
    assert report_of(real, leak, "--baseline", "base.json")[0] == 0

    (home / "auditor.toml").unlink()
    code, told = report_of(real, leak, "--baseline", "base.json")

    assert code == 1
    assert {found["hop"]["from"]: found["baseline"]["standing"] for found in told["findings"]} == {
        "api": "known", "web": "new",
    }  # fmt: skip


def test_another_roll_up_than_the_baselines_is_a_warning(real: Audit) -> None:
    traces = written("t.jsonl", requests("api", 2, leaks=False))
    real(traces, "--baseline", "base.json", "--update-baseline")

    _, told = report_of(real, traces, "--baseline", "base.json", "--rollup", "request")

    assert told["gate"]["warnings"] == ["the baseline was made with the roll-up call, this run with request"]


def test_the_settings_can_name_the_baseline(real: Audit, home: Path) -> None:
    leak = written("t.jsonl", requests("api", 1, leaks=True))
    (home / "auditor.toml").write_text('baseline = "base.json"\n')

    missing = real(leak)
    assert (missing.code, missing.err) == (
        2,
        "audit: baseline base.json: No such file or directory\nhint: --update-baseline writes it from this run\n",
    )
    assert real(leak, "--update-baseline").code == 0
    assert real(leak).code == 0
    # No verdict, no baseline.
    (home / "base.json").unlink()
    assert real("ledger", leak).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--update-baseline"], "--update-baseline needs a place"),
        (["--baseline", "t.jsonl", "--update-baseline"], "t.jsonl is an input; writing there would destroy it"),
        (["--baseline", "notes.txt", "--update-baseline"], "notes.txt is there and is no baseline"),
        (["--baseline", "r.json", "--update-baseline", "-f", "json=r.json"], "two formats are to be written to r.json"),
        (["--baseline", "gone/b.json", "--update-baseline"], "gone/b.json: there is no directory"),
        (["--baseline", "notes.txt"], "notes.txt is no baseline: not JSON"),
        (["--baseline", "gone.json"], "baseline gone.json: No such file or directory"),
        (["--baseline-tolerance", "200%"], '--baseline-tolerance is "200%": expected a share'),
    ],
)
def test_a_baseline_of_no_use_is_refused_and_nothing_is_touched(
    arguments: list[str], message: str, real: Audit, home: Path
) -> None:
    traces = written("t.jsonl", requests("api", 1, leaks=True))
    (home / "notes.txt").write_text("mine")
    before = (home / "t.jsonl").read_bytes()

    done = real(traces, *arguments)

    assert done.code == 2
    assert done.err.startswith(f"audit: {message}")
    assert (home / "notes.txt").read_text() == "mine"
    assert (home / "t.jsonl").read_bytes() == before
    assert sorted(path.name for path in home.iterdir()) == ["notes.txt", "t.jsonl"]


def test_an_incomplete_run_writes_no_baseline(real: Audit, home: Path) -> None:
    traces = written("t.jsonl", requests("api", 1, leaks=False))
    (home / traces).write_bytes((home / traces).read_bytes() + b"{broken\n")

    done = real(traces, "--baseline", "base.json", "--update-baseline", "--strict")
    assert done.code == 4
    assert "note: base.json is not written: the run is incomplete" in done.err
    assert not (home / "base.json").exists()

    assert real(traces, "--baseline", "base.json", "--update-baseline", "--no-strict").code == 0
    assert (home / "base.json").exists()


def test_an_input_without_calls_writes_no_baseline(real: Audit, home: Path) -> None:
    nothing = written("t.jsonl", [span()])

    assert real(nothing, "--baseline", "base.json", "--update-baseline").code == 3
    assert not (home / "base.json").exists()


def test_the_whole_story_in_processes_of_their_own(process: Audit, home: Path) -> None:
    old = [*requests("api", 6, leaks=False), *requests("api", 4, leaks=True)]
    written("main.jsonl", old)
    written("pr.jsonl", old, requests("api", 1, leaks=True, tenant="globex", run="2"), requests("web", 1, leaks=True))
    written("fixed.jsonl", old, requests("web", 1, leaks=False))
    gate = ("--baseline", "base.json", "-q")

    assert process("main.jsonl", "-q").code == 1
    assert process("main.jsonl", *gate, "--update-baseline").code == 0
    assert process("main.jsonl", *gate).code == 0
    assert process("pr.jsonl", *gate).code == 1
    assert process("fixed.jsonl", *gate).code == 0
    (home / "auditor.toml").write_text('[[suppress]]\nservice = "web"\nreason = "x"\nexpires = 2999-12-31\n')
    assert process("pr.jsonl", *gate).code == 0
    (home / "auditor.toml").write_text('[[suppress]]\nservice = "web"\nreason = "x"\nexpires = 2020-12-31\n')
    assert process("pr.jsonl", *gate).code == 1
    assert process("diff", "main.jsonl", "pr.jsonl", "--max-worse", "2%", "-q").code == 1
    assert process("diff", "main.jsonl", "fixed.jsonl", "--max-worse", "2%", "-q").code == 0
