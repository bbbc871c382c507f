"""One trace as a tree for a person: where its tenant is known, where calls lose it, what each call cost."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from auditor.graph.one_trace import Above, ExplainedCall, LinkedSpan, Loss, TraceSpan, TraceTree
from auditor.model.case import UsageStatus
from auditor.model.joins import Join, Status
from auditor.model.money import in_dollars
from auditor.model.report import HopKind
from auditor.report import Screen
from auditor.report.wording import HOP_WORDS, UNKNOWN, count, day_range, visible

DEFAULT_WIDTH = 100
MOST_LINKS = 5
"""Links of one span that are named; a consumer of batches may have thousands."""

_ROOM = 60
"""Columns that the text of the deepest span has at least."""
_GUIDE = 4
_HEAD = "bold"
_KNOWN = "green"
_LOST = "bold red"
_WARN = "yellow"
_ABOUT = "dim"


def render(tree: TraceTree, screen: Screen) -> bytes:
    """Draw the tree; names from the input are shown, never obeyed, and prompts are not in a ``TraceTree``."""
    roots, deepest = _drawn(tree)
    page = StringIO()
    console = Console(
        file=page,
        width=max(screen.width or DEFAULT_WIDTH, deepest * _GUIDE + _ROOM),
        height=100,
        color_system="standard" if screen.color else None,
        force_terminal=bool(screen.color),
        force_jupyter=False,
        force_interactive=False,
        no_color=not screen.color,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    for line in _headline(tree):
        console.print(line)
    console.print()
    for root in roots:
        console.print(root)
    left_out = tree.hidden - sum(tree.span(node).hidden for node in tree.graph)
    if left_out:
        console.print(_more(left_out))
    lines = [line.rstrip() for line in page.getvalue().split("\n")]
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def _drawn(tree: TraceTree) -> tuple[list[Tree], int]:
    """Turn nodes into branches without recursion, and tell the deepest level."""
    roots: list[Tree] = []
    deepest = 0
    for root in tree.roots:
        top = Tree(_label(tree.span(root)), guide_style=_ABOUT)
        roots.append(top)
        waiting = [(root, top, 0)]
        while waiting:
            node, branch, level = waiting.pop()
            deepest = max(deepest, level)
            waiting += [(child, branch.add(_label(tree.span(child))), level + 1) for child in tree.children(node)]
            if tree.span(node).hidden:
                branch.add(_more(tree.span(node).hidden))
    return roots, deepest


def _headline(tree: TraceTree) -> Iterator[Text]:
    yield Text(f"trace {tree.trace_id}", _HEAD)
    parts = (
        count(tree.spans, "span"),
        count(len(tree.services), "service"),
        count(tree.calls, "call"),
        in_dollars(tree.cost) + (f" and {count(tree.uncosted, 'call')} of unknown cost" if tree.uncosted else ""),
        day_range(tree.start_ns or None, tree.end_ns or None),
    )
    yield Text("  ".join(parts))
    if tree.unattributed:
        yield Text(
            f"{count(tree.unattributed, 'call')} without a tenant of "
            f"{'its' if tree.unattributed == 1 else 'their'} own: {in_dollars(tree.unattributed_cost)}",
            _LOST,
        )
    elif tree.calls:
        yield Text("no call of this trace lacks a tenant that it should have", _KNOWN)
    else:
        yield Text("no call to a model provider is in this trace", _WARN)
    if tree.conflicts:
        carries = "carries" if tree.conflicts == 1 else "carry"
        yield Text(f"{count(tree.conflicts, 'call')} {carries} another tenant than the way to it", _LOST)
    if tree.hidden:
        yield Text(f"{count(tree.spans - tree.hidden)} of {count(tree.spans)} spans are shown", _ABOUT)


def _label(span: TraceSpan) -> Text:
    return Text("\n").join(_lines(span))


def _lines(span: TraceSpan) -> Iterator[Text]:
    if span.loss is not None:
        yield Text(_lost(span.loss), _LOST)
    if span.skipped_above:
        yield Text(f"… {count(span.skipped_above, 'span')} between", _ABOUT)
    line = Text(visible(span.name) if span.name else str(span.role), _HEAD)
    line.append(f"  {visible(span.service)} · {span.role} · {_duration(span.duration_ms)}", "default")
    line.append(f"  {span.span_id}", f"not bold {_ABOUT}")
    yield line
    if span.above is Above.MISSING:
        yield Text("(parent not in the input)", _WARN)
    elif span.above is Above.CIRCLE:
        yield Text("(its parents run in a circle)", _WARN)
    if span.tenants:
        known = ", ".join(f"{visible(tenant)} ({visible(key)})" for key, tenant in span.tenants)
        yield Text(f"knows the tenant {known}", _KNOWN)
    if span.call is not None:
        yield from _call(span.call)
    if span.describes:
        yield Text(f"the same call as span {span.describes}: counted there", _ABOUT)
    for link in span.links[:MOST_LINKS]:
        yield _link(link)
    if len(span.links) > MOST_LINKS:
        yield _more(len(span.links) - MOST_LINKS, "link")


def _lost(loss: Loss) -> str:
    calls = count(loss.calls, "call") + (f", {in_dollars(loss.cost)}" if loss.cost else "")
    between = f"{visible(loss.source)} → {visible(loss.target)}"
    if loss.knew_tenant:
        inside = loss.kind is HopKind.NONE
        where = f"inside {visible(loss.target)}" if inside else f"{between}, {HOP_WORDS[loss.kind]}"
        return f"✂ tenant lost here: {where} ({calls})"
    if loss.source != loss.target:
        return f"✂ tenant lost above: {between}, {HOP_WORDS[loss.kind]} ({calls})"
    return f"✂ no tenant above: the way up ends here ({calls})"


def _call(call: ExplainedCall) -> Iterator[Text]:
    model = visible(call.model) if call.model else "model unknown"
    provider = f" ({visible(call.provider)})" if call.provider else ""
    yield Text(f"{visible(call.operation)} {model}{provider} · {_usage(call)} · {_cost(call)}", "cyan")
    yield Text.assemble(*_status(call))


def _usage(call: ExplainedCall) -> str:
    if call.usage is UsageStatus.NOT_BILLED and not call.cache_hit:
        return "no usage"
    if call.usage is UsageStatus.MISSING:
        return "usage not in the input"
    cached = [
        f"{number:,} {what}"
        for number, what in ((call.cache_read, "from cache"), (call.cache_write, "to cache"))
        if number
    ]
    parts = f" ({', '.join(cached)})" if cached else ""
    where = {UsageStatus.PARTIAL: ", broken off", UsageStatus.ELSEWHERE: ", found on another span"}
    total = call.uncached + call.cache_read + call.cache_write
    return f"{total:,} in{parts}, {call.output:,} out{where.get(call.usage, '')}"


def _cost(call: ExplainedCall) -> str:
    if call.usage is UsageStatus.NOT_BILLED:
        return "not billed: " + ("answered from a cache" if call.cache_hit else "failed")
    if call.cost is not None:
        return in_dollars(call.cost)
    return "cost unknown" if call.usage is UsageStatus.MISSING else f"no price ({call.price_status})"


def _status(call: ExplainedCall) -> Iterator[tuple[str, str]]:
    style = {Status.DIRECT: _KNOWN, Status.RECOVERABLE: _WARN, Status.LOST: _LOST, Status.INTERNAL: _ABOUT}
    yield str(call.status), style[call.status]
    join = call.join.label.replace("_", " ")
    match call.status:
        case Status.DIRECT:
            yield f": {visible(call.tenant)}" + (f", by {join}" if call.join is not Join.NONE else ""), ""
        case Status.RECOVERABLE:
            yield f": {visible(call.tenant)}, by {join}", ""
        case Status.LOST if call.join is not Join.NONE:
            yield f": {join} leads to several tenants", ""
        case Status.LOST:
            yield ": nothing leads to a tenant", ""
        case Status.INTERNAL:
            yield ": no tenant is expected", ""
    if call.placeholder:
        yield f" · the placeholder {visible(call.placeholder)} is no tenant", _WARN
    if call.conflict:
        yield " · another tenant is on its way: conflict", _LOST
    if call.failed and call.usage is not UsageStatus.NOT_BILLED:
        yield " · failed", _WARN
    if call.rule:
        yield f" · {visible(call.rule)}", _ABOUT


def _link(link: LinkedSpan) -> Text:
    arrow = "linked from" if link.points_here else "link to"
    if link.role is None:
        return Text(f"{arrow} a span that is not in the input", _ABOUT)
    where = f"{visible(link.service)} · {link.role}, span {link.span_id} of trace {link.trace_id}"
    text = Text(f"{arrow} {where}", _ABOUT)
    if link.tenants:
        known = ", ".join(f"{visible(tenant)} ({visible(key)})" for key, tenant in link.tenants)
        text.append(f", knows the tenant {known}", _KNOWN)
    return text


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return f"{UNKNOWN} not ended"
    if milliseconds < 1000:
        return f"{milliseconds:.3g} ms"
    return f"{milliseconds / 1000:,.2f} s"


def _more(number: int, noun: str = "span") -> Text:
    return Text(f"… and {number:,} more {noun}{'' if number == 1 else 's'}", _ABOUT)
