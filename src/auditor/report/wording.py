"""How amounts, shares, times and names read: the same words for the terminal and for markdown."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from auditor.model.money import PICO, in_dollars
from auditor.model.report import (
    Finding,
    Gate,
    GateCheck,
    GateUnit,
    HopKind,
    InputSummary,
    Range,
    Report,
    Standing,
    SuppressionLine,
)

NAME_LIMIT = 64
"""Characters of a name from a file that are shown; the report as JSON has all of them."""

PROSE_LIMIT = 400
"""Characters of a sentence that are shown: sentences quote names from files."""

DASH = "\N{EN DASH}"

UNKNOWN = "\N{EM DASH}"
"""Stands where there is no number."""

HOP_WORDS = {
    HopKind.PROCESS: "process hop",
    HopKind.QUEUE: "queue hop",
    HopKind.THREAD: "thread hop",
    HopKind.STREAM: "stream",
    HopKind.BATCH: "batch",
    HopKind.CUT: "trace cut",
    HopKind.NONE: "no hop",
}

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories that a screen acts on or hides: controls, formats (bidi, zero width), surrogates."""
_EXTRA_DIGITS = 12


def visible(text: str, limit: int = NAME_LIMIT) -> str:
    """Make a name from a file safe to show: what cannot be seen is escaped, what is too long is shortened.

    The middle is left out, because names in one trace often share how they begin.
    """
    if len(text) > 2 * limit:
        text = text[:limit] + text[-limit:]
    shown = "".join(map(_visible_character, text))
    if shown != shown.strip() or not shown:
        shown = f'"{shown}"'
    if len(shown) <= limit:
        return shown
    head = limit * 2 // 3
    return f"{shown[:head]}…{shown[head + 1 - limit :]}"


def sentence(text: str) -> str:
    """Make a sentence that may quote names from a file safe to show."""
    return visible(text.strip(), PROSE_LIMIT) if text.strip() else ""


def escape(character: str) -> str:
    r"""Write one character as it would be escaped in source code: ``\x1b``, ``\u202e``."""
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def percent(share: float | None) -> str:
    """Write a fraction as a percentage with one decimal; never 0 or 100 for what is only close to it."""
    if share is None:
        return UNKNOWN
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{share * 100:.1f} %"


def count(number: int, noun: str = "", plural: str = "") -> str:
    """Write a number with thousands separated, and what it counts."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def money_range(estimate: Range, between: str = DASH) -> str:
    """Write an estimated range of money."""
    return f"{in_dollars(estimate.low)}{between}{in_dollars(estimate.high)}"


def day_range(start_ns: int | None, end_ns: int | None) -> str:
    """Write two Unix times in nanoseconds as the days between them, or the minutes within one day; UTC."""
    if start_ns is None or end_ns is None:
        return "time unknown"
    start, end = utc(start_ns), utc(end_ns)
    last = f"{end.day} {_month(end)} {end.year}"
    if start.date() == end.date():
        times = sorted({f"{start:%H:%M}", f"{end:%H:%M}"})
        return f"{last} {DASH.join(times)} UTC"
    if start.year != end.year:
        return f"{start.day} {_month(start)} {start.year} {DASH} {last} UTC"
    if start.month != end.month:
        return f"{start.day} {_month(start)} {DASH} {last} UTC"
    return f"{start.day}{DASH}{last} UTC"


def utc(nanoseconds: int) -> datetime:
    """Turn a Unix time (64 bits, nanoseconds) into a date, to the microsecond."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def measured(check: GateCheck) -> tuple[str, str]:
    """Write what a gate measured and its limit, with as many digits as it takes to tell them apart."""
    if check.unit is GateUnit.TEXT:
        return visible(check.actual) if check.actual else "unknown", visible(check.limit)
    if not check.actual:
        return "unknown", _limit(check.unit, Decimal(check.limit))
    actual, limit = Decimal(check.actual), Decimal(check.limit)
    for digits in range(_EXTRA_DIGITS):
        written = _number(check.unit, actual, digits)
        if (_rounded(check.unit, actual, digits) == limit) is (actual == limit):
            break
    return written, _limit(check.unit, limit)


def verdict(gate: Gate) -> str:
    """Say whether the gate passed and, if it did not, at which limit."""
    failed = [check for check in gate.checks if not check.passed]
    if gate.passed:
        warned = f", {count(len(gate.warnings), 'warning')}" if gate.warnings else ""
        return f"gate passed{warned}"
    if len(failed) == 1:
        reason = f": {visible(failed[0].name)} {measured(failed[0])[1]}"
    elif failed:
        reason = f": {len(failed)} of {count(len(gate.checks), 'limit')}"
    else:
        reason = ""
    return f"gate FAILED{reason}" + (" (exit code 0 all the same)" if gate.exit_code == 0 else "")


def headline(report: Report) -> tuple[str, str]:
    """Say which share of the spend has no tenant: the number, and what follows it."""
    totals = report.totals
    if totals.unattributed.share is None:
        calls = f"{totals.unattributed.calls:,} of {count(totals.calls, 'call')}"
        return UNKNOWN, f"no spend to take a share of; {calls} have no tenant"
    return percent(totals.unattributed.share), f"of {in_dollars(totals.audited_spend)} has no tenant"


def left_out(report: Report, between: str = DASH) -> tuple[str, ...]:
    """List what the dollars do not hold."""
    totals = report.totals
    rejected = sum(source.rejected for source in report.inputs)
    parts = []
    if totals.unmetered.calls:
        estimate = totals.unmetered_estimate
        about = f" (about {money_range(estimate, between)})" if estimate else ""
        parts.append(f"{count(totals.unmetered.calls, 'call')} unmetered{about}")
    if totals.unpriced.calls:
        parts.append(f"{count(totals.unpriced.calls, 'call')} unpriced")
    if rejected:
        parts.append(f"{count(rejected, 'record')} rejected")
    return tuple(parts)


def excused(gate: Gate) -> str:
    """Say how much of what has no tenant is left out of the verdict; empty where nothing is."""
    parts = [
        f"{in_dollars(amount.cost)} {what}"
        for amount, what in ((gate.known, "known, in the baseline"), (gate.suppressed, "suppressed"))
        if amount.calls
    ]
    return " and ".join(parts)


def compared(finding: Finding) -> str:
    """Say how a finding that the gate looks at stands against the baseline, and what of it is suppressed."""
    parts = []
    before, part = finding.baseline, finding.suppression
    if before is not None and before.standing is Standing.NEW:
        parts.append("new, not in the baseline")
    if before is not None and before.standing is Standing.GROWN:
        was = in_dollars(before.unattributed_cost or before.cost)
        parts.append(f"grown: in the baseline {count(before.calls, 'call')}, {was}, {percent(before.share)}")
    if part is not None and not part.is_whole:
        parts.append(f"{in_dollars(part.unattributed_cost or part.cost)} of it suppressed")
    return "; ".join(parts)


def suppression(line: SuppressionLine) -> str:
    """Say what a suppression does, who answers for it, and why it is there."""
    entry = line.entry
    ends = f"until {entry.expires.isoformat()}" if entry.expires else ""
    most = f"at most {in_dollars(entry.max_cost)}" if entry.max_cost is not None else ""
    matched = f"{in_dollars(line.cost)} on {count(line.calls, 'call')}" if line.findings else "matches nothing"
    told = [part for part in (matched, ends, most, entry.owner) if part]
    return f"{entry.about}: {', '.join(told)}: {entry.reason}"


def baseline_counts(report: Report) -> str:
    """Say how many findings are in the baseline and how many are not."""
    standings = [finding.baseline.standing for finding in report.findings if finding.baseline is not None]
    gone = len(report.baseline.gone) if report.baseline else 0
    return ", ".join([*(f"{standings.count(standing):,} {standing.value}" for standing in Standing), f"{gone:,} gone"])


def inputs_named(inputs: tuple[InputSummary, ...], most: int = 3) -> tuple[str, ...]:
    """Name the first inputs and count the others."""
    named = tuple(visible(source.path) for source in inputs[:most])
    rest = len(inputs) - len(named)
    return (*named, f"and {rest:,} more") if rest else named


def _visible_character(character: str) -> str:
    if character in _NAMED_ESCAPES:
        return _NAMED_ESCAPES[character]
    return escape(character) if unicodedata.category(character) in _INVISIBLE else character


def _month(day: datetime) -> str:
    return _MONTHS[day.month - 1]


def _limit(unit: GateUnit, number: Decimal) -> str:
    """Write a limit with the digits that it was given with."""
    return f"{(number * 100).normalize():f} %" if unit is GateUnit.SHARE else _number(unit, number, 0)


def _number(unit: GateUnit, number: Decimal, digits: int) -> str:
    """Write a measured number with ``digits`` more than the usual decimals."""
    match unit:
        case GateUnit.SHARE:
            return f"{number * 100:.{digits + 1}f} %"
        case GateUnit.MONEY:
            return in_dollars(int(number), digits + 2)
        case _:
            return f"{number:,f}"


def _rounded(unit: GateUnit, number: Decimal, digits: int) -> Decimal:
    """Give the number that a reader of ``_number`` sees."""
    match unit:
        case GateUnit.SHARE:
            return number.quantize(Decimal(1).scaleb(-3 - digits), ROUND_HALF_EVEN)
        case GateUnit.MONEY:
            return (number / PICO).quantize(Decimal(1).scaleb(-2 - digits), ROUND_HALF_EVEN) * PICO
        case _:
            return number


def unread_key(report: Report) -> bool:
    """Whether no key was read as the tenant on any call, and some attribute looks like it."""
    return bool(report.candidate_keys) and not report.tenant_keys
