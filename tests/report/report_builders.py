"""Reports with defaults, so that a test names only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import cycle
from typing import Any

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

FIELDS = (
    "tenant_id",
    "user_id",
    "workflow_id",
    "environment",
    "feature",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
)
FIRST_DAY_NS = 1_793_520_000_123_456_789  # 2026-11-01T08:00:00Z
WEEK_NS = 7 * 86_400 * 10**9


def usd(text: str) -> int:
    return from_decimal_string(text)


def amount(calls: int = 0, dollars: str = "0", share: float | None = None) -> Amount:
    return Amount(calls, usd(dollars), share)


def source(**changes: Any) -> InputSummary:
    plain = InputSummary(
        path="traces.json",
        format="otlp-json",
        vocabularies=("otel-genai", "openinference"),
        bytes=1_834_112,
        records=1_204,
        spans=1_204,
        rejected=0,
        rejections=(),
        start_ns=FIRST_DAY_NS,
        end_ns=FIRST_DAY_NS + WEEK_NS - 1,
    )
    return replace(plain, **changes)


def totals(**changes: Any) -> Totals:
    plain = Totals(
        spans=1_204,
        calls=182,
        services=3,
        spend=usd("12.43107"),
        audited_spend=usd("12.43107"),
        direct=amount(182, "12.43107", 1.0),
        recoverable=amount(share=0.0),
        lost=amount(share=0.0),
        internal=amount(),
        unattributed=amount(share=0.0),
        conflict=amount(share=0.0),
        unmetered=amount(),
        unmetered_estimate=None,
        unpriced=amount(),
        duplicates=amount(),
        failed=0,
        cache_hits=0,
        input_tokens=1_911_204,
        output_tokens=204_118,
    )
    return replace(plain, **changes)


def finding(**changes: Any) -> Finding:
    plain = Finding(
        id="async-drop-3f9c2a71",
        rule="async-drop",
        title="The tenant does not cross the queue",
        confidence=Confidence.CERTAIN,
        hop=Hop("api", "jobs", HopKind.QUEUE),
        route=("api", "jobs", "summary"),
        operation="chat",
        calls=41_200,
        cost=usd("1904.11"),
        unattributed_calls=41_200,
        unattributed_cost=usd("1904.11"),
        share=0.153174,
        recoverable_cost=usd("1904.11"),
        unmetered_calls=0,
        unmetered_estimate=None,
        evidence=("producer span `enqueue summary` in api has tenant.id, consumer span in jobs has not",),
        samples=(
            Sample(
                "4bf92f3577b34da6a3ce929d0e0e4736",
                "00f067aa0ba902b7",
                "traces.json",
                1_204,
                CodePlace("api/jobs.py", 88),
            ),
            Sample(
                "a3ce929d0e0e47364bf92f3577b34da6", "b7ad6b7169203331", "traces.json", 77, CodePlace("api/jobs.py", 90)
            ),
        ),
        also_fits=("orphaned-agent-children",),
        remedy="Put the tenant into the job payload in `api`, and back into the context in `jobs` (Celery).",
    )
    return replace(plain, **changes)


def gate(**changes: Any) -> Gate:
    plain = Gate(
        passed=True,
        exit_code=0,
        checks=(GateCheck("max-unattributed", "0.1", "0.0", passed=True, hint="", unit=GateUnit.SHARE),),
        warnings=(),
    )
    return replace(plain, **changes)


def report(**changes: Any) -> Report:
    """One tenant, everything in order: what a healthy pipeline looks like."""
    plain = Report(
        version="0.1.0",
        inputs=(source(),),
        totals=totals(),
        findings=(),
        joins=(),
        tenants=(TenantLine("acme", 182, usd("12.43107"), 0, 1.0),),
        concentration=Concentration(1, 1.0, 1.0, 1, 1.0),
        readiness=tuple(Readiness(field, 1.0, 1.0) for field in FIELDS),
        tenant_keys=(TenantKey("tenant.id", 182),),
        candidate_keys=(),
        not_checked=(NotChecked("batch-without-metadata", "no batch calls in this input"),),
        rules_run=("async-drop", "gateway-single-key", "header-stripping"),
        plan=(),
        map_nodes=(MapNode("api", "server", 182, usd("12.43107"), knows_tenant=True),),
        map_edges=(),
        gate=gate(),
        rollup="call",
        price_book="genai-prices 0.2.3",
        ids_hashed=False,
        start_ns=FIRST_DAY_NS,
        end_ns=FIRST_DAY_NS + WEEK_NS - 1,
    )
    return replace(plain, **changes)


def clean() -> Report:
    return report()


def broken() -> Report:
    """A week in which most things go wrong that a report can say."""
    findings = (
        finding(),
        finding(
            id="header-stripping-91c0d2e4",
            rule="header-stripping",
            title="A proxy drops the caller's context",
            confidence=Confidence.LIKELY,
            hop=Hop("web", "llm-gateway", HopKind.PROCESS),
            route=("web", "llm-gateway"),
            calls=22_019,
            cost=usd("1120.9"),
            unattributed_calls=22_019,
            unattributed_cost=usd("1120.9"),
            share=0.090169,
            recoverable_cost=usd("1007.09"),
            unmetered_calls=4_002,
            unmetered_estimate=Range(usd("205"), usd("521.5")),
            evidence=(
                "22,019 root server spans in llm-gateway lie inside client spans of web that have tenant.id",
                "no span of llm-gateway has a parent in web",
            ),
            also_fits=(),
            remedy="Let `llm-gateway` continue the caller's context: allow traceparent and baggage.",
        ),
        finding(
            id="orphaned-agent-children-5d1f0b7a",
            rule="orphaned-agent-children",
            title="Calls below an agent run without its context",
            hop=Hop("planner", "planner", HopKind.THREAD),
            route=("planner",),
            calls=9_118,
            cost=usd("602.31"),
            unattributed_calls=9_118,
            unattributed_cost=usd("602.31"),
            share=0.048452,
            recoverable_cost=0,
            evidence=("9,118 chat spans are roots in planner, whose other calls have tenant.id",),
            also_fits=("async-drop", "tenant-not-copied"),
            remedy="Carry the context into the thread: contextvars.copy_context().run in `planner`.",
        ),
        finding(
            id="unowned-traffic-00c1a9de",
            rule="unowned-traffic",
            title="Nothing says whose calls these are",
            confidence=Confidence.POSSIBLE,
            hop=Hop("index", "index", HopKind.NONE),
            route=("index",),
            operation="embeddings",
            calls=61_004,
            cost=usd("276.09"),
            unattributed_calls=61_004,
            unattributed_cost=usd("276.09"),
            share=0.02221,
            recoverable_cost=0,
            evidence=("no span of index has a tenant",),
            also_fits=(),
            remedy="Name an owner for `index`, or declare it internal in auditor.toml.",
        ),
        finding(
            id="tenant-conflict-7be2",
            rule="tenant-conflict",
            title="The call carries another tenant than its request",
            hop=Hop("web", "search", HopKind.PROCESS),
            route=("web", "search"),
            calls=412,
            cost=usd("31.2"),
            unattributed_calls=0,
            unattributed_cost=0,
            share=0.0,
            recoverable_cost=0,
            evidence=("412 calls carry tenant.id=globex below requests with tenant.id=acme",),
            also_fits=(),
            remedy="Do not cache the tenant in a module variable in `search`.",
        ),
        finding(
            id="stream-span-closure-c7",
            rule="stream-span-closure",
            title="The span closes before the usage arrives",
            hop=Hop("web", "web", HopKind.STREAM),
            route=("web",),
            calls=100,
            cost=0,
            unattributed_calls=0,
            unattributed_cost=0,
            share=0.0,
            recoverable_cost=0,
            unmetered_calls=100,
            unmetered_estimate=Range(usd("5"), usd("8.5")),
            evidence=("100 streamed chat spans of web end without usage and without a finish reason",),
            also_fits=(),
            remedy="Ask for usage in the stream: stream_options={'include_usage': True}.",
        ),
    )
    plan = (
        Repair(
            findings[0].hop,
            "async-drop",
            findings[0].remedy,
            ("async-drop-3f9c2a71",),
            usd("1904.11"),
            0.160831,
            False,
        ),
        Repair(
            findings[1].hop,
            "header-stripping",
            findings[1].remedy,
            ("header-stripping-91c0d2e4",),
            usd("1120.9"),
            0.070662,
            gate_passes=True,
        ),
        Repair(
            findings[2].hop,
            "orphaned-agent-children",
            findings[2].remedy,
            ("orphaned-agent-children-5d1f0b7a",),
            usd("602.31"),
            0.02221,
            gate_passes=True,
        ),
    )
    return report(
        inputs=(
            source(
                bytes=2_204_118_331,
                records=1_204_334,
                spans=1_204_331,
                rejected=3,
                rejections=(
                    Rejection(88_120, 161_200_331, "not JSON: unexpected end"),
                    Rejection(90_001, 164_003_118, "spanId is not hex or base64"),
                    Rejection(90_007, 164_011_002, "startTimeUnixNano is not a number"),
                ),
            ),
        ),
        totals=totals(
            spans=1_204_331,
            calls=182_114,
            services=14,
            spend=usd("12511.07"),
            audited_spend=usd("12431.07"),
            direct=amount(47_761, "8527.66", 0.685995),
            recoverable=amount(62_002, "2911.2", 0.234188),
            lost=amount(71_339, "992.21", 0.079817),
            internal=amount(1_012, "80", None),
            unattributed=amount(133_341, "3903.41", 0.314005),
            conflict=amount(412, "31.2", 0.00251),
            unmetered=amount(4_102),
            unmetered_estimate=Range(usd("210"), usd("530")),
            unpriced=amount(12),
            duplicates=amount(903),
            failed=811,
            cache_hits=2_204,
            input_tokens=904_118_221,
            output_tokens=80_204_118,
        ),
        findings=findings,
        joins=(
            JoinLine("ancestor", 41_200, usd("1904.11")),
            JoinLine("link", 12_001, usd("700")),
            JoinLine("request-id", 8_801, usd("307.09")),
        ),
        tenants=(
            TenantLine("acme", 52_001, usd("4100.5"), usd("1904.11"), 0.483),
            TenantLine("globex", 30_118, usd("2204.11"), usd("700"), 0.2336),
            TenantLine("ann@example.test", 11_004, usd("1100.02"), usd("307.09"), 0.1132),
            TenantLine("initech", 9_001, usd("800"), 0, 0.0644),
            TenantLine("a0f1c3d2-7d1e-4f0a-9b61-0a8f6f0e5c11", 4_118, usd("200"), 0, 0.0161),
            TenantLine("umbrella", 2_118, usd("100"), 0, 0.008),
        ),
        concentration=Concentration(31, 0.6108, 0.8204, 3, 0.2419),
        readiness=tuple(
            Readiness(field, share, cost)
            for field, share, cost in zip(
                FIELDS,
                (0.2623, 0.64, 0.12, 0.998, 0.0, 0.9775, 0.9775, 0.41, 0.08),
                (0.686, 0.71, 0.2, 0.9991, 0.0, 1.0, 1.0, 0.52, 0.11),
                strict=True,
            )
        ),
        tenant_keys=(TenantKey("tenant.id", 40_118), TenantKey("metadata.tenant_id", 7_643)),
        candidate_keys=(
            CandidateKey("app.workspace", 0.4188, 31, 29),
            CandidateKey("customer_ref", 0.12, 5_118, 0),
        ),
        not_checked=(NotChecked("batch-without-metadata", "no batch calls in this input"),),
        plan=plan,
        map_nodes=(
            MapNode("api", "producer", 0, 0, knows_tenant=True),
            MapNode("jobs", "consumer", 0, 0, knows_tenant=False),
            MapNode("summary", "model call", 41_200, usd("1904.11"), knows_tenant=False),
        ),
        map_edges=(
            MapEdge("api", "jobs", HopKind.QUEUE, 41_200, usd("1904.11"), usd("1904.11")),
            MapEdge("jobs", "summary", HopKind.PROCESS, 41_200, usd("1904.11"), 0),
        ),
        gate=gate(
            passed=False,
            exit_code=1,
            checks=(
                GateCheck(
                    "max-unattributed",
                    "0.1",
                    "0.314005",
                    passed=False,
                    hint="repair the first 2 hops, or raise it: --max-unattributed 32%",
                ),
                GateCheck("max-lost", "0.2", "0.079817", passed=True, hint=""),
                GateCheck(
                    "max-unattributed-usd",
                    str(5000 * PICO),
                    str(usd("3903.41")),
                    passed=True,
                    hint="",
                    unit=GateUnit.MONEY,
                ),
            ),
            warnings=("2.3 % of calls are unmetered",),
        ),
        notes=("Spans of 2 services carry a tenant only on the resource.",),
    )


def accepted() -> Report:
    """The same week with decisions: a baseline knows some findings, suppressions take others out of the verdict."""
    plain = broken()
    drop, header, orphans, unowned, conflict, stream = plain.findings
    return replace(
        plain,
        findings=(
            replace(
                drop,
                features=(FeatureSeen("summaries", 30_000, usd("1500")), FeatureSeen("alerts", 200, usd("0.5"))),
                baseline=Compared(Standing.GROWN, 20_000, usd("900"), usd("900"), 0.1, usd("400.11")),
            ),
            replace(
                header,
                features=(FeatureSeen("ask", 22_000, usd("1120")),),
                baseline=Compared(Standing.NEW),
                suppression=Suppressed((1,), 19, usd("20.9"), 19, usd("20.9"), usd("7.09"), 2, is_whole=False),
            ),
            replace(orphans, baseline=Compared(Standing.KNOWN, 9_000, usd("600"), usd("600"), 0.05, 0)),
            replace(
                unowned,
                suppression=Suppressed((0,), 61_004, usd("276.09"), 61_004, usd("276.09"), 0, 0, is_whole=True),
            ),
            replace(conflict, baseline=Compared(Standing.KNOWN, 400, usd("31"), 0, 0.0, 0)),
            replace(stream, baseline=Compared(Standing.NEW)),
        ),
        suppressions=(
            SuppressionLine(
                Suppression(
                    "the index is rebuilt once a month",
                    rule="unowned-*",
                    service="index",
                    owner="search team",
                    expires=date(2027, 1, 31),
                    max_cost=usd("300"),
                    place="auditor.toml: suppress[0]",
                ),
                SuppressionState.ACTIVE,
                (unowned.id,),
                61_004,
                usd("276.09"),
            ),
            SuppressionLine(
                Suppression("pays a flat rate", tenant="acme", operation="chat", place="auditor.toml: suppress[1]"),
                SuppressionState.ACTIVE,
                (header.id,),
                19,
                usd("20.9"),
            ),
            SuppressionLine(
                Suppression("x", hop="web -> search", expires=date(2026, 1, 31), place="auditor.toml: suppress[2]"),
                SuppressionState.EXPIRED,
                (conflict.id,),
                412,
                usd("31.2"),
            ),
        ),
        baseline=BaselineUse(
            path="audit-baseline.json",
            tolerance=0.1,
            is_updated=False,
            gone=(
                GoneFinding("tenant-not-copied", Hop("web", "web", HopKind.NONE), "embeddings", 12, usd("3.5"), 0.0004),
            ),
            unchecked_rules=("batch-without-metadata",),
            unchecked_services=("billing",),
        ),
        services=(
            ServiceSeen("api", ("3.8.1", "3.9.0"), ("python 1.27.0",), ("opentelemetry.instrumentation.openai",)),
            ServiceSeen("jobs", ()),
        ),
        gate=replace(
            plain.gate, known=amount(20_118, "2106.31", 0.169439), suppressed=amount(61_023, "296.99", 0.023891)
        ),
    )


NASTY = (
    "[bold red]markup[/bold red]",
    "a|b|c",
    "`tick` ``ticks``",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "line\nbreak\r\n| new | row |\n# heading",
    "\x1b[31mred\x1b[0m\x07\x1b]8;;http://evil.test\x1b\\link\x1b]8;;\x1b\\",
    "@everyone @org/team",
    "[click](http://evil.test) ![img](http://evil.test/x.png) http://evil.test www.evil.test",
    "\u202egnp.exe\u2066\u200b\ufeff\u2028\u2029",
    "--> <!-- trace-auditor --> </details>",
    "\\| \\` back\\slash \\",
    "#123 GH-123 0123456789abcdef0123456789abcdef01234567 :tada: $x^2$ ~~no~~ **no** _no_",
    "\udcff lone surrogate",
    "",
    "   ",
    "- item\n1. item",
    "&lt;b&gt; &#64;user &amp;",
    "😀 漢字漢字漢字漢字漢字漢字",
)


def hostile() -> Report:
    """Every string that comes from a file is out to be more than text."""
    plain = broken()
    names = iter(NASTY * 50)
    return replace(
        plain,
        inputs=(
            source(
                path=next(names),
                format=next(names),
                notes=NASTY,
                rejected=1,
                rejections=(Rejection(1, 0, next(names)),),
            ),
        ),
        findings=tuple(
            finding(
                id=f"hostile-{number}",
                rule=nasty or "nameless",
                title=nasty,
                hop=Hop(nasty, nasty + "2", HopKind.PROCESS),
                route=(nasty, nasty + "2", nasty + "3"),
                operation=nasty,
                evidence=(nasty, f"the span `{nasty}` has no tenant"),
                samples=(Sample(nasty, nasty, nasty, 1),),
                also_fits=(nasty or "nameless",),
                remedy=f"in `{nasty}` do {nasty}",
            )
            for number, nasty in enumerate(NASTY)
        ),
        joins=(JoinLine(next(names), 1, 1),),
        tenants=tuple(TenantLine(nasty, 1, 1, 1, 0.1) for nasty in NASTY),
        tenant_keys=tuple(TenantKey(nasty, 1) for nasty in NASTY),
        candidate_keys=tuple(CandidateKey(nasty, 0.5, 2, 1) for nasty in NASTY),
        not_checked=tuple(NotChecked(nasty or "nameless", nasty) for nasty in NASTY),
        plan=tuple(
            Repair(
                Hop(nasty, nasty, HopKind.CUT),
                nasty or "nameless",
                f"in `{nasty}` do {nasty}",
                (f"hostile-{number}",),
                1,
                0.1,
                gate_passes=True,
            )
            for number, nasty in enumerate(NASTY)
        ),
        map_nodes=tuple(MapNode(nasty, nasty, 1, 1, knows_tenant=False) for nasty in NASTY),
        gate=gate(
            passed=False,
            exit_code=1,
            checks=tuple(
                GateCheck(nasty or "nameless", nasty or "nothing", nasty, False, nasty, GateUnit.TEXT)
                for nasty in NASTY
            ),
            warnings=NASTY,
        ),
        price_book=next(names),
        notes=NASTY,
        suppressions=tuple(
            SuppressionLine(
                Suppression(nasty or "nothing", nasty, nasty, nasty, nasty, nasty, nasty, place=nasty),
                state,
                ("hostile-0",),
                1,
                1,
            )
            for nasty, state in zip(NASTY, cycle(SuppressionState), strict=False)
        ),
        baseline=BaselineUse(
            path=NASTY[0],
            tolerance=None,
            is_updated=True,
            gone=tuple(GoneFinding(nasty, Hop(nasty, nasty, HopKind.CUT), nasty, 1, 1, 0.1) for nasty in NASTY),
            unchecked_rules=NASTY,
            unchecked_services=NASTY,
        ),
        services=tuple(ServiceSeen(nasty, NASTY, NASTY, NASTY) for nasty in NASTY),
    )
