"""The report as a comment on a pull request: the verdict, short tables, the rest folded away.

Code hosts turn more than markup into something active: mentions, issue and commit references, bare links,
emoji, formulas. So whatever comes from a file is either a plain word or number, or stands in a code span,
where none of that happens; the few characters that could end the span or a table cell are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import fsum
from typing import Final, NamedTuple, TypeVar

from auditor.model.money import in_dollars
from auditor.model.report import (
    Amount,
    CandidateKey,
    Finding,
    Gate,
    GateCheck,
    GoneFinding,
    Hop,
    HopKind,
    InputSummary,
    JoinLine,
    NotChecked,
    Rejection,
    Report,
    Sample,
    TenantKey,
)
from auditor.model.stakes import stakes_of
from auditor.report.wording import (
    HOP_WORDS,
    NAME_LIMIT,
    PROSE_LIMIT,
    baseline_counts,
    compared,
    count,
    day_range,
    escape,
    excused,
    headline,
    left_out,
    measured,
    money_range,
    percent,
    sentence,
    suppression,
    unread_key,
    visible,
)

MARKER: Final = "<!-- trace-auditor -->"
"""Last line of every report: by it a bot finds the comment that it wrote before."""

LARGEST: Final = 60_000
"""Bytes that no report reaches; GitHub refuses comments of more than 65,536 characters."""

_ROWS: Final = (25, 12, 6, 3, 1)
"""Rows that each part may have: the first that gives a short enough report is taken."""

_SERVICES = 5
_ACTIVE = re.compile(r"[`|<]|(?<![^\W_])@")
_PIECE = re.compile(r"`([^`]+)`|([^\s`]+|`)")
_PLAIN = re.compile(
    r"""[("'\u2018\u201c]*
        (?: [^\W\d_]+ (?:[-'/\u2019][^\W\d_]+)*  # a word
          | \$? \d[\d,]* (?:\.\d+)?              # a number or an amount
          | [%\u2013\u2014\u2026→⇢]
        )?
        [)"'.,;:?!%\u2019\u201d\u2026]*""",
    re.VERBOSE,
)
_COMMIT = re.compile(r"[0-9a-fA-F]{7,}")
_LIST_ITEM = re.compile(r"\d+[.)]")

T = TypeVar("T")

Lines = list[str]


class _Part(NamedTuple):
    """A piece of a sentence, and whether it stands apart from the one before."""

    text: str
    spaced: bool = False
    is_code: bool = False


def render(report: Report) -> str:
    """Write the report in GitHub's markdown, in fewer than ``LARGEST`` bytes whatever it holds."""
    return next(text for rows in _ROWS if len((text := _render(report, rows)).encode()) < LARGEST)


def code(text: str, limit: int = NAME_LIMIT) -> str:
    """Put a name from a file into a code span that it cannot leave."""
    return f"`{_ACTIVE.sub(lambda found: escape(found[0]), visible(text, limit))}`"


def prose(text: str) -> str:
    """Write a sentence that may quote names: plain words stay, everything else goes into code spans."""
    parts: list[_Part] = []
    shown = sentence(text)
    end = 0
    for piece in _PIECE.finditer(shown):
        quoted, bare = piece.groups()
        spaced = piece.start() > end
        end = piece.end()
        if quoted:
            parts.append(_Part(quoted, spaced=spaced, is_code=True))
        elif _is_plain(bare, is_first=not parts):
            parts.append(_Part(bare, spaced=spaced))
        else:
            name = bare.rstrip(".,;:") or bare
            parts.append(_Part(name, spaced=spaced, is_code=True))
            if name != bare:
                parts.append(_Part(bare[len(name) :]))
    written = ""
    for part in parts:
        apart = part.spaced or (part.is_code and written.endswith("`"))
        written += (" " if written and apart else "") + (code(part.text, PROSE_LIMIT) if part.is_code else part.text)
    return written


def _render(report: Report, rows: int) -> str:
    blocks = [
        _heading(report),
        _failures(report.gate, rows),
        _amounts(report),
        _keys(report, rows) if unread_key(report) else [],
        _losing(report, rows),
        _others(report, rows),
        _folded("Known, in the baseline", _apart([finding.is_known for finding in report.findings], report, rows)),
        _folded("Suppressed", _apart([finding.is_suppressed for finding in report.findings], report, rows)),
        _decisions(report, rows),
        _repairs(report, rows),
        _folded("Evidence and remedies", _evidence(report, rows)),
        _folded("Tenants", _tenants(report, rows)),
        _folded("Readiness: share of calls and of cost that have each field", _readiness(report, rows)),
        _folded("Tenant keys and joins", [*_keys(report, rows), *_joins(report, rows)]),
        _folded("Gate", _checks(report.gate, rows)),
        _folded("Inputs, rules and notes", [*_inputs(report, rows), *_rules(report, rows), *_notes(report, rows)]),
        _footer(report),
        [MARKER],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _footer(report: Report) -> Lines:
    prices = f"prices {code(report.price_book)}, roll-up {code(report.rollup)}"
    return [f"<sub>trace-auditor {prose(report.version)}, {prices}</sub>"]


def _heading(report: Report) -> Lines:
    totals, gate = report.totals, report.gate
    share, claim = headline(report)
    sign = "❌" if not gate.passed else "⚠️" if gate.warnings else "✅"
    judged = "gate passed" if gate.passed else "gate failed"
    if not gate.passed and gate.exit_code == 0:
        judged += ", exit code 0 all the same"
    read = (
        f"{count(totals.calls, 'call')} in {count(totals.spans, 'span')} of "
        f"{count(totals.services, 'service')}, {day_range(report.start_ns, report.end_ns)}; {_ran(report)}."
    )
    return [f"### {sign} {share} {claim}: {judged}", "", read]


def _failures(gate: Gate, rows: int) -> Lines:
    def failure(check: GateCheck) -> str:
        return f"- {_checked(check)}" + (f"; {prose(check.hint)}" if check.hint else "")

    failed = [check for check in gate.checks if not check.passed]
    return _items(failed, failure, rows) + _items(gate.warnings, lambda text: f"- **warning** {prose(text)}", rows)


def _amounts(report: Report) -> Lines:
    totals = report.totals
    lines: Lines = []
    if report.findings or totals.internal.calls:
        named = [("direct", totals.direct), ("recoverable", totals.recoverable), ("lost", totals.lost)]
        if totals.internal.calls:
            named.append(("internal, in no share", totals.internal))
        if totals.conflict.calls:
            named.append(("in conflict, part of direct", totals.conflict))
        lines += _table(("", "calls", "cost", "share"), 1, [_amount(name, amount) for name, amount in named])
    missing = left_out(report, between=" to ")
    if missing:
        lines += [*([""] if lines else []), f"Not in these figures: {', '.join(missing)}."]
    left = excused(report.gate)
    if left:
        lines += [*([""] if lines else []), f"Not in the verdict: {left}."]
    return lines


def _losing(report: Report, rows: int) -> Lines:
    ranked = [
        (rank, finding)
        for rank, finding in enumerate(report.findings, 1)
        if finding.unattributed_calls and finding.is_open
    ]
    if not ranked:
        return []
    cells = [
        (
            str(rank),
            code(finding.rule),
            _route(finding),
            count(finding.unattributed_calls),
            in_dollars(finding.unattributed_cost),
            percent(finding.share),
            in_dollars(finding.recoverable_cost),
            HOP_WORDS[finding.hop.kind],
            finding.confidence.value,
        )
        for rank, finding in ranked[:rows]
    ]
    rest = [finding for _, finding in ranked[rows:]]
    if rest:
        shares = [finding.share for finding in rest if finding.share is not None]
        cells.append(
            (
                "",
                f"… and {len(rest):,} more",
                "",
                count(sum(finding.unattributed_calls for finding in rest)),
                in_dollars(sum(finding.unattributed_cost for finding in rest)),
                percent(fsum(shares) if shares else None),
                in_dollars(sum(finding.recoverable_cost for finding in rest)),
                "",
                "",
            )
        )
    headers = ("#", "rule", "route", "calls", "spend", "share", "recoverable", "hop", "confidence")
    return ["**Where the tenant is lost**", "", *_table(headers, 3, cells, words=2)]


def _others(report: Report, rows: int) -> Lines:
    ranked = [
        (rank, finding)
        for rank, finding in enumerate(report.findings, 1)
        if not finding.unattributed_calls and finding.is_open
    ]
    if not ranked:
        return []
    cells = [
        (
            str(rank),
            code(finding.rule),
            _route(finding),
            count(finding.calls),
            in_dollars(finding.cost),
            count(finding.unmetered_calls),
            HOP_WORDS[finding.hop.kind],
            finding.confidence.value,
        )
        for rank, finding in ranked[:rows]
    ]
    rest = [finding for _, finding in ranked[rows:]]
    if rest:
        cells.append(
            (
                "",
                f"… and {len(rest):,} more",
                "",
                count(sum(finding.calls for finding in rest)),
                in_dollars(sum(finding.cost for finding in rest)),
                count(sum(finding.unmetered_calls for finding in rest)),
                "",
                "",
            )
        )
    headers = ("#", "rule", "route", "calls", "spend", "unmetered", "hop", "confidence")
    return ["**Also found, tenant known**", "", *_table(headers, 3, cells, words=2)]


def _apart(chosen: Sequence[bool], report: Report, rows: int) -> Lines:
    """Write the findings that the gate does not look at."""
    ranked = [
        (rank, finding)
        for rank, (finding, is_chosen) in enumerate(zip(report.findings, chosen, strict=True), 1)
        if is_chosen
    ]
    if not ranked:
        return []
    cells = [
        (
            str(rank),
            code(finding.rule),
            _route(finding),
            count(finding.unattributed_calls or finding.calls),
            in_dollars(stakes_of(finding).shown_cost),
            percent(finding.share),
            HOP_WORDS[finding.hop.kind],
            finding.confidence.value,
        )
        for rank, finding in ranked[:rows]
    ]
    rest = [finding for _, finding in ranked[rows:]]
    if rest:
        calls = count(sum(finding.unattributed_calls or finding.calls for finding in rest))
        spend = in_dollars(sum(stakes_of(finding).shown_cost for finding in rest))
        cells.append(("", f"… and {len(rest):,} more", "", calls, spend, "", "", ""))
    return _table(("#", "rule", "route", "calls", "spend", "share", "hop", "confidence"), 3, cells, words=2)


def _decisions(report: Report, rows: int) -> Lines:
    """Write what was decided on findings: the suppressions of the settings, and the baseline."""
    lines = _items(report.suppressions, lambda line: f"- {line.state.value}: {prose(suppression(line))}", rows)
    if lines:
        lines = ["**Suppressions**", "", *lines]
    used = report.baseline
    if used is not None:
        written = ", made of this run" if used.is_updated else ""
        said = f"**Baseline** {code(used.path)}{written}: {baseline_counts(report)}"
        lines += [*([""] if lines else []), said]
        if used.gone:
            lines += ["", *_items(used.gone, _gone, rows)]
    return lines


def _gone(entry: GoneFinding) -> str:
    operation = f" ({code(entry.operation, 32)})" if entry.operation else ""
    was = prose(f"was {in_dollars(entry.unattributed_cost)}, {percent(entry.share)}")
    return f"- gone: {code(entry.rule)} at {_place(entry.hop)}{operation}, {was}"


def _repairs(report: Report, rows: int) -> Lines:
    if not report.plan:
        return []
    lines = ["**Repair first**", ""]
    before = report.totals.unattributed.share
    passes = report.gate.passed
    for rank, repair in enumerate(report.plan[:rows], 1):
        gate = ", **gate passes**" if repair.gate_passes and not passes else ""
        passes = passes or repair.gate_passes
        lines.append(
            f"{rank}. {prose(repair.remedy)} ({code(repair.rule)} at {_place(repair.hop)}, frees "
            f"{in_dollars(repair.cost_freed)}): {percent(before)} → **{percent(repair.share_after)}**{gate}"
        )
        before = repair.share_after
    rest = report.plan[rows:]
    if rest:
        freed = in_dollars(sum(repair.cost_freed for repair in rest))
        lines += ["", f"… and {len(rest):,} more, freeing {freed}, down to {percent(rest[-1].share_after)}"]
    return lines


def _evidence(report: Report, rows: int) -> Lines:
    lines: Lines = []
    for rank, finding in enumerate(report.findings[:rows], 1):
        lines.append(f"- **{rank}** {code(finding.rule)} {prose(finding.title)}")
        stands = compared(finding)
        below = [prose(stands)] if stands else []
        below += [prose(text) for text in finding.evidence[:rows]]
        below += [
            f"for example span {code(sample.span_id)} of trace {code(sample.trace_id)}, "
            f"{code(sample.input)}{f' line {sample.line:,}' if sample.line else ''}{_made(sample)}"
            for sample in finding.samples[:1]
        ]
        if finding.unmetered_estimate:
            about = money_range(finding.unmetered_estimate, " to ")
            below.append(f"{count(finding.unmetered_calls, 'call')} unmetered, about {about}")
        if finding.also_fits:
            below.append(f"also fits: {_listed(finding.also_fits, code, rows)}")
        below.append(f"to repair it: {prose(finding.remedy)}")
        lines += [f"  - {text}" for text in below]
    rest = len(report.findings) - rows
    return [*lines, f"- … and {rest:,} more"] if rest > 0 else lines


def _made(sample: Sample) -> str:
    return f", made at {code(sample.code.file)} line {sample.code.line:,}" if sample.code else ""


def _tenants(report: Report, rows: int) -> Lines:
    spread = report.concentration
    shown = report.tenants[:rows]
    lines = [f"{count(spread.tenants, 'tenant')}."]
    if spread.tenants > 1 and spread.top_5_percent_share is not None:
        lines[0] += (
            f" The top 5 % have {percent(spread.top_5_percent_share)} of attributed spend; "
            f"80 % of it comes from {count(spread.tenants_for_80_percent, 'tenant')}."
        )
    cells = [
        (
            code(line.tenant_id),
            count(line.calls),
            in_dollars(line.direct_cost),
            in_dollars(line.recovered_cost),
            percent(line.share),
        )
        for line in shown
    ]
    rest = spread.tenants - len(shown)
    if rest > 0:
        direct = report.totals.direct.cost - sum(line.direct_cost for line in shown)
        recovered = report.totals.recoverable.cost - sum(line.recovered_cost for line in shown)
        cells.append((f"… and {rest:,} more", "", in_dollars(direct), in_dollars(recovered), ""))
    return [*lines, "", *_table(("tenant", "calls", "direct", "recovered", "share"), 1, cells)] if cells else lines


def _readiness(report: Report, rows: int) -> Lines:
    cells = [(code(line.field), percent(line.calls_share), percent(line.cost_share)) for line in report.readiness]
    shown, rest = cells[: max(rows, 9)], cells[max(rows, 9) :]
    if rest:
        shown.append((f"… and {len(rest):,} more", "", ""))
    return _table(("field", "of calls", "of cost"), 1, shown) if shown else []


def _keys(report: Report, rows: int) -> Lines:
    def used(line: TenantKey) -> str:
        return f"- read as the tenant: {code(line.key)} on {count(line.calls, 'call')}"

    def candidate(line: CandidateKey) -> str:
        known = f"{line.known_values:,} of them known tenants"
        values = f"{count(line.distinct, 'value')}, {known}"
        return f"- perhaps the tenant: {code(line.key)} on {percent(line.coverage)} of calls, {values}"

    return _items(report.tenant_keys, used, rows) + _items(report.candidate_keys, candidate, rows)


def _joins(report: Report, rows: int) -> Lines:
    def join(line: JoinLine) -> str:
        return f"- recovered by {code(line.join)}: {in_dollars(line.cost)} on {count(line.calls, 'call')}"

    return _items(report.joins, join, rows)


def _checks(gate: Gate, rows: int) -> Lines:
    checks = _items(gate.checks, lambda check: f"- {_checked(check)}", rows)
    return [*checks, f"- exit code {gate.exit_code}"]


def _checked(check: GateCheck) -> str:
    measures = " against a limit of ".join(map(prose, measured(check)))
    return f"{'passed' if check.passed else '**failed**'} {code(check.name)}: {measures}"


def _inputs(report: Report, rows: int) -> Lines:
    def named(source: InputSummary) -> str:
        read = f"{count(source.records, 'record')}, {count(source.spans, 'span')}, {source.rejected:,} rejected"
        return f"- {code(source.path)}: {code(source.format)}, {read}"

    def rejected(at: tuple[InputSummary, Rejection]) -> str:
        source, place = at
        return f"- rejected {code(source.path)} line {place.line:,}: {prose(place.reason)}"

    places = [(source, place) for source in report.inputs for place in source.rejections]
    return _items(report.inputs, named, rows) + _items(places, rejected, rows)


def _rules(report: Report, rows: int) -> Lines:
    def skipped(line: NotChecked) -> str:
        return f"- not checked: {code(line.rule)}, {prose(line.reason)}"

    return [f"- {_ran(report)}", *_items(report.not_checked, skipped, rows)]


def _ran(report: Report) -> str:
    return f"{count(len(report.rules_run), 'rule')} run, {len(report.not_checked):,} not checked"


def _notes(report: Report, rows: int) -> Lines:
    def noted(at: tuple[InputSummary, str]) -> str:
        source, note = at
        return f"- {code(source.path)}: {prose(note)}"

    totals = report.totals
    calls = (
        f"- {totals.failed:,} calls failed, {totals.cache_hits:,} were answered from a cache, "
        f"{totals.duplicates.calls:,} were seen twice and counted once"
    )
    hashed = ["- ids are hashed"] if report.ids_hashed else []
    whole = _items(report.notes, lambda note: f"- {prose(note)}", rows)
    notes = [(source, note) for source in report.inputs for note in source.notes]
    return [calls, *hashed, *whole, *_items(notes, noted, rows)]


def _is_plain(word: str, *, is_first: bool) -> bool:
    """Say whether a word can stand as it is; a commit id cannot, nor what would begin a list."""
    if _COMMIT.fullmatch(word) or (is_first and _LIST_ITEM.fullmatch(word)):
        return False
    return bool(_PLAIN.fullmatch(word))


def _folded(title: str, lines: Lines) -> Lines:
    """Hide lines behind a title; the empty lines make their markdown count inside the element."""
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"] if lines else []


def _table(headers: Sequence[str], names: int, rows: Iterable[Sequence[str]], words: int = 0) -> Lines:
    """Write a table whose columns are numbers but for the first ``names`` and the last ``words``."""
    numbers = len(headers) - names - words
    sides = ["---"] * names + ["--:"] * numbers + ["---"] * words
    return [f"| {' | '.join(cells)} |" for cells in (headers, sides, *rows)]


def _items(things: Sequence[T], write: Callable[[T], str], rows: int) -> Lines:
    """Write the first things, one a line, and count the others."""
    rest = len(things) - rows
    return [*map(write, things[:rows]), *([f"- … and {rest:,} more"] if rest > 0 else [])]


def _listed(names: Sequence[str], write: Callable[[str], str], rows: int) -> str:
    rest = len(names) - rows
    return ", ".join(map(write, names[:rows])) + (f" and {rest:,} more" if rest > 0 else "")


def _amount(name: str, amount: Amount) -> tuple[str, ...]:
    return (name, count(amount.calls), in_dollars(amount.cost), percent(amount.share))


def _route(finding: Finding) -> str:
    """Write the services on the way; the arrow of the hop that loses the tenant is bold."""
    hop = finding.hop
    route = finding.route or (hop.source, hop.target)
    steps = [
        (f" {_arrow(hop, bold=(before, service) == (hop.source, hop.target))} {code(service, 32)}")
        for before, service in pairwise(route)
        if before != service
    ]
    if len(steps) > _SERVICES:
        steps[2 : 2 - _SERVICES] = [f" → … {count(len(steps) - _SERVICES + 1, 'service')} …"]
    operation = f" ({code(finding.operation, 32)})" if finding.operation else ""
    return f"{code(route[0], 32)}{''.join(steps)}{operation}"


def _arrow(hop: Hop, *, bold: bool) -> str:
    if not bold:
        return "→"
    return "**⇢**" if hop.kind is HopKind.QUEUE else "**→**"


def _place(hop: Hop) -> str:
    if hop.source == hop.target:
        return code(hop.source, 32)
    return f"{code(hop.source, 32)} {_arrow(hop, bold=True)} {code(hop.target, 32)}"
