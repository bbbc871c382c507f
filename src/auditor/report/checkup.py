"""What the doctor says, for a person and as JSON. No value of an attribute is in either."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator

import orjson

from auditor.model.checkup import Checkup, ExaminedInput, Improvement
from auditor.model.money import in_dollars, to_decimal_string
from auditor.model.report import KeyTaken, ScopeSeen
from auditor.report.wording import count, sentence, visible

SCHEMA_VERSION = "checkup-v1"
MOST_INPUTS = 20
MOST_SCOPES = 8
MOST_IMPROVEMENTS = 8
_WIDEST = 100
_LABEL = 14


def render(checkup: Checkup, *, width: int | None = None) -> str:
    """Lay it out for a person, in ``width`` columns, 100 at most."""
    width = min(width or _WIDEST, _WIDEST)
    lines = [line for block in _blocks(checkup, width) for line in (*block, "")]
    return "\n".join(line.rstrip() for line in lines[:-1]) + "\n"


def _blocks(checkup: Checkup, width: int) -> Iterator[list[str]]:
    for source in checkup.inputs[:MOST_INPUTS]:
        yield _input(source, width)
    if len(checkup.inputs) > MOST_INPUTS:
        yield [f"and {count(len(checkup.inputs) - MOST_INPUTS)} more inputs; -f json has all of them"]
    if checkup.problem:
        yield _labelled("No audit", sentence(checkup.problem), width)
    else:
        yield _keys(checkup, width)
    best = checkup.best
    if best is not None:
        yield _best(best, width)
    rest = checkup.improvements[1 : MOST_IMPROVEMENTS + 1]
    if rest:
        yield ["Also", *(line for entry in rest for line in _improvement(entry, width))]
    if checkup.not_checked:
        yield [
            "Not checked",
            *(
                line
                for entry in checkup.not_checked
                for line in _wrapped(f"{entry.rule}: {sentence(entry.reason)}", width, "  ", "    ")
            ),
        ]
    if best is None and not checkup.problem:
        yield ["Nothing is missing: every call has its tenant, its usage and its price."]


def _input(source: ExaminedInput, width: int) -> list[str]:
    title = f" ({source.title})" if source.title else ""
    lines = [visible(source.path), *_labelled("  format", f"{source.format}{title}", width)]
    lines += _labelled("  sure", f"{source.sureness}: {source.why}", width)
    if source.spans or source.records:
        lines += _labelled("  read", f"{count(source.spans, 'span')} in {count(source.records, 'record')}", width)
    if source.first_rejection:
        lines += _labelled("  rejected", f"{count(source.rejected)}; first {sentence(source.first_rejection)}", width)
    if source.vocabularies:
        names = ", ".join(
            entry.name if entry.table is None else f"{entry.name} (table {entry.table})"
            for entry in source.vocabularies
        )
        lines += _labelled("  vocabularies", names, width)
    if source.scopes:
        shown = [_scope(entry) for entry in source.scopes[:MOST_SCOPES]]
        more = len(source.scopes) - len(shown)
        lines += _labelled("  scopes", ", ".join(shown) + (f" and {more} more" if more else ""), width)
    for gap in source.cannot_tell:
        lines += _labelled("  cannot tell", gap, width)
    return lines


def _scope(entry: ScopeSeen) -> str:
    name = visible(entry.name) if entry.name else "no scope"
    versions = "".join(f" {visible(version)}" for version in entry.versions)
    return f"{name}{versions} ({count(entry.spans, 'span')})"


def _keys(checkup: Checkup, width: int) -> list[str]:
    tenants = ", ".join(f"{visible(entry.key)} on {count(entry.calls, 'call')}" for entry in checkup.tenant_keys)
    lines = [
        f"{count(checkup.calls, 'call')}, {in_dollars(checkup.audited_spend)}",
        *_labelled("  tenant from", tenants or "no attribute: none that is known was found", width),
        *_labelled("  usage from", _by_concept(checkup.usage_keys) or "the format's own fields", width),
        *_labelled("  price by", _by_concept(checkup.price_keys) or "the format's own fields", width),
        *_labelled("  prices", f"{checkup.price_book}, cost {checkup.cost_source}", width),
    ]
    if checkup.unread_usage:
        unread = ", ".join(f"{visible(entry.key)} on {count(entry.spans, 'span')}" for entry in checkup.unread_usage)
        lines += _labelled("  unread", unread, width)
    return lines


def _by_concept(keys: Iterable[KeyTaken]) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for entry in keys:
        found[entry.concept].append(visible(entry.key))
    return "; ".join(f"{concept} {', '.join(names)}" for concept, names in found.items())


def _best(entry: Improvement, width: int) -> list[str]:
    return [
        f"What would help most{_gain(entry)}",
        *_wrapped(sentence(entry.what), width, "  ", "  "),
        *_wrapped(f"→ {sentence(entry.change)}", width, "  ", "    "),
    ]


def _improvement(entry: Improvement, width: int) -> list[str]:
    return [
        *_wrapped(f"{sentence(entry.what)}{_gain(entry)}", width, "  ", "  "),
        *_wrapped(f"→ {sentence(entry.change)}", width, "    ", "      "),
    ]


def _gain(entry: Improvement) -> str:
    if entry.gain is None:
        return ""
    return f" ({'about ' if entry.is_estimate else ''}{in_dollars(entry.gain)})"


def _labelled(label: str, text: str, width: int) -> list[str]:
    return _wrapped(text, width, f"{label:<{_LABEL}}  ", " " * (_LABEL + 2))


def _wrapped(text: str, width: int, first: str, other: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=other, break_long_words=False, break_on_hyphens=False
    )


def render_json(checkup: Checkup) -> bytes:
    """Write it as indented JSON; money as decimal strings in USD."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "trace-auditor", "version": checkup.version},
        "inputs": [
            {
                "path": source.path,
                "format": source.format,
                "title": source.title,
                "sureness": str(source.sureness),
                "why": source.why,
                "records": source.records,
                "spans": source.spans,
                "rejected": source.rejected,
                "first_rejection": source.first_rejection or None,
                "vocabularies": [{"name": entry.name, "table": entry.table} for entry in source.vocabularies],
                "scopes": [
                    {"name": entry.name, "versions": list(entry.versions), "spans": entry.spans}
                    for entry in source.scopes
                ],
                "cannot_tell": list(source.cannot_tell),
            }
            for source in checkup.inputs
        ],
        "problem": checkup.problem or None,
        "calls": checkup.calls,
        "audited_spend": to_decimal_string(checkup.audited_spend),
        "keys": {
            "tenant": [{"key": entry.key, "calls": entry.calls} for entry in checkup.tenant_keys],
            "usage": [_key(entry) for entry in checkup.usage_keys],
            "price": [_key(entry) for entry in checkup.price_keys],
            "unread_usage": [{"key": entry.key, "spans": entry.spans} for entry in checkup.unread_usage],
        },
        "price_book": checkup.price_book,
        "cost_source": checkup.cost_source,
        "best_change": _change(checkup.best) if checkup.best else None,
        "improvements": [_change(entry) for entry in checkup.improvements],
        "not_checked": [{"rule": entry.rule, "reason": entry.reason} for entry in checkup.not_checked],
    }
    return orjson.dumps(_well_formed(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _key(entry: KeyTaken) -> dict[str, str]:
    return {"concept": entry.concept, "key": entry.key, "vocabulary": entry.vocabulary}


def _change(entry: Improvement) -> dict[str, object]:
    return {
        "id": entry.id,
        "what": entry.what,
        "change": entry.change,
        "calls": entry.calls,
        "gain": None if entry.gain is None else to_decimal_string(entry.gain),
        "is_estimate": entry.is_estimate,
    }


def _well_formed(value: object) -> object:
    """Replace halves of surrogate pairs in names from files: JSON cannot hold them."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {key: _well_formed(inner) for key, inner in value.items()}
        case list():
            return [_well_formed(inner) for inner in value]
        case _:
            return value
