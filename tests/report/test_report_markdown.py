from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from report_builders import NASTY, accepted, broken, clean, finding, gate, hostile, report, source, usd

from auditor.model.report import (
    CandidateKey,
    GateCheck,
    Hop,
    HopKind,
    NotChecked,
    Range,
    Rejection,
    Repair,
    Report,
    Sample,
    TenantKey,
    TenantLine,
)
from auditor.report import markdown

REPORTS: dict[str, Callable[[], Report]] = {
    "accepted": accepted,
    "broken": broken,
    "clean": clean,
    "hostile": hostile,
}
OUR_HTML = re.compile(r"<details><summary>[\w :,]+</summary>|</details>|</?sub>|<!-- trace-auditor -->")
INERT = {"text", "code_inline", "softbreak", "strong_open", "strong_close", "html_inline"}
OUR_STRONG = re.compile(
    r"[⇢→]|failed|warning|gate passes|\d+|[\d.]+ %"
    r"|Where the tenant is lost|Also found, tenant known|Repair first|Suppressions|Baseline"
)
ACTIVE_TEXT = re.compile(r"[@<>\[\]|`*_~\\]|://|www\.|#\d|:\w+:|(?<![\w.])[0-9a-f]{7,}|GH-", re.IGNORECASE)


def parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


@pytest.mark.parametrize("name", REPORTS)
def test_report_reads_as_reviewed(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"report/{name}.md", markdown.render(REPORTS[name]()))


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_but_our_own_markup_is_active(name: str) -> None:
    tokens = parsed(markdown.render(REPORTS[name]()))

    pieces = list(inline(tokens))
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    html += [token.content for token in pieces if token.type == "html_inline"]
    strong = [after.content for token, after in pairwise(pieces) if token.type == "strong_open"]
    assert {token.type for token in pieces} <= INERT
    assert [part for part in html if not OUR_HTML.fullmatch(part)] == []
    assert [part for part in strong if not OUR_STRONG.fullmatch(part)] == []
    assert [token.content for token in pieces if token.type == "text" and ACTIVE_TEXT.search(token.content)] == []


@pytest.mark.parametrize("name", REPORTS)
def test_every_row_of_a_table_has_the_cells_of_its_head(name: str) -> None:
    counts: list[int] = []
    rows = 0
    for token in parsed(markdown.render(REPORTS[name]())):
        if token.type == "table_open":
            counts = []
        elif token.type == "tr_open":
            counts.append(0)
        elif token.type in {"th_open", "td_open"}:
            counts[-1] += 1
        elif token.type == "table_close":
            rows += len(counts)
            assert len(set(counts)) == 1
    assert rows == sum(
        line.startswith("|") and not line.startswith("| --") for line in markdown.render(REPORTS[name]()).splitlines()
    )


@given(st.text(max_size=200) | st.sampled_from(NASTY))
def test_a_name_is_one_code_span_wherever_it_stands(name: str) -> None:
    code = markdown.code(name)

    alone = list(inline(parsed(f"x {code} y")))
    cells = [token for token in parsed(f"| a | b |\n| --- | --- |\n| {code} | z |") if token.type == "inline"]
    assert [token.type for token in alone] == ["text", "code_inline", "text"]
    assert [cell.content for cell in cells] == ["a", "b", code, "z"]


@given(st.lists(st.text(max_size=30) | st.sampled_from(NASTY) | st.just("`")).map(" ".join))
def test_a_sentence_holds_nothing_but_plain_words_and_code(sentence: str) -> None:
    pieces = list(inline(parsed(f"- x {markdown.prose(sentence)} y")))

    assert {token.type for token in pieces} <= {"text", "code_inline"}
    assert not any(ACTIVE_TEXT.search(token.content) for token in pieces if token.type == "text")


@given(st.text(max_size=100) | st.sampled_from(NASTY))
def test_a_sentence_begins_no_block_of_its_own(sentence: str) -> None:
    blocks = [token.type for token in parsed(f"- {markdown.prose(sentence)}")]

    assert set(blocks) <= {
        "bullet_list_open",
        "list_item_open",
        "paragraph_open",
        "inline",
        "paragraph_close",
        "list_item_close",
        "bullet_list_close",
    }


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Put `tenant.id` into baggage.", "Put `tenant.id` into baggage."),
        ("read tenant.id, then stop", "read `tenant.id`, then stop"),
        ("ask @everyone", "ask `\\x40everyone`"),
        ("mail ann@example.test", "mail `ann@example.test`"),
        ("see http://evil.test/x", "see `http://evil.test/x`"),
        ("a lone ` tick", "a lone `\\x60` tick"),
        ("about $1,904.11 (15.3 %)", "about $1,904.11 (15.3 %)"),
        ("since deadbeef", "since `deadbeef`"),
        ("1. one", "`1`. one"),
        ("", ""),
    ],
)
def test_sentences_stay_readable(sentence: str, expected: str) -> None:
    assert markdown.prose(sentence) == expected


def crowd(character: str, number: int) -> Report:
    """Everything that can be long is as long as can be."""
    long = character * 3000
    words = f"{character} " * 1500
    names = [f"{index} {long}" for index in range(60)]

    def name(index: int) -> str:
        return names[index % len(names)]

    many = range(number)
    findings = tuple(
        finding(
            id=f"f{index}",
            rule=name(index),
            title=words,
            hop=Hop(name(1), name(2), HopKind.PROCESS),
            route=tuple(names),
            operation=name(index),
            unattributed_calls=0 if index % 2 else 3,
            unattributed_cost=0 if index % 2 else usd("1.25"),
            share=0.0002,
            unmetered_calls=5,
            unmetered_estimate=Range(usd("1"), usd("2")),
            evidence=(words,) * 20,
            samples=(Sample(name(index), name(index), name(index), index),) * 5,
            also_fits=tuple(names),
            remedy=words,
        )
        for index in many
    )
    return replace(
        broken(),
        version=long,
        inputs=tuple(
            source(
                path=name(index),
                format=long,
                notes=(words,) * 3,
                rejected=2,
                rejections=(Rejection(1, 2, words),),
            )
            for index in range(300)
        ),
        findings=findings,
        tenants=tuple(TenantLine(name(index), 1, usd("0.5"), 0, 0.001) for index in range(300)),
        tenant_keys=tuple(TenantKey(name(index), 1) for index in range(100)),
        candidate_keys=tuple(CandidateKey(name(index), 0.5, 3, 1) for index in range(100)),
        not_checked=tuple(NotChecked(name(index), words) for index in range(100)),
        plan=tuple(
            Repair(
                Hop(name(1), name(2), HopKind.QUEUE),
                name(index),
                words,
                ("f1",),
                usd("1"),
                0.1,
                gate_passes=False,
            )
            for index in range(300)
        ),
        gate=gate(
            passed=False,
            exit_code=1,
            checks=tuple(GateCheck(name(index), "0.1", "0.2", passed=False, hint=words) for index in range(100)),
            warnings=(words,) * 100,
        ),
        price_book=long,
        rollup=long,
        notes=(words,) * 100,
    )


@pytest.mark.parametrize("character", ["x", "|", "`", "@", "\x1b", "\U000e0001", "漢", "😀", "_"])
def test_a_report_of_any_size_fits_a_comment(character: str) -> None:
    text = markdown.render(crowd(character, 300))

    assert len(text) < 60_000
    assert len(text.encode()) < 60_000
    assert text.endswith("\n<!-- trace-auditor -->\n")
    assert text.count("<details>") == text.count("</details>")


def test_five_thousand_findings_fit_a_comment_and_none_of_the_money_is_lost() -> None:
    text = markdown.render(crowd("name ", 5000))

    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    start = next(index for index, row in enumerate(rows) if row[2:3] == ["rule"] and "share" in row)
    end = next(index for index, row in enumerate(rows) if index > start and row[2].startswith("… and"))
    shown = rows[start + 2 : end]
    calls = sum(int(row[4]) for row in shown)
    assert len(text) < 60_000
    assert rows[end][2] == f"… and {2500 - len(shown):,} more"
    assert int(rows[end][4].replace(",", "")) + calls == 7500
    assert rows[end][5] == f"${3125 - 1.25 * len(shown):,.2f}"


def test_a_short_report_is_not_cut() -> None:
    assert "more" not in markdown.render(clean())


def test_the_verdict_comes_first() -> None:
    assert markdown.render(broken()).startswith("### ❌ 31.4 % of $12,431.07 has no tenant: gate failed\n")
    assert markdown.render(clean()).startswith("### ✅ 0.0 % of $12.43 has no tenant: gate passed\n")


def test_a_warning_shows_in_the_verdict() -> None:
    warned = report(gate=gate(warnings=("2 calls are unpriced",)))

    assert markdown.render(warned).startswith("### ⚠️ 0.0 % of $12.43")


def test_rules_that_were_not_checked_show_unfolded() -> None:
    unfolded, _, _ = markdown.render(clean()).partition("<details>")

    assert "3 rules run, 1 not checked" in unfolded


def test_the_marker_cannot_be_forged() -> None:
    text = markdown.render(hostile())

    assert text.count(markdown.MARKER) == 1
    assert text.endswith(f"{markdown.MARKER}\n")
