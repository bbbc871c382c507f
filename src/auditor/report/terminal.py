"""The report for a person at a terminal: what matters first, at any width, nothing from a file as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from math import fsum
from shlex import quote
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from auditor.model.money import in_dollars
from auditor.model.report import Finding, GateCheck, Hop, HopKind, Report, SuppressionState
from auditor.model.stakes import stakes_of
from auditor.report.wording import (
    HOP_WORDS,
    baseline_counts,
    compared,
    count,
    day_range,
    excused,
    headline,
    inputs_named,
    left_out,
    measured,
    money_range,
    percent,
    sentence,
    suppression,
    unread_key,
    verdict,
    visible,
)

DEFAULT_WIDTH: Final = 80
MOST_FINDINGS: Final = 20
MOST_REPAIRS: Final = 5
MOST_TENANTS: Final = 5
MOST_LINES: Final = 10
MOST_SERVICES: Final = 6

_NARROWEST = 60
_LABEL = 14
_INDENT = 8
_ABOUT = "dim"
_BAD = "bold red"
_GOOD = "green"
_WARN = "yellow"
_HEAD = "bold"

Block = list[Text]


def render(report: Report, *, width: int | None = None, color: bool | None = None) -> str:
    """Lay the report out in ``width`` columns (80 where unknown, 60 at least), coloured only if asked to."""
    width = max(width or DEFAULT_WIDTH, _NARROWEST)
    page = StringIO()
    console = Console(
        file=page,
        width=width,
        height=100,
        color_system="standard" if color else None,
        force_terminal=bool(color),
        force_jupyter=False,
        force_interactive=False,
        no_color=not color,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    blocks = [block for block in _Page(console, width).blocks(report) if block]
    for number, block in enumerate(blocks):
        if number:
            console.print()
        for line in block:
            line.rstrip()
            console.print(line, soft_wrap=True)
    return page.getvalue()


@dataclass(frozen=True, slots=True)
class _Row:
    """One finding in a table: what fits on its line, and what goes below it."""

    rank: str
    name: Text
    route: Text
    numbers: tuple[str, ...]
    tail: tuple[Text, ...]
    below: Text | None = None


@dataclass(frozen=True, slots=True)
class _Page:
    console: Console
    width: int

    def blocks(self, report: Report) -> Iterable[Block]:
        """Give the parts of the report, apart from each other by an empty line."""
        yield self._sources(report)
        yield self._share(report)
        if unread_key(report):
            # Before anything else: the figures say little while the tenant stands under a key nobody reads.
            yield self._keys(report)
        if not report.findings:
            yield self._summary(report)
            return
        yield self._losing(report)
        yield self._others(report)
        yield self._apart("Known, in the baseline", report, [finding.is_known for finding in report.findings])
        yield self._apart("Suppressed", report, [finding.is_suppressed for finding in report.findings])
        yield self._repairs(report)
        yield [
            *self._tenants(report),
            *self._readiness(report),
            *([] if unread_key(report) else self._keys(report)),
            *self._joins(report),
        ]
        yield [*self._rejected(report), *self._rules(report), *self._notes(report)]
        yield self._decisions(report)
        yield self._gate(report)

    def _summary(self, report: Report) -> Block:
        """Sum up a run without findings: what was seen and checked, and only what is out of the ordinary."""
        gate = report.gate
        partial = [line for line in report.readiness if line.calls_share < 1]
        fields = [Text(f"{visible(line.field)} {percent(line.calls_share)}") for line in partial]
        return [
            *self._labelled("Tenants", _spread(report)),
            *self._labelled(
                "Readiness",
                [Text("on every call, except" if fields else "every field on every call"), *fields],
            ),
            *([] if unread_key(report) else self._keys(report)),
            *self._rejected(report),
            *self._rules(report),
            *self._notes(report),
            *self._decisions(report),
            *([] if gate.passed and not gate.warnings else self._gate(report)),
        ]

    def _sources(self, report: Report) -> Block:
        totals = report.totals
        parts = [
            *(Text(name, _HEAD) for name in inputs_named(report.inputs)),
            Text(count(totals.spans, "span")),
            Text(count(totals.calls, "call")),
            Text(count(totals.services, "service")),
            Text(day_range(report.start_ns, report.end_ns)),
        ]
        return self._flow(parts, self.width)

    def _share(self, report: Report) -> Block:
        totals = report.totals
        share, claim = headline(report)
        said = Text.assemble((share.ljust(_INDENT), _HEAD), claim)
        judged = Text(verdict(report.gate), _GOOD if report.gate.passed else _BAD)
        lines = [said]
        if said.cell_len + judged.cell_len + 4 <= self.width:
            said.append("    ").append_text(judged)
        else:
            lines += self._indented([judged])
        parts = [
            Text(f"direct {in_dollars(totals.direct.cost)}"),
            Text(f"recoverable {in_dollars(totals.recoverable.cost)}"),
            Text(f"lost {in_dollars(totals.lost.cost)}"),
        ]
        if totals.internal.calls:
            parts.append(Text(f"internal {in_dollars(totals.internal.cost)}, in no share", _ABOUT))
        if report.findings or totals.internal.calls:
            lines += self._indented(parts, gap="   ")
        left = excused(report.gate)
        if left:
            lines += self._indented([Text(f"not in the verdict: {left}", _ABOUT)])
        if totals.conflict.calls:
            lines += self._indented(
                [
                    Text(f"in conflict {in_dollars(totals.conflict.cost)}", _WARN),
                    Text(
                        f"({count(totals.conflict.calls, 'call')} on another tenant than their request)",
                        _WARN,
                    ),
                ],
                gap=" ",
            )
        missing = left_out(report)
        if missing:
            parts = [Text(f"{part}," if part != missing[-1] else part, _WARN) for part in missing]
            lines += self._indented([Text("not in these figures:", _WARN), *parts], gap=" ")
        return lines

    def _losing(self, report: Report) -> Block:
        """Show the findings that hold unattributed calls, by dollars."""
        ranked = [
            (rank, finding)
            for rank, finding in enumerate(report.findings, 1)
            if finding.unattributed_calls and finding.is_open
        ]
        rows = [_losing_row(rank, finding) for rank, finding in ranked[:MOST_FINDINGS]]
        rest = [finding for _, finding in ranked[MOST_FINDINGS:]]
        if rest:
            shares = [finding.share for finding in rest if finding.share is not None]
            rows.append(
                _rest_row(
                    len(rest),
                    count(sum(finding.unattributed_calls for finding in rest)),
                    in_dollars(sum(finding.unattributed_cost for finding in rest)),
                    percent(fsum(shares) if shares else None),
                    in_dollars(sum(finding.recoverable_cost for finding in rest)),
                )
            )
        if not rows:
            return []
        lines = self._table("Where the tenant is lost", ("calls", "spend", "share", "recoverable"), rows)
        sample = next((sample for _, finding in ranked for sample in finding.samples), None)
        if sample is not None:
            where = f"{quote(visible(sample.trace_id))} {quote(visible(sample.input))}"
            lines += self._wrapped(Text(f"one as a tree: audit explain {where}", _ABOUT), 3)
        return lines

    def _others(self, report: Report) -> Block:
        """Show the findings whose calls have a tenant: the wrong one, or no usage."""
        ranked = [
            (rank, finding)
            for rank, finding in enumerate(report.findings, 1)
            if not finding.unattributed_calls and finding.is_open
        ]
        rows = [_other_row(rank, finding) for rank, finding in ranked[:MOST_FINDINGS]]
        rest = [finding for _, finding in ranked[MOST_FINDINGS:]]
        if rest:
            rows.append(
                _rest_row(
                    len(rest),
                    count(sum(finding.calls for finding in rest)),
                    in_dollars(sum(finding.cost for finding in rest)),
                    count(sum(finding.unmetered_calls for finding in rest)),
                )
            )
        return self._table("Also found, tenant known", ("calls", "spend", "unmetered"), rows) if rows else []

    def _apart(self, title: str, report: Report, chosen: Sequence[bool]) -> Block:
        """Show the findings that the gate does not look at."""
        ranked = [
            (rank, finding)
            for rank, (finding, is_chosen) in enumerate(zip(report.findings, chosen, strict=True), 1)
            if is_chosen
        ]
        rows = [_row(rank, finding, _stakes(finding)) for rank, finding in ranked[:MOST_FINDINGS]]
        rest = [finding for _, finding in ranked[MOST_FINDINGS:]]
        if rest:
            shares = [finding.share for finding in rest if finding.share is not None]
            rows.append(
                _rest_row(
                    len(rest),
                    count(sum(finding.unattributed_calls or finding.calls for finding in rest)),
                    in_dollars(sum(stakes_of(finding).shown_cost for finding in rest)),
                    percent(fsum(shares) if shares else None),
                )
            )
        return self._table(title, ("calls", "spend", "share"), rows) if rows else []

    def _decisions(self, report: Report) -> Block:
        """Show what was decided on findings: the suppressions of the settings, and the baseline."""
        lines: Block = []
        for number, line in enumerate(report.suppressions):
            style = _BAD if line.state in {SuppressionState.EXPIRED, SuppressionState.EXCEEDED} else _ABOUT
            text = Text.assemble((f"{line.state.value} ", style), sentence(suppression(line)))
            lines += self._labelled("" if number else "Suppressions", [text])
        if report.baseline is not None:
            written = ", made of this run" if report.baseline.is_updated else ""
            text = Text(f"{visible(report.baseline.path)}{written}: {baseline_counts(report)}")
            lines += self._labelled("Baseline", [text])
            for gone in report.baseline.gone[:MOST_LINES]:
                was = f"was {in_dollars(gone.unattributed_cost)}, {percent(gone.share)}"
                operation = f" ({visible(gone.operation, 32)})" if gone.operation else ""
                about = f"gone: {visible(gone.rule, 32)} at {_hop_place(gone.hop)}{operation}, {was}"
                lines += self._labelled("", [Text(about, _GOOD)])
            rest = len(report.baseline.gone) - MOST_LINES
            if rest > 0:
                lines += self._labelled("", [Text(f"… and {rest:,} more gone", _ABOUT)])
            if report.baseline.gone:
                lines += self._labelled("", [Text("--update-baseline takes what is gone out of it", _ABOUT)])
        return lines

    def _repairs(self, report: Report) -> Block:
        if not report.plan:
            return []
        lines = [Text("Repair first", _HEAD)]
        before = report.totals.unattributed.share
        passes = report.gate.passed
        effects: Block = []
        for repair in report.plan[:MOST_REPAIRS]:
            effect = Text(f"{percent(before)} → {percent(repair.share_after)}", _HEAD)
            if repair.gate_passes and not passes:
                effect.append("  gate passes", _GOOD)
                passes = True
            before = repair.share_after
            effects.append(effect)
        room = self.width - 3 - 2 - max(map(_cells, effects))
        for rank, (repair, effect) in enumerate(zip(report.plan, effects, strict=False), 1):
            remedy = Text(sentence(repair.remedy)).wrap(self.console, room, overflow="fold")
            lines.append(Text(f"{rank}  ").append_text(_padded(remedy[0], room + 2)).append_text(effect))
            lines += [Text("   ").append_text(line) for line in remedy[1:]]
            about = [
                Text(visible(repair.rule), _ABOUT),
                Text(f"at {_hop_place(repair.hop)}", _ABOUT),
                Text(f"frees {in_dollars(repair.cost_freed)}", _ABOUT),
            ]
            lines += self._indented(about, 3)
        rest = report.plan[MOST_REPAIRS:]
        if rest:
            freed = in_dollars(sum(repair.cost_freed for repair in rest))
            last = percent(rest[-1].share_after)
            lines.append(Text(f"   … and {len(rest):,} more, freeing {freed}, down to {last}", _ABOUT))
        return lines

    def _tenants(self, report: Report) -> Block:
        lines = self._labelled("Tenants", _spread(report))
        shown = report.tenants[:MOST_TENANTS]
        rows = [
            (
                visible(line.tenant_id, 32),
                in_dollars(line.direct_cost + line.recovered_cost),
                percent(line.share),
                in_dollars(line.recovered_cost),
            )
            for line in shown
        ]
        rest = report.concentration.tenants - len(shown)
        if rest > 0:
            recovered = report.totals.recoverable.cost
            left = recovered - sum(line.recovered_cost for line in shown)
            both = report.totals.direct.cost + recovered
            both -= sum(line.direct_cost + line.recovered_cost for line in shown)
            rows.append((f"… and {rest:,} more", in_dollars(both), "", in_dollars(left)))
        return lines + self._columns(("", "spend", "share", "recovered"), rows) if rows else lines

    def _readiness(self, report: Report) -> Block:
        shares = [
            Text(f"{visible(line.field)} {percent(line.calls_share)} ({percent(line.cost_share)})")
            for line in report.readiness
        ]
        return (
            self._labelled("Readiness", [Text("share of calls (of cost) that have", _ABOUT), *shares]) if shares else []
        )

    def _keys(self, report: Report) -> Block:
        used = [Text(f"{visible(line.key)} ({count(line.calls, 'call')})") for line in report.tenant_keys]
        lines = self._labelled("Tenant keys", _most(used)) if used else []
        for number, line in enumerate(report.candidate_keys[:MOST_LINES]):
            known = f", {line.known_values:,} of them known tenants" if line.known_values else ""
            parts = [
                Text(visible(line.key), _WARN),
                Text(f"on {percent(line.coverage)} of calls"),
                Text(f"{count(line.distinct, 'value')}{known}"),
            ]
            lines += self._labelled("" if number else "Perhaps a key", parts)
        rest = len(report.candidate_keys) - MOST_LINES
        if rest > 0:
            lines += self._labelled("", [Text(f"… and {rest:,} more", _ABOUT)])
        if report.candidate_keys:
            key = quote(visible(report.candidate_keys[0].key))
            lines += self._labelled("", [Text(f"to read it as the tenant: --tenant-key {key}", _ABOUT)])
        return lines

    def _joins(self, report: Report) -> Block:
        parts = [
            Text(f"{visible(line.join)} {in_dollars(line.cost)} ({count(line.calls, 'call')})") for line in report.joins
        ]
        return self._labelled("Recovered by", _most(parts)) if parts else []

    def _rejected(self, report: Report) -> Block:
        places = [(source, place) for source in report.inputs for place in source.rejections]
        lines: Block = []
        for number, (source, place) in enumerate(places[:3]):
            text = f"{visible(source.path)} line {place.line:,}, byte {place.byte:,}: {sentence(place.reason)}"
            lines += self._labelled("" if number else "Rejected", [Text(text, _WARN)])
        rest = sum(source.rejected for source in report.inputs) - len(places[:3])
        if rest > 0:
            label = "" if lines else "Rejected"
            lines += self._labelled(
                label, [Text(f"… and {count(rest, 'record')} more" if lines else count(rest, "record"))]
            )
        return lines

    def _rules(self, report: Report) -> Block:
        lines: Block = []
        for number, line in enumerate(report.not_checked[:MOST_FINDINGS]):
            text = Text(f"{visible(line.rule)}: {sentence(line.reason)}", _WARN)
            lines += self._labelled("" if number else "Not checked", [text])
        run = count(len(report.rules_run), "rule")
        return lines + self._labelled("Rules", [Text(f"{run} run, {len(report.not_checked):,} not checked")])

    def _notes(self, report: Report) -> Block:
        totals = report.totals
        lines: Block = []
        seen = [
            (totals.failed, "failed"),
            (totals.cache_hits, "answered from a cache"),
            (totals.duplicates.calls, "seen twice and counted once"),
        ]
        parts = [Text(f"{number:,} {what}") for number, what in seen if number]
        tokens = Text(f"{totals.input_tokens:,} input and {totals.output_tokens:,} output tokens")
        lines += self._labelled("Calls", [tokens, *parts])
        priced = [
            Text(f"prices: {visible(report.price_book, 120)}"),
            Text(f"roll-up: {visible(report.rollup)}"),
        ]
        if report.ids_hashed:
            priced.append(Text("ids are hashed"))
        lines += self._labelled("Settings", priced)
        for number, note in enumerate(_noted(report)):
            lines += self._labelled("" if number else "Notes", [Text(note)])
        return lines

    def _gate(self, report: Report) -> Block:
        gate = report.gate
        lines: Block = []
        for number, check in enumerate(gate.checks):
            lines += self._labelled("" if number else "Gate", _checked(check), gap=" ")
            if not check.passed and check.hint:
                lines += self._labelled("", [Text(sentence(check.hint), _ABOUT)])
        for warning in gate.warnings:
            lines += self._labelled("" if lines else "Gate", [Text(f"warning: {sentence(warning)}", _WARN)])
        code = Text(f"exit code {gate.exit_code}", _GOOD if gate.passed else _BAD)
        return lines + self._labelled("" if lines else "Gate", [code])

    def _table(self, title: str, headers: tuple[str, ...], rows: Sequence[_Row]) -> Block:
        """Set findings out on one line each if all of them fit, else on two."""
        widths = [max(map(len, column)) for column in zip(headers, *(row.numbers for row in rows), strict=True)]
        digits = sum(widths) + 2 * len(widths)
        rank = max(len(row.rank) for row in rows)
        name = max(row.name.cell_len for row in rows)
        route = max(row.route.cell_len for row in rows)
        tails = [max(map(_cells, column)) for column in zip(*(row.tail for row in rows if row.tail), strict=True)]
        one_line = rank + 2 + name + 2 + route + digits + sum(tails) + 2 * len(tails) <= self.width
        left = max(rank + 2 + name + 2 + route, len(title)) if one_line else self.width - digits
        lines = [_padded(Text(title, _HEAD), left).append_text(Text(_right(headers, widths), _ABOUT))]
        for row in rows:
            start = Text(f"{row.rank:>{rank}}  ").append_text(_padded(row.name, name) if one_line else row.name)
            if one_line:
                start.append("  ").append_text(row.route)
            line = _padded(start, left).append(_right(row.numbers, widths))
            for text, width in zip(row.tail, tails, strict=False):
                if one_line:
                    line.append("  ").append_text(_padded(text, width))
            lines.append(line)
            if not one_line and row.tail:
                lines += self._indented([row.route, *row.tail], rank + 2)
            if row.below is not None:
                lines += self._wrapped(row.below, rank + 2)
        return lines

    def _columns(self, headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Block:
        """Set rows out below a label: a name, and numbers to the right of it."""
        names, *numbers = zip(headers, *rows, strict=True)
        widths = [max(map(len, column)) for column in numbers]
        digits = sum(widths) + 2 * len(widths)
        name = max(cell_len(cell) for cell in names)
        indent = _LABEL if _LABEL + name + digits <= self.width else 2
        name = min(name, self.width - indent - digits)
        lines = [Text(" " * (indent + name) + _right(headers[1:], widths), _ABOUT)]
        return lines + [
            Text(" " * indent).append_text(_padded(Text(row[0]), name)).append(_right(row[1:], widths)) for row in rows
        ]

    def _labelled(self, label: str, parts: Sequence[Text], gap: str = "  ") -> Block:
        lines = self._flow(parts, self.width - _LABEL, gap)
        labels = [label] + [""] * (len(lines) - 1)
        return [Text.assemble((text.ljust(_LABEL), _HEAD), line) for text, line in zip(labels, lines, strict=True)]

    def _indented(self, parts: Sequence[Text], indent: int = _INDENT, gap: str = "  ") -> Block:
        return [Text(" " * indent).append_text(line) for line in self._flow(parts, self.width - indent, gap)]

    def _wrapped(self, text: Text, indent: int) -> Block:
        return self._indented([text], indent)

    def _flow(self, parts: Sequence[Text], width: int, gap: str = "  ") -> Block:
        """Put parts on lines, broken between parts; a part that is too long for a line is broken at words."""
        lines: Block = []
        for part in parts:
            if lines and lines[-1].cell_len + len(gap) + part.cell_len <= width:
                lines[-1].append(gap).append_text(part)
            else:
                wrapped = part.wrap(self.console, width, overflow="fold")
                lines += [Text().append_text(line) for line in wrapped]
        return lines


def _spread(report: Report) -> Block:
    """Say how many tenants there are and how unevenly spend lies over them."""
    spread = report.concentration
    if not spread.tenants:
        return [Text("none on any call", _WARN)]
    parts = [Text(count(spread.tenants, "tenant"))]
    if spread.tenants > 1 and spread.top_5_percent_share is not None:
        parts.append(Text(f"top 5 % = {percent(spread.top_5_percent_share)} of attributed spend"))
        parts.append(Text(f"80 % of it from {count(spread.tenants_for_80_percent, 'tenant')}"))
    return parts


def _losing_row(rank: int, finding: Finding) -> _Row:
    numbers = (
        count(finding.unattributed_calls),
        in_dollars(finding.unattributed_cost),
        percent(finding.share),
        in_dollars(finding.recoverable_cost),
    )
    return _row(rank, finding, numbers)


def _other_row(rank: int, finding: Finding) -> _Row:
    return _row(rank, finding, (count(finding.calls), in_dollars(finding.cost), count(finding.unmetered_calls)))


def _stakes(finding: Finding) -> tuple[str, ...]:
    calls = finding.unattributed_calls or finding.calls
    return count(calls), in_dollars(stakes_of(finding).shown_cost), percent(finding.share)


def _row(rank: int, finding: Finding, numbers: tuple[str, ...]) -> _Row:
    below = None
    if finding.unmetered_calls:
        estimate = finding.unmetered_estimate
        about = f", about {money_range(estimate)}" if estimate else ""
        below = Text(f"{count(finding.unmetered_calls, 'call')} unmetered{about}", _WARN)
    stands = compared(finding)
    if stands:
        below = Text(stands, _BAD).append_text(Text("; ").append_text(below) if below else Text())
    return _Row(
        rank=str(rank),
        name=Text(visible(finding.rule, 32)),
        route=_route(finding),
        numbers=numbers,
        tail=(Text(HOP_WORDS[finding.hop.kind]), Text(finding.confidence.value, _ABOUT)),
        below=below,
    )


def _rest_row(number: int, *numbers: str) -> _Row:
    return _Row(rank="", name=Text(f"… and {number:,} more", _ABOUT), route=Text(), numbers=numbers, tail=())


def _route(finding: Finding) -> Text:
    """Write the services on the way with the hop that loses the tenant marked."""
    hop = finding.hop
    route = finding.route or (hop.source, hop.target)
    steps = [
        (service, _arrow(hop) if (before, service) == (hop.source, hop.target) else (" → ", ""))
        for before, service in pairwise(route)
        if before != service
    ]
    text = Text(visible(route[0], 32))
    hidden = len(steps) - MOST_SERVICES
    for number, (service, arrow) in enumerate(steps):
        if 0 <= number - 2 < hidden:
            if number == 2:
                text.append(f" → … {count(hidden, 'service')} …")
            continue
        text.append(*arrow).append(visible(service, 32))
    return text.append(f" ({visible(finding.operation, 32)})" if finding.operation else "", _ABOUT)


def _arrow(hop: Hop) -> tuple[str, str]:
    return (" ⇢ " if hop.kind is HopKind.QUEUE else " → ", _BAD)


def _hop_place(hop: Hop) -> str:
    source, target = visible(hop.source, 32), visible(hop.target, 32)
    return source if hop.source == hop.target else f"{source}{_arrow(hop)[0]}{target}"


def _checked(check: GateCheck) -> list[Text]:
    actual, limit = measured(check)
    word, style = ("passed", _GOOD) if check.passed else ("FAILED", _BAD)
    return [
        Text(word, style),
        Text(visible(check.name)),
        Text(f"{actual},"),
        Text(f"limit {limit}"),
    ]


def _noted(report: Report) -> list[str]:
    """Collect the notes on the whole input and on each file."""
    notes = [sentence(note) for note in report.notes]
    notes += [f"{visible(source.path)}: {sentence(note)}" for source in report.inputs for note in source.notes]
    rest = len(notes) - MOST_LINES
    return [*notes[:MOST_LINES], f"… and {rest:,} more"] if rest > 0 else notes


def _most(parts: list[Text]) -> list[Text]:
    rest = len(parts) - MOST_LINES
    return [*parts[:MOST_LINES], Text(f"… and {rest:,} more", _ABOUT)] if rest > 0 else parts


def _right(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _padded(text: Text, width: int) -> Text:
    """Bring text to a width; its style stays with it and does not pass to what is appended."""
    padded = text.copy()
    padded.truncate(width, overflow="ellipsis", pad=True)
    return Text().append_text(padded)


def _cells(text: Text) -> int:
    return text.cell_len
