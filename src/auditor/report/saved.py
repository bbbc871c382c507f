"""Reads a report that was saved as json-v1 back into the nouns, so that it can be shown and compared again.

What the document does not hold (how a format was recognised, which keys were taken) is as it is by default; every
figure and every name is what it was, so that all formats come out as they did from the traces.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

from auditor.errors import InputError
from auditor.model.money import PICO, from_decimal_string
from auditor.model.report import (
    Amount,
    BaselineUse,
    CandidateKey,
    CodePlace,
    Compared,
    Concentration,
    Confidence,
    FeatureSeen,
    Finding,
    Gate,
    GateCheck,
    GateUnit,
    GoneFinding,
    Hop,
    HopKind,
    InputSummary,
    JoinLine,
    MapEdge,
    MapNode,
    NotChecked,
    Range,
    Readiness,
    Rejection,
    Repair,
    Report,
    Sample,
    ScopeSeen,
    ServiceSeen,
    Standing,
    Suppressed,
    SuppressionLine,
    SuppressionState,
    TenantKey,
    TenantLine,
    Totals,
)
from auditor.model.suppression import Suppression
from auditor.report.json_v1 import digest
from auditor.report.schema import validate

Object = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_END = len("2026-01-01T00:00:00")


def read(data: bytes) -> Report:
    """Read a saved report; raises ``InputError`` for what is none."""
    try:
        document = json.loads(data)  # which reads token counts beyond 64 bits exactly
    except (ValueError, RecursionError) as error:
        raise InputError("not a report: not JSON", hint="audit traces.json -f json=audit.json writes one") from error
    validate(document)
    return _report(document)


def is_untouched(data: bytes, report: Report) -> bool:
    """Say whether a report still says what its digest was made of."""
    told: object = json.loads(data)["digest"]
    return told == digest(report)


def _report(document: Object) -> Report:
    drawn = document["map"]
    return Report(
        version=document["tool"]["version"],
        inputs=tuple(map(_input, document["inputs"])),
        totals=_totals(document["totals"]),
        findings=tuple(map(_finding, document["findings"])),
        joins=tuple(JoinLine(join, line["calls"], _money(line["cost"])) for join, line in document["joins"].items()),
        tenants=tuple(
            TenantLine(
                line["tenant_id"],
                line["calls"],
                _money(line["direct_cost"]),
                _money(line["recovered_cost"]),
                line["share"],
            )
            for line in document["tenants"]
        ),
        concentration=Concentration(**document["concentration"]),
        readiness=tuple(
            Readiness(field, line["calls_share"], line["cost_share"]) for field, line in document["readiness"].items()
        ),
        tenant_keys=tuple(TenantKey(**line) for line in document["tenant_keys"]),
        candidate_keys=tuple(CandidateKey(**line) for line in document["candidate_keys"]),
        not_checked=tuple(NotChecked(**line) for line in document["not_checked"]),
        rules_run=tuple(document["rules_run"]),
        plan=tuple(map(_repair, document["plan"])),
        map_nodes=tuple(MapNode(**{**node, "cost": _money(node["cost"])}) for node in drawn["nodes"]),
        map_edges=tuple(
            MapEdge(
                edge["from"],
                edge["to"],
                HopKind(edge["kind"]),
                edge["calls"],
                _money(edge["cost"]),
                _money(edge["lost_cost"]),
            )
            for edge in drawn["edges"]
        ),
        gate=_gate(document["gate"]),
        rollup=document["rollup"],
        price_book=document["price_book"],
        ids_hashed=document["ids_hashed"],
        start_ns=_time(document["time_range"]["start"]),
        end_ns=_time(document["time_range"]["end"]),
        notes=tuple(document["notes"]),
        suppressions=tuple(map(_suppression, document["suppressions"])),
        baseline=_baseline(document["baseline"]),
        services=tuple(_service(seen) for seen in document["services"]),
    )


def _input(source: Object) -> InputSummary:
    return InputSummary(
        path=source["path"],
        format=source["format"],
        vocabularies=tuple(source["vocabularies"]),
        bytes=source["bytes"],
        records=source["records"],
        spans=source["spans"],
        rejected=source["rejected"],
        rejections=tuple(Rejection(**place) for place in source["rejections"]),
        start_ns=_time(source["time_range"]["start"]),
        end_ns=_time(source["time_range"]["end"]),
        notes=tuple(source["notes"]),
        scopes=tuple(ScopeSeen(seen["name"], tuple(seen["versions"]), seen["spans"]) for seen in source["scopes"]),
    )


def _totals(totals: Object) -> Totals:
    amounts = {name: _amount(value) for name, value in totals.items() if isinstance(value, dict) and "calls" in value}
    whole: Object = {
        **totals,
        **amounts,
        "spend": _money(totals["spend"]),
        "audited_spend": _money(totals["audited_spend"]),
        "unmetered_estimate": _range(totals["unmetered_estimate"]),
    }
    return Totals(**whole)


def _service(seen: Object) -> ServiceSeen:
    return ServiceSeen(seen["service"], tuple(seen["versions"]), tuple(seen["sdks"]), tuple(seen["scopes"]))


def _finding(finding: Object) -> Finding:
    return Finding(
        id=finding["id"],
        rule=finding["rule"],
        title=finding["title"],
        confidence=Confidence(finding["confidence"]),
        hop=_hop(finding["hop"]),
        route=tuple(finding["route"]),
        operation=finding["operation"],
        calls=finding["calls"],
        cost=_money(finding["cost"]),
        unattributed_calls=finding["unattributed_calls"],
        unattributed_cost=_money(finding["unattributed_cost"]),
        share=finding["share"],
        recoverable_cost=_money(finding["recoverable_cost"]),
        unmetered_calls=finding["unmetered_calls"],
        unmetered_estimate=_range(finding["unmetered_estimate"]),
        evidence=tuple(finding["evidence"]),
        samples=tuple(map(_sample, finding["samples"])),
        also_fits=tuple(finding["also_fits"]),
        remedy=finding["remedy"],
        features=tuple(FeatureSeen(**{**seen, "cost": _money(seen["cost"])}) for seen in finding["features"]),
        baseline=_compared(finding["baseline"]),
        suppression=_suppressed(finding["suppression"]),
    )


def _sample(sample: Object) -> Sample:
    code = sample["code"]
    return Sample(
        sample["trace_id"],
        sample["span_id"],
        sample["input"],
        sample["line"],
        None if code is None else CodePlace(code["file"], code["line"]),
    )


def _compared(before: Object | None) -> Compared | None:
    if before is None:
        return None
    return Compared(
        Standing(before["standing"]),
        before["calls"],
        _money(before["cost"]),
        _money(before["unattributed_cost"]),
        before["share"],
        _money(before["grown_cost"]),
    )


def _suppressed(part: Object | None) -> Suppressed | None:
    if part is None:
        return None
    return Suppressed(
        by=tuple(part["by"]),
        calls=part["calls"],
        cost=_money(part["cost"]),
        unattributed_calls=part["unattributed_calls"],
        unattributed_cost=_money(part["unattributed_cost"]),
        recoverable_cost=_money(part["recoverable_cost"]),
        unmetered_calls=part["unmetered_calls"],
        is_whole=part["is_whole"],
    )


def _suppression(line: Object) -> SuppressionLine:
    return SuppressionLine(
        entry=Suppression(
            reason=line["reason"],
            rule=line["rule"],
            service=line["service"],
            hop=line["hop"],
            operation=line["operation"],
            tenant=line["tenant"],
            owner=line["owner"],
            expires=None if line["expires"] is None else date.fromisoformat(line["expires"]),
            max_cost=None if line["max_usd"] is None else _money(line["max_usd"]),
            place=line["place"],
        ),
        state=SuppressionState(line["state"]),
        findings=tuple(line["findings"]),
        calls=line["calls"],
        cost=_money(line["cost"]),
    )


def _baseline(used: Object | None) -> BaselineUse | None:
    if used is None:
        return None
    return BaselineUse(
        path=used["path"],
        tolerance=used["tolerance"],
        is_updated=used["is_updated"],
        gone=tuple(
            GoneFinding(
                gone["rule"],
                _hop(gone["hop"]),
                gone["operation"],
                gone["calls"],
                _money(gone["unattributed_cost"]),
                gone["share"],
            )
            for gone in used["gone"]
        ),
        unchecked_rules=tuple(used["unchecked_rules"]),
        unchecked_services=tuple(used["unchecked_services"]),
    )


def _repair(repair: Object) -> Repair:
    return Repair(
        _hop(repair["hop"]),
        repair["rule"],
        repair["remedy"],
        tuple(repair["findings"]),
        _money(repair["cost_freed"]),
        repair["share_after"],
        repair["gate_passes"],
    )


def _gate(gate: Object) -> Gate:
    return Gate(
        passed=gate["passed"],
        exit_code=gate["exit_code"],
        checks=tuple(map(_check, gate["checks"])),
        warnings=tuple(gate["warnings"]),
        known=_amount(gate["known"]),
        suppressed=_amount(gate["suppressed"]),
    )


def _check(check: Object) -> GateCheck:
    unit = GateUnit(check["unit"])
    return GateCheck(
        check["name"],
        _measure(unit, check["limit"]),
        _measure(unit, check["actual"]),
        check["passed"],
        check["hint"],
        unit,
    )


def _measure(unit: GateUnit, value: Any) -> str:
    if value is None:
        return ""
    return str(_money(value)) if unit is GateUnit.MONEY else str(value)


def _hop(hop: Object) -> Hop:
    return Hop(hop["from"], hop["to"], HopKind(hop["kind"]))


def _amount(amount: Object) -> Amount:
    return Amount(amount["calls"], _money(amount["cost"]), amount["share"])


def _range(estimate: Object | None) -> Range | None:
    return None if estimate is None else Range(_money(estimate["low"]), _money(estimate["high"]))


def _money(text: str) -> int:
    """Read an amount of any size exactly; the schema has seen to its form."""
    whole, _, rest = text.removeprefix("-").partition(".")
    pico = int(whole) * PICO + (from_decimal_string(f"0.{rest}") if rest else 0)
    return -pico if text.startswith("-") else pico


def _time(text: str | None) -> int | None:
    """Read RFC 3339 in UTC, to the nanosecond."""
    if text is None:
        return None
    try:
        seconds = int((datetime.fromisoformat(text[:_SECONDS_END]).replace(tzinfo=UTC) - _EPOCH).total_seconds())
    except ValueError as error:
        raise InputError(f"not a report: {text} is no time") from error
    return seconds * 10**9 + int(text[_SECONDS_END + 1 : -1])
