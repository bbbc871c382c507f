"""The report as SARIF 2.1.0 (OASIS standard), for code scanning: a finding is a result.

A result stands at the line of code that made the sampled call where its span tells (``code.file.path``), so that a
code host shows it beside the change; else at the line of the span in the input. Its fingerprints are made of the
cause (rule, hop, operation) and so are the same in every run; GitHub compares ``primaryLocationLineHash`` only.
"""

from __future__ import annotations

from typing import Any

import orjson

from auditor.model.money import to_decimal_string
from auditor.model.report import Finding, InputSummary, Report, Sample, Standing
from auditor.report import json_v1, levels, short
from auditor.report.wording import count, sentence, visible

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
VERSION = "2.1.0"
FINGERPRINT = "traceAuditorCause/v1"
_ROOT = "%SRCROOT%"
"""Symbolic name of the repository's root, as SARIF producers use it by convention."""

_BASELINE_STATES = {Standing.NEW: "new", Standing.KNOWN: "unchanged", Standing.GROWN: "updated"}

Object = dict[str, Any]


def render(report: Report) -> bytes:
    """Write the report as one run of SARIF, indented, with a final newline."""
    rules = _rules(report)
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    run: Object = {
        "tool": {"driver": {"name": json_v1.TOOL, "version": visible(report.version), "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the repository."}}},
        "invocations": [_invocation(report)],
        "results": [_result(finding, report, index) for finding in report.findings],
        "properties": {"digest": json_v1.digest(report)},
    }
    log = {"$schema": SCHEMA, "version": VERSION, "runs": [run]}
    return orjson.dumps(log, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _rules(report: Report) -> list[Object]:
    """Describe the rules that found something, then name those that ran and found nothing."""
    rules: dict[str, Object] = {}
    for finding in report.findings:
        id_ = visible(finding.rule)
        rules.setdefault(
            id_,
            {
                "id": id_,
                "shortDescription": {"text": _text(finding.title)},
                "help": {"text": f"audit explain {_escaped(id_)} prints what goes wrong and how to repair it."},
                "properties": {"tags": ["cost-attribution"]},
            },
        )
    for name in report.rules_run:
        rules.setdefault(visible(name), {"id": visible(name)})
    return list(rules.values())


def _result(finding: Finding, report: Report, index: dict[str, int]) -> Object:
    related = [_location(sample, number) for number, sample in enumerate(finding.samples)]
    return {
        "ruleId": visible(finding.rule),
        "ruleIndex": index[visible(finding.rule)],
        "level": levels.level(finding, report).value,
        "message": {"text": _escaped(short.message(finding))},
        "locations": [_primary(finding)],
        **({"relatedLocations": related} if related else {}),
        **_standing(finding, report),
        "partialFingerprints": {
            FINGERPRINT: visible(finding.id),
            "primaryLocationLineHash": f"{visible(finding.id)}:1",
        },
        "occurrenceCount": max(finding.calls, 1),
        "properties": {
            "confidence": finding.confidence.value,
            "calls": finding.calls,
            "costUsd": to_decimal_string(finding.cost),
            "unattributedCalls": finding.unattributed_calls,
            "unattributedCostUsd": to_decimal_string(finding.unattributed_cost),
            "recoverableCostUsd": to_decimal_string(finding.recoverable_cost),
            "unmeteredCalls": finding.unmetered_calls,
            "share": finding.share,
            "evidence": [sentence(text) for text in finding.evidence],
            "alsoFits": [visible(rule) for rule in finding.also_fits],
        },
    }


def _standing(finding: Finding, report: Report) -> Object:
    """Say what the baseline and the suppressions say of a result."""
    standing: Object = {}
    if finding.baseline is not None:
        standing["baselineState"] = _BASELINE_STATES[finding.baseline.standing]
    if finding.suppression is not None and finding.suppression.is_whole:
        entries = [report.suppressions[position].entry for position in finding.suppression.by]
        standing["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": sentence(entry.reason)} for entry in entries
        ]
    return standing


def _primary(finding: Finding) -> Object:
    code, sample = short.code_place(finding), short.first_sample(finding)
    logical = [
        {"name": visible(service), "kind": "module"}
        for service in dict.fromkeys((finding.hop.source, finding.hop.target))
    ]
    if code is not None and short.is_in_repository(code.file):
        return {"physicalLocation": _physical(code.file, code.line), "logicalLocations": logical}
    if sample is not None:
        return {"physicalLocation": _physical(sample.input, sample.line), "logicalLocations": logical}
    return {"logicalLocations": logical}


def _location(sample: Sample, number: int) -> Object:
    """The span itself, wherever the result stands."""
    return {
        "id": number,
        "physicalLocation": _physical(sample.input, sample.line),
        "message": {
            "text": _escaped(f"span {visible(sample.span_id)} of trace {visible(sample.trace_id)}{_made(sample)}")
        },
    }


def _made(sample: Sample) -> str:
    code = sample.code
    return f", made at {visible(code.file)}:{code.line}" if code else ""


def _physical(path: str, line: int) -> Object:
    written = short.uri(path)
    base = {} if "://" in written else {"uriBaseId": _ROOT}
    return {"artifactLocation": {"uri": written, **base}, "region": {"startLine": max(line, 1)}}


def _invocation(report: Report) -> Object:
    notes = [
        _notification("note", f"Not checked: {visible(line.rule)}: {sentence(line.reason)}")
        for line in report.not_checked
    ]
    notes += [_notification("warning", _rejected(entry)) for entry in report.inputs if entry.rejected]
    notes += [
        _notification("error" if report.gate.exit_code else "warning", f"{visible(check.name)}: {short.against(check)}")
        for check in report.gate.checks
        if not check.passed
    ]
    notes += [_notification("warning", sentence(text)) for text in report.gate.warnings]
    return {"executionSuccessful": True, "exitCode": report.gate.exit_code, "toolExecutionNotifications": notes}


def _rejected(entry: InputSummary) -> str:
    return f"{visible(entry.path)}: {count(entry.rejected, 'record')} could not be read"


def _notification(level: str, text: str) -> Object:
    return {"level": level, "message": {"text": _escaped(text)}}


def _text(text: str) -> str:
    return _escaped(sentence(text))


def _escaped(text: str) -> str:
    """Take the meaning from what SARIF (section 3.11.6) reads as links and escapes in plain text."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
