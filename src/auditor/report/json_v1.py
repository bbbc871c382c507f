"""The report as JSON, schema version ``json-v1``: money as decimal strings in USD, shares as numbers 0-1.

``schema/report.schema.json`` describes it. The ``digest`` is the SHA-256 of the report without itself, without
``inputs``, ``totals.duplicates``, the ``input``, ``line`` and ``code`` of samples, the places of settings and the path
of the baseline, written as UTF-8 JSON with sorted keys and no white space: two runs over the same records, in any order
or split, have the same digest, and so have runs over records of which some came twice.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import orjson

from auditor.model.money import to_decimal_string
from auditor.model.report import (
    Amount,
    BaselineUse,
    Compared,
    Finding,
    Gate,
    GateCheck,
    GateUnit,
    Hop,
    InputSummary,
    Range,
    Repair,
    Report,
    Sample,
    Suppressed,
    SuppressionLine,
    Totals,
)
from auditor.report.wording import utc

SCHEMA_VERSION = "json-v1"
"""Names the shape of the document; changes only when a reader of the old shape would break."""

TOOL = "trace-auditor"

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | orjson.Fragment | None"
Object: TypeAlias = dict[str, Json]

_LARGEST = 2**64 - 1
"""The largest integer that orjson writes itself."""


def render(report: Report) -> bytes:
    """Write the report as indented JSON with a final newline."""
    document: Object = {
        "schema_version": SCHEMA_VERSION,
        "tool": _tool(report),
        "digest": digest(report),
        "inputs": [_input(source) for source in report.inputs],
        **_answer(report, positions=True),
    }
    return orjson.dumps(_well_formed(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def digest(report: Report) -> str:
    """Give the SHA-256 of the report without inputs, positions and what came twice, as 64 hex digits."""
    totals = _totals(report.totals)
    del totals["duplicates"]
    document: Object = {
        "schema_version": SCHEMA_VERSION,
        "tool": _tool(report),
        **_answer(report, positions=False),
        "totals": totals,
    }
    return hashlib.sha256(orjson.dumps(_well_formed(document), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _answer(report: Report, *, positions: bool) -> Object:
    """Everything that depends on the records alone and, if asked for, on where they were read."""
    return {
        "time_range": _time_range(report.start_ns, report.end_ns),
        "totals": _totals(report.totals),
        "findings": [_finding(finding, positions=positions) for finding in report.findings],
        "joins": {line.join: {"calls": line.calls, "cost": _money(line.cost)} for line in report.joins},
        "tenants": [
            {
                "tenant_id": line.tenant_id,
                "calls": line.calls,
                "direct_cost": _money(line.direct_cost),
                "recovered_cost": _money(line.recovered_cost),
                "share": line.share,
            }
            for line in report.tenants
        ],
        "concentration": {
            "tenants": report.concentration.tenants,
            "top_5_percent_share": report.concentration.top_5_percent_share,
            "top_10_percent_share": report.concentration.top_10_percent_share,
            "tenants_for_80_percent": report.concentration.tenants_for_80_percent,
            "herfindahl": report.concentration.herfindahl,
        },
        "readiness": {
            line.field: {"calls_share": line.calls_share, "cost_share": line.cost_share} for line in report.readiness
        },
        "tenant_keys": [{"key": line.key, "calls": line.calls} for line in report.tenant_keys],
        "candidate_keys": [
            {
                "key": line.key,
                "coverage": line.coverage,
                "distinct": line.distinct,
                "known_values": line.known_values,
            }
            for line in report.candidate_keys
        ],
        "not_checked": [{"rule": line.rule, "reason": line.reason} for line in report.not_checked],
        "rules_run": list(report.rules_run),
        "plan": [_repair(repair) for repair in report.plan],
        "map": {
            "nodes": [
                {
                    "service": node.service,
                    "role": node.role,
                    "calls": node.calls,
                    "cost": _money(node.cost),
                    "knows_tenant": node.knows_tenant,
                }
                for node in report.map_nodes
            ],
            "edges": [
                {
                    "from": edge.source,
                    "to": edge.target,
                    "kind": edge.kind.value,
                    "calls": edge.calls,
                    "cost": _money(edge.cost),
                    "lost_cost": _money(edge.lost_cost),
                }
                for edge in report.map_edges
            ],
        },
        "gate": _gate(report.gate),
        "rollup": report.rollup,
        "price_book": report.price_book,
        "ids_hashed": report.ids_hashed,
        "notes": list(report.notes),
        "suppressions": [_suppression(line, positions=positions) for line in report.suppressions],
        "baseline": None if report.baseline is None else _baseline(report.baseline, positions=positions),
        "services": [
            {
                "service": seen.service,
                "versions": list(seen.versions),
                "sdks": list(seen.sdks),
                "scopes": list(seen.scopes),
            }
            for seen in report.services
        ],
    }


def _tool(report: Report) -> Object:
    return {"name": TOOL, "version": report.version}


def _input(source: InputSummary) -> Object:
    return {
        "path": source.path,
        "format": source.format,
        "vocabularies": list(source.vocabularies),
        "bytes": source.bytes,
        "records": source.records,
        "spans": source.spans,
        "rejected": source.rejected,
        "rejections": [{"line": place.line, "byte": place.byte, "reason": place.reason} for place in source.rejections],
        "time_range": _time_range(source.start_ns, source.end_ns),
        "notes": list(source.notes),
        "scopes": [{"name": seen.name, "versions": list(seen.versions), "spans": seen.spans} for seen in source.scopes],
    }


def _totals(totals: Totals) -> Object:
    return {
        "spans": totals.spans,
        "calls": totals.calls,
        "services": totals.services,
        "spend": _money(totals.spend),
        "audited_spend": _money(totals.audited_spend),
        "direct": _amount(totals.direct),
        "recoverable": _amount(totals.recoverable),
        "lost": _amount(totals.lost),
        "internal": _amount(totals.internal),
        "unattributed": _amount(totals.unattributed),
        "conflict": _amount(totals.conflict),
        "unmetered": _amount(totals.unmetered),
        "unmetered_estimate": _range(totals.unmetered_estimate),
        "unpriced": _amount(totals.unpriced),
        "duplicates": _amount(totals.duplicates),
        "failed": totals.failed,
        "cache_hits": totals.cache_hits,
        "input_tokens": _large(totals.input_tokens),
        "output_tokens": _large(totals.output_tokens),
    }


def _finding(finding: Finding, *, positions: bool) -> Object:
    return {
        "id": finding.id,
        "rule": finding.rule,
        "title": finding.title,
        "confidence": finding.confidence.value,
        "hop": _hop(finding.hop),
        "route": list(finding.route),
        "operation": finding.operation,
        "calls": finding.calls,
        "cost": _money(finding.cost),
        "unattributed_calls": finding.unattributed_calls,
        "unattributed_cost": _money(finding.unattributed_cost),
        "share": finding.share,
        "recoverable_cost": _money(finding.recoverable_cost),
        "unmetered_calls": finding.unmetered_calls,
        "unmetered_estimate": _range(finding.unmetered_estimate),
        "evidence": list(finding.evidence),
        "samples": [_sample(sample, positions=positions) for sample in finding.samples],
        "also_fits": list(finding.also_fits),
        "remedy": finding.remedy,
        "features": [
            {"feature": seen.feature, "calls": seen.calls, "cost": _money(seen.cost)} for seen in finding.features
        ],
        "baseline": None if finding.baseline is None else _compared(finding.baseline),
        "suppression": None if finding.suppression is None else _suppressed(finding.suppression),
    }


def _compared(before: Compared) -> Object:
    return {
        "standing": before.standing.value,
        "calls": before.calls,
        "cost": _money(before.cost),
        "unattributed_cost": _money(before.unattributed_cost),
        "share": before.share,
        "grown_cost": _money(before.grown_cost),
    }


def _suppressed(part: Suppressed) -> Object:
    return {
        "by": list(part.by),
        "calls": part.calls,
        "cost": _money(part.cost),
        "unattributed_calls": part.unattributed_calls,
        "unattributed_cost": _money(part.unattributed_cost),
        "recoverable_cost": _money(part.recoverable_cost),
        "unmetered_calls": part.unmetered_calls,
        "is_whole": part.is_whole,
    }


def _suppression(line: SuppressionLine, *, positions: bool) -> Object:
    entry = line.entry
    written: Object = {
        "rule": entry.rule,
        "service": entry.service,
        "hop": entry.hop,
        "operation": entry.operation,
        "tenant": entry.tenant,
        "reason": entry.reason,
        "owner": entry.owner,
        "expires": None if entry.expires is None else entry.expires.isoformat(),
        "max_usd": None if entry.max_cost is None else _money(entry.max_cost),
        "state": line.state.value,
        "findings": list(line.findings),
        "calls": line.calls,
        "cost": _money(line.cost),
    }
    return {**written, "place": entry.place} if positions else written


def _baseline(used: BaselineUse, *, positions: bool) -> Object:
    said: Object = {
        "tolerance": used.tolerance,
        "is_updated": used.is_updated,
        "gone": [
            {
                "rule": gone.rule,
                "hop": _hop(gone.hop),
                "operation": gone.operation,
                "calls": gone.calls,
                "unattributed_cost": _money(gone.unattributed_cost),
                "share": gone.share,
            }
            for gone in used.gone
        ],
        "unchecked_rules": list(used.unchecked_rules),
        "unchecked_services": list(used.unchecked_services),
    }
    return {"path": used.path, **said} if positions else said


def _sample(sample: Sample, *, positions: bool) -> Object:
    span: Object = {"trace_id": sample.trace_id, "span_id": sample.span_id}
    if not positions:
        return span
    code: Json = None if sample.code is None else {"file": sample.code.file, "line": sample.code.line}
    return {**span, "input": sample.input, "line": sample.line, "code": code}


def _repair(repair: Repair) -> Object:
    return {
        "hop": _hop(repair.hop),
        "rule": repair.rule,
        "remedy": repair.remedy,
        "findings": list(repair.findings),
        "cost_freed": _money(repair.cost_freed),
        "share_after": repair.share_after,
        "gate_passes": repair.gate_passes,
    }


def _gate(gate: Gate) -> Object:
    return {
        "passed": gate.passed,
        "exit_code": gate.exit_code,
        "checks": [
            {
                "name": check.name,
                "unit": check.unit.value,
                "limit": _measure(check, check.limit),
                "actual": _measure(check, check.actual),
                "passed": check.passed,
                "hint": check.hint,
            }
            for check in gate.checks
        ],
        "warnings": list(gate.warnings),
        "known": _amount(gate.known),
        "suppressed": _amount(gate.suppressed),
    }


def _measure(check: GateCheck, value: str) -> Json:
    if not value:
        return None
    match check.unit:
        case GateUnit.SHARE:
            return float(value)
        case GateUnit.MONEY:
            return _money(int(value))
        case GateUnit.COUNT:
            return int(value)
        case GateUnit.TEXT:
            return value


def _hop(hop: Hop) -> Object:
    return {"from": hop.source, "to": hop.target, "kind": hop.kind.value}


def _amount(amount: Amount) -> Object:
    return {"calls": amount.calls, "cost": _money(amount.cost), "share": amount.share}


def _range(estimate: Range | None) -> Json:
    return None if estimate is None else {"low": _money(estimate.low), "high": _money(estimate.high)}


def _money(pico: int) -> str:
    return to_decimal_string(pico)


def _time_range(start_ns: int | None, end_ns: int | None) -> Object:
    return {"start": _time(start_ns), "end": _time(end_ns)}


def _time(nanoseconds: int | None) -> str | None:
    """Write a Unix time as RFC 3339 in UTC, to the nanosecond."""
    if nanoseconds is None:
        return None
    return f"{utc(nanoseconds):%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09d}Z"


def _large(number: int) -> Json:
    """Let through sums that do not fit 64 bits, which orjson refuses."""
    return number if number <= _LARGEST else orjson.Fragment(str(number))


def _well_formed(value: Json) -> Json:
    """Escape lone surrogates (a file name that is not UTF-8 has them): JSON cannot hold them."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {str(_well_formed(key)): _well_formed(item) for key, item in value.items()}
        case list():
            return [_well_formed(item) for item in value]
        case _:
            return value
