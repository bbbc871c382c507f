from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from report_builders import (
    NASTY,
    accepted,
    amount,
    broken,
    clean,
    finding,
    gate,
    hostile,
    report,
    source,
    totals,
    usd,
)
from rich.cells import cell_len

from auditor.model.report import Concentration, GateCheck, Hop, HopKind, NotChecked, Report
from auditor.report import terminal
from auditor.report.colour import wants_colour

SGR = re.compile(r"\x1b\[[0-9;]*m")
REPORTS: dict[str, Callable[[], Report]] = {
    "accepted": accepted,
    "broken": broken,
    "clean": clean,
    "hostile": hostile,
}


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", REPORTS)
def test_report_looks_as_reviewed(name: str, width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"report/{name}_{width}.txt", terminal.render(REPORTS[name](), width=width))


@pytest.mark.parametrize("width", [60, 79, 80, 100, 119, 120, 200])
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    lines = terminal.render(REPORTS[name](), width=width).splitlines()

    assert [line for line in lines if cell_len(line) > width] == []


def test_a_name_of_many_wide_characters_stays_inside_the_terminal() -> None:
    wide = "漢" * 500
    long = finding(rule=wide, route=(wide, wide), hop=Hop(wide, wide, HopKind.THREAD), remedy=wide)

    lines = terminal.render(replace(broken(), findings=(long,), inputs=(source(path=wide),)), width=80).splitlines()

    assert max(map(cell_len, lines)) <= 80


@pytest.mark.parametrize("name", REPORTS)
def test_colour_adds_nothing_but_colour(name: str) -> None:
    plain = terminal.render(REPORTS[name](), width=80, color=False)
    coloured = terminal.render(REPORTS[name](), width=80, color=True)

    assert "\x1b" not in plain
    assert SGR.search(coloured)
    assert SGR.sub("", coloured) == plain


def test_a_style_ends_where_its_words_end() -> None:
    first, *_ = terminal.render(clean(), color=True).splitlines()

    assert first.startswith("\x1b[1mtraces.json\x1b[0m  1,204 spans  182 calls")
    assert first.count("\x1b") == 2


def test_empty_sentences_leave_no_trace_of_trouble() -> None:
    empty = replace(broken().plan[0], remedy="")

    assert "31.4 % → 16.1 %" in terminal.render(replace(broken(), plan=(empty,), notes=("", " ")))


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = terminal.render(broken())

    for name, value in {"COLUMNS": "200", "FORCE_COLOR": "1", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)

    assert terminal.render(broken()) == before


@pytest.mark.parametrize("nasty", ["[bold red]markup[/bold red]", ":smiley:", "[link=http://evil.test]x[/link]", "[/]"])
def test_markup_from_a_file_is_shown_as_it_is(nasty: str) -> None:
    shown = terminal.render(report(findings=(finding(remedy=nasty, rule=nasty),), inputs=(source(path=nasty),)))

    assert shown.count(nasty) == 2


def test_control_characters_from_a_file_are_shown_as_escapes() -> None:
    shown = terminal.render(report(inputs=(source(path="a\x1b[31m\u202eb\n\x07\x9b"),)))

    assert "a\\x1b[31m\\u202eb\\n\\x07\\x9b" in shown


def test_no_hostile_string_reaches_the_terminal_raw() -> None:
    shown = terminal.render(hostile(), width=200, color=True)

    left = set(SGR.sub("", shown)) & set("".join(NASTY))
    assert left.isdisjoint("\x1b\x07\r\u202e\u2066\u200b\ufeff\u2028\u2029\udcff")


def test_the_share_and_the_verdict_come_right_after_what_was_read() -> None:
    first, empty, second, *_ = terminal.render(broken()).splitlines()

    assert first.startswith("traces.json  1,204,331 spans  182,114 calls  14 services")
    assert empty == ""
    assert second == "31.4 %  of $12,431.07 has no tenant    gate FAILED: max-unattributed 10 %"


def test_a_clean_run_is_short() -> None:
    lines = terminal.render(clean()).splitlines()

    assert lines[2] == "0.0 %   of $12.43 has no tenant    gate passed"
    assert len(lines) <= 12
    assert "Where the tenant is lost" not in lines


def test_a_clean_run_still_says_what_was_not_checked_and_not_read() -> None:
    shown = terminal.render(
        report(
            inputs=(source(rejected=7),),
            not_checked=(NotChecked("async-drop", "no span kinds"),),
            totals=totals(unpriced=amount(5), unmetered=amount(1)),
        ),
        width=100,
    )

    assert "not in these figures: 1 call unmetered, 5 calls unpriced, 7 records rejected" in shown
    assert "Not checked   async-drop: no span kinds" in shown
    assert "Rejected      7 records" in shown


def test_calls_without_any_spend_have_no_share() -> None:
    shown = terminal.render(report(totals=totals(unattributed=amount(3), audited_spend=0, spend=0)))

    assert "no spend to take a share of; 3 of 182 calls have no tenant" in shown


def test_findings_beyond_the_table_are_summed() -> None:
    most = terminal.MOST_FINDINGS
    many = tuple(
        finding(
            id=f"f{number}",
            unattributed_calls=10,
            unattributed_cost=usd("2.5"),
            recoverable_cost=usd("0.5"),
            share=0.01,
        )
        for number in range(most + 30)
    )

    shown = terminal.render(report(findings=many), width=140)

    (line,) = [line for line in shown.splitlines() if "and 30 more" in line]
    assert line.split() == ["…", "and", "30", "more", "300", "$75.00", "30.0", "%", "$15.00"]


def test_tenants_beyond_the_table_keep_the_rest_of_the_money() -> None:
    shown = terminal.render(broken())

    (line,) = [line for line in shown.splitlines() if "and 26 more" in line]
    assert line.split()[-2:] == ["$123.03", "$0.00"]


def test_calls_with_a_tenant_are_not_shown_as_losing_it() -> None:
    losing, others = terminal.render(broken()).split("Also found, tenant known")

    assert "tenant-conflict" not in losing
    assert "tenant-conflict" in others.split("Repair first")[0]


def test_the_step_at_which_the_gate_passes_is_marked_once() -> None:
    shown = terminal.render(broken())

    (line,) = [line for line in shown.splitlines() if "gate passes" in line]
    assert "16.1 % → 7.1 %" in line


def test_a_failed_gate_that_does_not_fail_the_run_says_so() -> None:
    failed = gate(passed=False, checks=(GateCheck("max-lost", "0.1", "0.2", passed=False, hint=""),))

    assert "gate FAILED: max-lost 10 % (exit code 0 all the same)" in terminal.render(report(gate=failed))


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        (Hop("api", "jobs", HopKind.QUEUE), "api ⇢ jobs → summary (chat)"),
        (Hop("jobs", "summary", HopKind.PROCESS), "api → jobs → summary (chat)"),
        (Hop("jobs", "jobs", HopKind.THREAD), "api → jobs → summary (chat)"),
    ],
)
def test_a_route_marks_the_queue_where_the_tenant_is_lost(hop: Hop, expected: str) -> None:
    assert expected in terminal.render(report(findings=(finding(hop=hop),)))


def test_a_long_route_leaves_out_its_middle() -> None:
    route = tuple(f"s{number}" for number in range(12))

    shown = terminal.render(report(findings=(finding(route=route, hop=Hop("s0", "s1", HopKind.PROCESS)),)))

    assert "s0 → s1 → s2 → … 5 services … → s8 → s9 → s10 → s11 (chat)" in shown


def test_a_command_to_copy_is_quoted() -> None:
    plain = finding()
    sample = replace(plain.samples[0], trace_id="x; rm -rf ~")

    shown = terminal.render(report(findings=(replace(plain, samples=(sample,)),)))

    assert "audit explain 'x; rm -rf ~' traces.json" in shown


def test_no_tenant_at_all_is_said() -> None:
    assert "Tenants       none on any call" in terminal.render(
        report(tenants=(), concentration=Concentration(0, None, None, 0, None))
    )


@pytest.mark.parametrize(
    ("environ", "is_terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_colour_is_chosen_by_environment_and_terminal(
    environ: dict[str, str], is_terminal: bool, expected: bool
) -> None:
    assert wants_colour(environ, is_terminal=is_terminal) is expected
