"""The figures of a report that are watched over time: the same ones as OpenMetrics and as OTLP."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from auditor.model.money import to_decimal_string
from auditor.model.report import Report

PREFIX = "trace_auditor"


@dataclass(frozen=True, slots=True)
class Point:
    """One value with its labels."""

    value: str
    """A decimal number."""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure of one run; none of them only grows, so all are gauges."""

    name: str
    """In words joined by dots, without the unit."""
    help: str
    points: tuple[Point, ...]
    unit: str = ""
    """``ratio``, ``usd``, or none for a count."""


def gauges(report: Report) -> list[Gauge]:
    """List the figures in the order in which they are written; what is unknown has no point."""
    totals = report.totals
    amounts = (
        ("direct", totals.direct),
        ("recoverable", totals.recoverable),
        ("lost", totals.lost),
        ("internal", totals.internal),
    )
    by_rule: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for finding in report.findings:
        by_rule[finding.rule][0] += finding.unattributed_cost
        by_rule[finding.rule][1] += finding.calls
    share = totals.unattributed.share
    return [
        Gauge(
            "unattributed",
            "Share of the audited spend that has no tenant.",
            () if share is None else (Point(repr(share)),),
            "ratio",
        ),
        Gauge(
            "spend",
            "Cost of the calls by what is known of their tenant; direct, recoverable and lost make the audited spend.",
            tuple(Point(to_decimal_string(amount.cost), (("status", name),)) for name, amount in amounts),
            "usd",
        ),
        Gauge(
            "calls",
            "Calls by what is known of their tenant.",
            tuple(Point(str(amount.calls), (("status", name),)) for name, amount in amounts),
        ),
        Gauge(
            "rule.unattributed",
            "Cost without a tenant by the rule that explains it.",
            tuple(Point(to_decimal_string(cost), (("rule", rule),)) for rule, (cost, _) in sorted(by_rule.items())),
            "usd",
        ),
        Gauge(
            "rule.calls",
            "Calls of the findings of a rule.",
            tuple(Point(str(calls), (("rule", rule),)) for rule, (_, calls) in sorted(by_rule.items())),
        ),
        Gauge(
            "excused.unattributed",
            "Cost without a tenant that the verdict leaves out, by why.",
            tuple(
                Point(to_decimal_string(amount.cost), (("why", why),))
                for why, amount in (("baseline", report.gate.known), ("suppression", report.gate.suppressed))
            ),
            "usd",
        ),
        Gauge("unmetered.calls", "Calls whose usage is not in the input.", (Point(str(totals.unmetered.calls)),)),
        Gauge("unpriced.calls", "Calls without a known price.", (Point(str(totals.unpriced.calls)),)),
        Gauge(
            "rejected.records",
            "Records that could not be read.",
            (Point(str(sum(entry.rejected for entry in report.inputs))),),
        ),
        Gauge("gate.passed", "1 where every limit holds, else 0.", (Point(str(int(report.gate.passed))),)),
    ]
