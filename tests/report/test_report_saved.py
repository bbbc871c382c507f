"""A saved report says the same again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from report_builders import broken, clean, finding, hostile, report, totals, usd

from auditor.errors import InputError
from auditor.model.report import (
    BaselineUse,
    Compared,
    FeatureSeen,
    GoneFinding,
    Hop,
    HopKind,
    MapEdge,
    Report,
    ScopeSeen,
    ServiceSeen,
    Standing,
    Suppressed,
    SuppressionLine,
    SuppressionState,
)
from auditor.model.suppression import Suppression
from auditor.pipeline import audit
from auditor.report import RENDERERS, Screen, json_v1, saved
from auditor.settings import Settings

EXPORT = Path(__file__).parents[2] / "fixtures" / "exports" / "shop.jsonl.gz"


def judged() -> Report:
    """Everything that baselines and suppressions add."""
    plain = broken()
    return replace(
        plain,
        inputs=tuple(replace(entry, scopes=(ScopeSeen("openai", ("0.62.4",), 12),)) for entry in plain.inputs),
        findings=(
            finding(baseline=Compared(Standing.GROWN, 3, usd("1.5"), usd("0.000000000001"), 0.1, usd("7"))),
            finding(id="b", suppression=Suppressed((0,), 1, 2, 3, 4, 5, 6, is_whole=True)),
            finding(id="c", features=(FeatureSeen("summary", 4, usd("0.25")),), samples=()),
        ),
        suppressions=(
            SuppressionLine(
                Suppression("why", rule="async-*", owner="ann", expires=date(2026, 5, 1), max_cost=usd("12.5")),
                SuppressionState.EXPIRED,
                ("b",),
                4,
                usd("3"),
            ),
            SuppressionLine(Suppression("because"), SuppressionState.UNUSED, (), 0, 0),
        ),
        baseline=BaselineUse(
            "audit-baseline.json",
            0.05,
            is_updated=False,
            gone=(GoneFinding("async-drop", Hop("a", "b", HopKind.QUEUE), "chat", 2, usd("1"), 0.5),),
            unchecked_rules=("x",),
            unchecked_services=("y",),
        ),
        services=(ServiceSeen("api", ("1.2", "1.3")),),
        map_edges=(MapEdge("a", "b", HopKind.CUT, 1, 2, 3),),
        totals=totals(spend=10**30 + 1, input_tokens=2**70),
    )


REPORTS: dict[str, Callable[[], Report]] = {"broken": broken, "clean": clean, "judged": judged}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_read_back_as_it_was(name: str) -> None:
    before = REPORTS[name]()

    assert saved.read(json_v1.render(before)) == before


@pytest.mark.parametrize("name", [*REPORTS, "hostile"])
@pytest.mark.parametrize("form", RENDERERS)
def test_every_format_comes_out_as_from_the_traces(name: str, form: str) -> None:
    before = {**REPORTS, "hostile": hostile}[name]()
    if name == "hostile":  # what JSON cannot hold is escaped in it, once
        before = saved.read(json_v1.render(before))

    after = saved.read(json_v1.render(before))

    screen = Screen(width=100, color=False)
    assert RENDERERS[form](after, screen) == RENDERERS[form](before, screen)


def test_an_audit_is_read_back_with_its_digest() -> None:
    written = json_v1.render(audit([str(EXPORT)], Settings()).report)

    report_again = saved.read(written)

    assert json_v1.render(report_again) == written
    assert saved.is_untouched(written, report_again)


def test_a_changed_report_is_noticed() -> None:
    document = json.loads(json_v1.render(broken()))
    document["findings"][0]["calls"] += 1
    changed = json.dumps(document).encode()

    assert not saved.is_untouched(changed, saved.read(changed))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a report: not JSON"),
        (b"{}", "not a report: "),
        (b"[1]", "not a report: "),
        (b'{"resourceSpans": []}', "not a report: "),
    ],
)
def test_what_is_no_report_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InputError, match=why):
        saved.read(data)


def test_a_time_that_is_none_is_refused() -> None:
    text = json_v1.render(report()).replace(b"2026-11-01T", b"2026-13-01T")

    with pytest.raises(InputError, match="2026-13-01T"):
        saved.read(text)
