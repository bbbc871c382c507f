"""The report's figures as OTLP/JSON metrics: an ``ExportMetricsServiceRequest`` to post to ``/v1/metrics``.

Points stand at the end of the audited time, not at the time of the run: the same export gives the same bytes.
"""

from __future__ import annotations

from typing import Any

import orjson

from auditor.model.report import Report
from auditor.report import json_v1
from auditor.report.measures import PREFIX, Gauge, Point, gauges
from auditor.report.wording import visible

_UNITS = {"ratio": "1", "usd": "{USD}", "": "1"}
"""UCUM has no currencies; what stands in braces is an annotation."""


def render(report: Report) -> bytes:
    """Write one request with a gauge for every figure."""
    scope = {"name": json_v1.TOOL, "version": visible(report.version)}
    metrics = [_metric(gauge, report.end_ns or 0) for gauge in gauges(report) if gauge.points]
    resource = {"attributes": [_attribute("service.name", json_v1.TOOL), _attribute("service.version", report.version)]}
    request = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": metrics}]}]}
    return orjson.dumps(request, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _metric(gauge: Gauge, time_ns: int) -> dict[str, Any]:
    is_count = not gauge.unit
    return {
        "name": f"{PREFIX}.{gauge.name}",
        "description": gauge.help,
        "unit": _UNITS[gauge.unit],
        "gauge": {"dataPoints": [_point(point, time_ns, is_count=is_count) for point in gauge.points]},
    }


def _point(point: Point, time_ns: int, *, is_count: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"asInt": point.value} if is_count else {"asDouble": float(point.value)}
    attributes = [_attribute(key, text) for key, text in point.labels]
    return {"timeUnixNano": str(time_ns), **value, **({"attributes": attributes} if attributes else {})}


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": visible(value)}}
