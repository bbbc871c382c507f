"""What inputs are, what was taken from them, and which one change would make the audit's answer better.

Everything is read off a finished report, so that a doctor never says other than the audit itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from auditor.model.checkup import Checkup, ExaminedInput, Improvement, Sureness, Vocabulary
from auditor.model.report import Finding, InputSummary, KeyTaken, Recognition, Report, UnreadKey

USAGE = frozenset(
    {
        "input_tokens", "output_tokens", "cache_read", "cache_write", "cache_write_1h", "total_tokens",
        "reasoning_tokens", "searches", "usage_details",
    }
)  # fmt: skip
"""Concepts that usage is read from."""
PRICE = frozenset({"provider", "request_model", "response_model", "service_tier", "reported_cost", "batch_id"})
"""Concepts that a price is chosen by."""
READY = ("user_id", "workflow_id", "environment", "feature")
"""Fields besides tenant and usage whose absence makes a ledger coarser."""
MOST_REPAIRS = 3
HALF = 0.5


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """What the doctor knows of a format."""

    title: str
    cannot_tell: tuple[str, ...]
    has_paths: bool
    """Whether spans around a call can be in it."""


_NO_CALLS = Improvement(
    "calls",
    "no span says that it calls a model",
    "add a GenAI instrumentation to the services that call one; if one is there, name its attributes under "
    "[vocabulary] (operation, request_model, input_tokens …)",
    0,
    None,
)


def examine(
    inputs: Sequence[InputSummary],
    report: Report | None,
    problem: str,
    *,
    formats: Mapping[str, FormatFacts],
    tables: Mapping[str, int],
    version: str,
    price_book: str,
    cost_source: str,
) -> Checkup:
    """Put the checkup together; without a report (``problem`` says why) only the inputs are spoken of.

    ``tables`` are the versions of the vocabulary tables, by name.
    """
    unread = _added_up(entry for source in inputs for entry in source.unread_usage)
    keys = sorted({entry for source in inputs for entry in source.keys}, key=lambda entry: (entry.concept, entry.key))
    improvements = list(_improvements(report, formats)) if report else []
    improvements += _of_inputs(inputs, unread)
    if report is None and any(source.spans for source in inputs):
        improvements.insert(0, _NO_CALLS)
    return Checkup(
        version=version,
        inputs=tuple(_examined(source, formats, tables) for source in inputs),
        problem=problem,
        calls=report.totals.calls if report else 0,
        audited_spend=report.totals.audited_spend if report else 0,
        tenant_keys=report.tenant_keys if report else (),
        usage_keys=_of_concepts(keys, USAGE),
        price_keys=_of_concepts(keys, PRICE),
        price_book=price_book,
        cost_source=cost_source,
        unread_usage=unread,
        improvements=tuple(sorted(improvements, key=lambda entry: -(entry.gain or 0))),
        not_checked=report.not_checked if report else (),
    )


def _examined(source: InputSummary, formats: Mapping[str, FormatFacts], tables: Mapping[str, int]) -> ExaminedInput:
    form = formats.get(source.format, FormatFacts("", (), has_paths=True))
    sureness, why = _sureness(source)
    is_read = source.recognition is not Recognition.NOTHING
    first = source.rejections[0] if source.rejections and is_read else None
    return ExaminedInput(
        path=source.path,
        format=source.format,
        title=form.title,
        sureness=sureness,
        why=why,
        records=source.records,
        spans=source.spans,
        rejected=source.rejected if is_read else 0,
        first_rejection=f"line {first.line}: {first.reason}" if first else "",
        vocabularies=tuple(Vocabulary(name, tables.get(name)) for name in source.vocabularies),
        scopes=source.scopes,
        cannot_tell=form.cannot_tell,
    )


def _sureness(source: InputSummary) -> tuple[Sureness, str]:
    if source.recognition is Recognition.NOTHING:
        return Sureness.NONE, source.rejections[0].reason if source.rejections else "it could not be read"
    why = f"told by {source.recognition}"
    if not source.rejected:
        sure = Sureness.LIKELY if source.recognition is Recognition.HEAD else Sureness.CERTAIN
        return sure, why
    read = max(source.records, source.spans)
    broken = f"{why}; {_counted(source.rejected, 'record')} could not be read"
    return (Sureness.DOUBTFUL if source.rejected > HALF * (source.rejected + read) else Sureness.LIKELY), broken


def _added_up(entries: Iterable[UnreadKey]) -> tuple[UnreadKey, ...]:
    spans: dict[str, int] = {}
    for entry in entries:
        spans[entry.key] = spans.get(entry.key, 0) + entry.spans
    return tuple(UnreadKey(key, count) for key, count in sorted(spans.items(), key=lambda pair: (-pair[1], pair[0])))


def _of_concepts(keys: Iterable[KeyTaken], concepts: frozenset[str]) -> tuple[KeyTaken, ...]:
    return tuple(entry for entry in keys if entry.concept in concepts)


def _improvements(report: Report, formats: Mapping[str, FormatFacts]) -> Iterator[Improvement]:
    yield from _of_tenants(report)
    yield from _of_amounts(report)
    if report.inputs and not any(_has_paths(source, formats) for source in report.inputs):
        yield Improvement(
            "traces",
            "these are rows of a gateway's log: where the tenant is lost before the gateway cannot be seen",
            "give the traces of the applications too, in the same run",
            report.totals.unattributed.calls,
            None,
        )
    lacking = [line for line in report.readiness if line.field in READY and line.calls_share < 1]
    if lacking:
        names = ", ".join(f"{line.field} on {line.calls_share:.0%}" for line in lacking)
        yield Improvement(
            "fields",
            f"not every call has what a ledger is grouped by: {names} of the calls",
            "set these where the tenant is set, or name your own attributes under [vocabulary]",
            report.totals.calls,
            None,
        )


def _has_paths(source: InputSummary, formats: Mapping[str, FormatFacts]) -> bool:
    form = formats.get(source.format)
    return form is None or form.has_paths


def _of_tenants(report: Report) -> Iterator[Improvement]:
    missing = report.totals.unattributed
    for candidate in report.candidate_keys[:1]:
        known = f"; {candidate.known_values} of its values are tenants known from elsewhere"
        yield Improvement(
            "tenant-key",
            f"{candidate.key} looks like the tenant and is not read as one: it is on {candidate.coverage:.0%} of the "
            f"calls and entry spans that were looked at, with {candidate.distinct} values"
            + (known if candidate.known_values else ""),
            f"--tenant-key {candidate.key}, or tenant_keys in auditor.toml",
            missing.calls,
            int(missing.cost * candidate.coverage),
            is_estimate=True,
        )
    for repair in report.plan[:MOST_REPAIRS]:
        hop = repair.hop
        calls = sum(finding.unattributed_calls for finding in report.findings if finding.id in repair.findings)
        where = hop.source if hop.source == hop.target else f"{hop.source} to {hop.target}"
        yield Improvement(
            repair.rule,
            f"{_counted(calls, 'call')} without a tenant because of {repair.rule} ({where})",
            repair.remedy,
            calls,
            repair.cost_freed,
        )


def _of_amounts(report: Report) -> Iterator[Improvement]:
    totals = report.totals
    if totals.unmetered.calls:
        worst = max(report.findings, key=_unmetered, default=None)
        remedy = worst.remedy if worst and worst.unmetered_calls else "let the instrumentation record usage"
        about = totals.unmetered_estimate
        yield Improvement(
            "usage",
            f"{_counted(totals.unmetered.calls, 'call')} without usage: what the provider bills for them is unknown",
            remedy,
            totals.unmetered.calls,
            (about.low + about.high) // 2 if about else None,
            is_estimate=True,
        )
    if totals.unpriced.calls:
        priced = totals.calls - totals.unpriced.calls - totals.unmetered.calls
        yield Improvement(
            "prices",
            f"{_counted(totals.unpriced.calls, 'call')} of a model that has no price; the report's notes name it",
            "give it a price or an alias in a pricing file: --pricing FILE (audit schema pricing)",
            totals.unpriced.calls,
            totals.spend // priced * totals.unpriced.calls if priced > 0 and totals.spend else None,
            is_estimate=True,
        )


def _unmetered(finding: Finding) -> tuple[int, str]:
    return finding.unmetered_calls, finding.id


def _of_inputs(inputs: Sequence[InputSummary], unread: Sequence[UnreadKey]) -> Iterator[Improvement]:
    unknown = [source.path for source in inputs if source.recognition is Recognition.NOTHING]
    if unknown:
        names = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        yield Improvement(
            "inputs", f"none of the formats that are read here: {names}", "audit formats lists what to export", 0, None
        )
    broken = [source for source in inputs if source.rejected and source.recognition is not Recognition.NOTHING]
    if broken:
        first = broken[0]
        where = f" ({first.path}:{first.rejections[0].line}: {first.rejections[0].reason})" if first.rejections else ""
        yield Improvement(
            "records",
            f"{_counted(sum(source.rejected for source in broken), 'record')} could not be read{where}",
            "export them again, whole",
            0,
            None,
        )
    if unread:
        names = ", ".join(f"{entry.key} on {_counted(entry.spans, 'span')}" for entry in unread[:5])
        more = f" and {len(unread) - 5} more" if len(unread) > 5 else ""
        yield Improvement(
            "usage-keys",
            f"usage stands under keys that nobody reads: {names}{more}",
            "where one holds tokens that no other key tells, name it under [vocabulary], or report it as missing",
            0,
            None,
        )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
