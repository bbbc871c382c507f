"""A difference as text: nothing from a file acts, nothing is lost in the JSON."""

from __future__ import annotations

import json
import re
from itertools import cycle, pairwise

import pytest
from jsonschema import Draft202012Validator
from report_builders import NASTY
from test_report_markdown import ACTIVE_TEXT, INERT, OUR_HTML, inline, parsed

from auditor.model.difference import Aspect, Change, Difference, Shift, Size, Trend, Whole
from auditor.model.report import Hop, HopKind
from auditor.report import Screen
from auditor.report.difference import FORMATS, points
from auditor.report.schema import diff_schema


def whole(name: str) -> Whole:
    return Whole(name, True, 10, 100, 1, 10, 0.1, 0, 0)


def hostile() -> Difference:
    """Every string that comes from a file is out to be more than text."""
    shifts = tuple(Shift(aspect, nasty, nasty, NASTY, (nasty,)) for nasty, aspect in zip(NASTY, cycle(Aspect)))
    return Difference(
        version="0",
        before=whole(NASTY[0]),
        after=whole(NASTY[3]),
        changes=tuple(
            Change(
                nasty or "nameless", nasty, Hop(nasty, nasty + "2", HopKind.QUEUE), nasty, trend,
                Size(1, 2, 0.1, 3), Size(1, 2, None, 0), 0.00001, 7, shifts[:3],
            )
            for trend in Trend
            for nasty in NASTY * 2
        ),
        shifts=shifts,
        worse_points=0.1,
        better_points=0.2,
        limit=0.01,
        passed=False,
        exit_code=1,
        notes=NASTY,
    )  # fmt: skip


def test_nothing_in_the_markdown_but_our_own_markup_is_active() -> None:
    tokens = parsed(FORMATS["markdown"](hostile(), Screen()).decode())

    pieces = list(inline(tokens))
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    html += [token.content for token in pieces if token.type == "html_inline"]
    strong = {after.content for token, after in pairwise(pieces) if token.type == "strong_open"}
    ours = r"<details><summary>(Better|Gone|The same) \(36\)</summary>|<!-- trace-auditor diff -->"
    assert {token.type for token in pieces} <= INERT
    assert [part for part in html if not OUR_HTML.fullmatch(part) and not re.fullmatch(ours, part)] == []
    assert strong == {"New (36)", "Worse (36)", "Not checked any more (36)", "Changed, beside no leak"}
    # Our own word for a small number: no tag begins with a digit.
    texts = [token.content.replace("<0.1", "") for token in pieces if token.type == "text"]
    assert [text for text in texts if ACTIVE_TEXT.search(text)] == []


def test_every_row_of_the_markdown_has_the_cells_of_its_head() -> None:
    counts: list[int] = []
    for token in parsed(FORMATS["markdown"](hostile(), Screen()).decode()):
        if token.type == "tr_open":
            counts.append(0)
        counts[-1:] = [counts[-1] + (token.type in {"th_open", "td_open"})] if counts else []

    assert set(counts) == {4, 6}


def test_the_terminal_gets_no_control_character_and_every_change_is_told_or_counted() -> None:
    text = FORMATS["terminal"](hostile(), Screen()).decode()

    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    # 36 of each trend: 20 are shown.
    assert text.count("  … and 16 more\n") == len(Trend)
    assert text.count(" points  ") == 20 * len(Trend)


def test_colour_is_as_asked() -> None:
    plain, coloured = (FORMATS["terminal"](hostile(), Screen(color=color)).decode() for color in (False, True))

    assert "\x1b" not in plain
    assert "\x1b[31mNew\x1b[0m" in coloured


def test_the_json_follows_its_schema_and_holds_everything() -> None:
    difference = hostile()

    document = json.loads(FORMATS["json"](difference, Screen()))

    Draft202012Validator.check_schema(diff_schema())
    Draft202012Validator(diff_schema()).validate(document)
    assert len(document["changes"]) == len(difference.changes)
    assert document["changes"][0]["hop"] == {"from": NASTY[0], "to": NASTY[0] + "2", "kind": "queue"}
    assert document["changes"][0]["cost_change"] == "0.000000000007"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0.0"), (0.02, "+2.0"), (-0.015, "-1.5"), (0.00001, "+<0.1"), (-0.00001, "-<0.1"), (1.0, "+100.0")],
)
def test_points_are_never_none_for_what_is_only_small(number: float, text: str) -> None:
    assert points(number) == text
