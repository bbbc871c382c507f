"""The report as GitLab's Code Quality JSON: findings in the merge request's widget and beside its lines.

The fields are those that GitLab reads of Code Climate's format (docs.gitlab.com, "Code Quality report format"):
``description``, ``check_name``, ``fingerprint``, ``severity``, ``location.path``, ``location.lines.begin``.
"""

from __future__ import annotations

import orjson

from auditor.model.report import Confidence, Finding, Report
from auditor.report import levels, short
from auditor.report.levels import Level
from auditor.report.wording import visible

_SEVERITIES = {Level.ERROR: "major", Level.WARNING: "minor", Level.NOTE: "info"}
_NOWHERE = ("auditor.toml", 1)
"""GitLab drops a finding without a file: one that has none stands where it would be settled."""


def render(report: Report) -> bytes:
    """Write the findings as one JSON array with a final newline."""
    issues = [_issue(level, finding) for level, finding in levels.by_level(report)]
    return orjson.dumps(issues, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _issue(level: Level, finding: Finding) -> dict[str, object]:
    path, line = short.place_in_repository(finding) or _NOWHERE
    sure = finding.confidence is Confidence.CERTAIN
    return {
        "description": short.message(finding),
        "check_name": visible(finding.rule),
        "fingerprint": visible(finding.id),
        "severity": "critical" if level is Level.ERROR and sure else _SEVERITIES[level],
        "location": {"path": visible(path, 1_000), "lines": {"begin": line}},
    }
