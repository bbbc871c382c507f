"""A difference between two audits for a person at a terminal, as markdown, and as JSON (``diff-v1``).

``schema/diff.schema.json`` describes the JSON: money as decimal strings in USD, shares and points as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Any

import orjson

from auditor.model.difference import Change, Difference, Shift, Size, Trend, Whole
from auditor.model.money import in_dollars, to_decimal_string
from auditor.model.report import HopKind
from auditor.report import Screen
from auditor.report.wording import UNKNOWN, count, percent, sentence, visible

SCHEMA_VERSION = "diff-v1"
"""Names the shape of the document; changes only when a reader of the old shape would break."""

MOST_CHANGES = 20
"""Leaks of one trend that people are shown; the JSON has all."""
MOST_SHIFTS = 10

TITLES: Mapping[Trend, str] = MappingProxyType(
    {
        Trend.NEW: "New",
        Trend.WORSE: "Worse",
        Trend.UNCHECKED: "Not checked any more",
        Trend.BETTER: "Better",
        Trend.GONE: "Gone",
        Trend.SAME: "The same",
    }
)

_RED, _GREEN, _DIM, _BOLD, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
_COLOURS = {Trend.NEW: _RED, Trend.WORSE: _RED, Trend.BETTER: _GREEN, Trend.GONE: _GREEN}


def points(number: float) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    written = f"{number * 100:+.1f}"
    if number and float(written) == 0:
        return "+<0.1" if number > 0 else "-<0.1"
    return written if number else "0.0"


def terminal(difference: Difference, screen: Screen) -> bytes:
    """Lay the difference out in lines that are cut nowhere; a terminal breaks them itself."""
    paint = _painter(is_coloured=bool(screen.color))
    lines = [*_opening(difference, paint)]
    for trend, changes in _by_trend(difference):
        lines += ["", paint(TITLES[trend], _COLOURS.get(trend, _BOLD))]
        lines += [line for change in changes[:MOST_CHANGES] for line in _told(change, paint)]
        if len(changes) > MOST_CHANGES:
            lines.append(f"  … and {len(changes) - MOST_CHANGES:,} more")
    shifts = _elsewhere(difference)
    if shifts:
        lines += ["", paint("Changed, beside no leak", _BOLD)]
        lines += [f"  {_shift(shift)}" for shift in shifts[:MOST_SHIFTS]]
        lines += [f"  … and {len(shifts) - MOST_SHIFTS:,} more"] if len(shifts) > MOST_SHIFTS else []
    if difference.notes:
        lines += ["", *(f"note: {sentence(note)}" for note in difference.notes)]
    lines += ["", paint(_verdict(difference), _GREEN if difference.passed else _RED)]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _painter(*, is_coloured: bool) -> Callable[[str, str], str]:
    return lambda text, colour: f"{colour}{text}{_PLAIN}" if is_coloured else text


def _opening(difference: Difference, paint: Callable[[str, str], str]) -> Iterator[str]:
    before, after = difference.before, difference.after
    yield paint(f"{percent(before.share)} → {percent(after.share)} of spend has no tenant", _BOLD)
    for word, side in (("before", before), ("after", after)):
        kind = "saved report" if side.is_saved else "traces"
        yield (
            f"  {word:<6}  {visible(side.name)} ({kind}): {in_dollars(side.audited_spend)} on "
            f"{count(side.calls, 'call')}, {in_dollars(side.unattributed_cost)} without a tenant"
        )


def _by_trend(difference: Difference) -> Iterator[tuple[Trend, list[Change]]]:
    for trend, changes in groupby(difference.changes, key=lambda change: change.trend):
        yield trend, list(changes)


def _told(change: Change, paint: Callable[[str, str], str]) -> Iterator[str]:
    operation = f" ({visible(change.operation, 32)})" if change.operation else ""
    yield f"  {points(change.points):>6} points  {visible(change.rule, 32)}  {_place(change)}{operation}"
    yield paint(f"                 {_sizes(change)}", _DIM)
    for shift in change.shifts[:MOST_SHIFTS]:
        yield f"                 with it: {_shift(shift)}"


def _place(change: Change) -> str:
    source, target = visible(change.hop.source, 32), visible(change.hop.target, 32)
    arrow = "⇢" if change.hop.kind is HopKind.QUEUE else "→"
    return source if change.hop.source == change.hop.target else f"{source} {arrow} {target}"


def _sizes(change: Change) -> str:
    sizes = f"{_size(change.before)} → {_size(change.after)}"
    if change.trend is Trend.UNCHECKED:
        return sizes
    more = "more" if change.cost_change > 0 else "less"
    return sizes + (f"; {in_dollars(abs(change.cost_change))} {more} at equal traffic" if change.cost_change else "")


def _size(size: Size | None) -> str:
    if size is None:
        return "none"
    share = percent(size.share) if size.share is not None else UNKNOWN
    unmetered = f", {size.unmetered_calls:,} unmetered" if size.unmetered_calls else ""
    return f"{in_dollars(size.cost)} {share} ({count(size.calls, 'call')}{unmetered})"


def _shift(shift: Shift) -> str:
    def listed(names: tuple[str, ...]) -> str:
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        return ", ".join(visible(name) for name in names[:3]) + more if names else "none"

    about = shift.aspect.value + (f" {visible(shift.name)}" if shift.name else "")
    about += f" of {visible(shift.service, 32)}" if shift.service else ""
    return f"{about}: {listed(shift.before)} → {listed(shift.after)}"


def _elsewhere(difference: Difference) -> list[Shift]:
    """Changes that no leak is told with."""
    told = {shift for change in difference.changes for shift in change.shifts}
    return [shift for shift in difference.shifts if shift not in told]


def _verdict(difference: Difference) -> str:
    worse, better = (f"{number * 100:.1f}" for number in (difference.worse_points, difference.better_points))
    said = f"{worse} points new or worse, {better} points better or gone"
    if difference.limit is None:
        return said
    judged = "passed" if difference.passed else "FAILED"
    even_so = " (exit code 0 all the same)" if not difference.passed and difference.exit_code == 0 else ""
    return f"{judged}: {said}; limit {difference.limit * 100:g} points{even_so}"


def markdown(difference: Difference, _: Screen) -> bytes:
    """Write the difference as a comment for a pull request; what comes from a file stands in code spans."""
    from auditor.report.markdown import code, prose  # noqa: PLC0415  # only for this format

    sign = "✅" if difference.passed else "❌"
    before, after = difference.before, difference.after
    lines = [f"### {sign} {percent(before.share)} → {percent(after.share)} of spend has no tenant", ""]
    lines += [prose(_verdict(difference)) + ".", ""]
    lines += ["| | spend | calls | without a tenant |", "| --- | --: | --: | --: |"]
    for word, side in (("before", before), ("after", after)):
        lines.append(
            f"| {word}: {code(side.name)} | {in_dollars(side.audited_spend)} | {count(side.calls)} "
            f"| {in_dollars(side.unattributed_cost)} |"
        )
    for trend, changes in _by_trend(difference):
        table = [
            "| rule | hop | before | after | points | changed with it |",
            "| --- | --- | --: | --: | --: | --- |",
        ]
        for change in changes[:MOST_CHANGES]:
            with_it = "; ".join(prose(_shift(shift)) for shift in change.shifts[:MOST_SHIFTS])
            operation = f" ({code(change.operation, 32)})" if change.operation else ""
            table.append(
                f"| {code(change.rule)} | {code(_place(change), 80)}{operation} | {_size(change.before)} "
                f"| {_size(change.after)} | {points(change.points)} | {with_it} |"
            )
        if len(changes) > MOST_CHANGES:
            table.append(f"| … and {len(changes) - MOST_CHANGES:,} more | | | | | |")
        title = f"{TITLES[trend]} ({len(changes):,})"
        if trend in {Trend.SAME, Trend.BETTER, Trend.GONE}:
            lines += ["", f"<details><summary>{title}</summary>", "", *table, "", "</details>"]
        else:
            lines += ["", f"**{title}**", "", *table]
    shifts = _elsewhere(difference)
    if shifts:
        lines += ["", "**Changed, beside no leak**", ""]
        lines += [f"- {prose(_shift(shift))}" for shift in shifts[:MOST_SHIFTS]]
        lines += [f"- … and {len(shifts) - MOST_SHIFTS:,} more"] if len(shifts) > MOST_SHIFTS else []
    if difference.notes:
        lines += ["", *(f"- {prose(note)}" for note in difference.notes)]
    lines += ["", "<!-- trace-auditor diff -->"]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def json(difference: Difference, _: Screen) -> bytes:
    """Write everything, indented, with a final newline."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "trace-auditor", "version": difference.version},
        "before": _whole(difference.before),
        "after": _whole(difference.after),
        "worse_points": difference.worse_points,
        "better_points": difference.better_points,
        "limit": difference.limit,
        "passed": difference.passed,
        "exit_code": difference.exit_code,
        "changes": [_change(change) for change in difference.changes],
        "shifts": [_shifted(shift) for shift in difference.shifts],
        "notes": list(difference.notes),
    }
    return orjson.dumps(_well_formed(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _whole(side: Whole) -> dict[str, Any]:
    return {
        "name": side.name,
        "kind": "report" if side.is_saved else "traces",
        "calls": side.calls,
        "audited_spend": to_decimal_string(side.audited_spend),
        "unattributed": {
            "calls": side.unattributed_calls,
            "cost": to_decimal_string(side.unattributed_cost),
            "share": side.share,
        },
        "unmetered_calls": side.unmetered_calls,
        "unpriced_calls": side.unpriced_calls,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "rule": change.rule,
        "title": change.title,
        "hop": {"from": change.hop.source, "to": change.hop.target, "kind": change.hop.kind.value},
        "operation": change.operation,
        "trend": change.trend.value,
        "before": _sized(change.before),
        "after": _sized(change.after),
        "points": change.points,
        "cost_change": to_decimal_string(change.cost_change),
        "shifts": [_shifted(shift) for shift in change.shifts],
    }


def _sized(size: Size | None) -> dict[str, Any] | None:
    if size is None:
        return None
    return {
        "calls": size.calls,
        "cost": to_decimal_string(size.cost),
        "share": size.share,
        "unmetered_calls": size.unmetered_calls,
    }


def _shifted(shift: Shift) -> dict[str, Any]:
    return {
        "aspect": shift.aspect.value,
        "service": shift.service,
        "name": shift.name,
        "before": list(shift.before),
        "after": list(shift.after),
    }


def _well_formed(value: Any) -> Any:
    """Escape lone surrogates, which a name may have and JSON cannot hold."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {key: _well_formed(item) for key, item in value.items()}
        case list():
            return [_well_formed(item) for item in value]
        case _:
            return value


FORMATS: Mapping[str, Callable[[Difference, Screen], bytes]] = MappingProxyType(
    {"terminal": terminal, "markdown": markdown, "json": json}
)
"""Every format by the name that ``-f`` takes."""
