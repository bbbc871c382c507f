"""The report's figures as OpenMetrics 1.0 text, for a textfile collector or a push gateway.

Samples have no time stamps: the figures are of the export that was audited, and whoever scrapes them knows when.
"""

from __future__ import annotations

from auditor.model.report import Report
from auditor.report.measures import PREFIX, Gauge, gauges
from auditor.report.wording import visible


def render(report: Report) -> bytes:
    """Write the metric families, each with its type, unit and help, and the end mark."""
    lines = [
        f"# TYPE {PREFIX} info",
        f"# HELP {PREFIX} The program that made these figures.",
        f'{PREFIX}_info{{version="{_label(report.version)}",price_book="{_label(report.price_book)}"}} 1',
    ]
    for gauge in gauges(report):
        lines += _family(gauge)
    return ("\n".join([*lines, "# EOF"]) + "\n").encode()


def _family(gauge: Gauge) -> list[str]:
    name = f"{PREFIX}_{gauge.name.replace('.', '_')}" + (f"_{gauge.unit}" if gauge.unit else "")
    lines = [f"# TYPE {name} gauge"]
    if gauge.unit:
        lines.append(f"# UNIT {name} {gauge.unit}")
    lines.append(f"# HELP {name} {gauge.help}")
    for point in gauge.points:
        labels = ",".join(f'{key}="{_label(value)}"' for key, value in point.labels)
        lines.append(f"{name}{{{labels}}} {point.value}" if labels else f"{name} {point.value}")
    return lines


def _label(text: str) -> str:
    """Write a label's value: line ends, quotes and backslashes escaped, nothing invisible left."""
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')
