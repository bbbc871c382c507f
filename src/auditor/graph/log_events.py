"""Settles what a span says of its call, and what log records of the same span id say.

A log record that names its span is read as another copy of it, unfinished, with its usage marked as that of an
event (``usage_in_event``). Where both are in the input they are one call: the span says what it is, the record adds
what the span lacks. A record whose span is not there is a call of its own, unless it says nothing that is billed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from auditor.model.spans import I32, I64, NO_COUNT, U32, Bools, CallFacts


def settle_events(
    row: I32,
    calls: I64,
    call_facts: U32,
    tokens: U32,
    searches: U32,
    people: Sequence[I32],
    facts: list[CallFacts],
    texts: Sequence[str],
    is_finished: Bools,
) -> I64:
    """Say which of the chosen candidates are calls.

    ``row`` and the other columns have an entry for every candidate, ``calls`` names the one that was chosen for each
    row, ``is_finished`` has an entry for every row. ``call_facts`` and ``people`` (codes of ``texts``) of the chosen
    ones are brought up to date, ``facts`` may grow.
    """
    from_event = np.array([entry.usage_in_event for entry in facts], dtype=bool)[call_facts]
    if not from_event.any():
        return calls
    members: dict[int, list[int]] = defaultdict(list)
    for number in np.flatnonzero(np.isin(row, row[from_event])).tolist():
        members[int(row[number])].append(number)
    has_counts = (tokens != NO_COUNT).any(axis=1) | (searches != NO_COUNT)
    known = {entry: number for number, entry in enumerate(facts)}
    dropped = []
    for place in np.flatnonzero(np.isin(row[calls], list(members))).tolist():
        chosen = int(calls[place])
        copies = members[int(row[chosen])]
        is_lone = not is_finished[row[chosen]] and all(from_event[copies])
        merged = _merged(chosen, copies, call_facts, facts, from_event, has_counts, is_lone=is_lone)
        if merged.operation is None and not has_counts[chosen]:
            dropped.append(place)
            continue
        number = known.setdefault(merged, len(known))
        if number == len(facts):
            facts.append(merged)
        call_facts[chosen] = number
        for column in people:
            named = [texts[column[copy]] for copy in copies if column[copy] >= 0]
            if column[chosen] < 0 and named:
                column[chosen] = texts.index(max(named))
    return np.delete(calls, dropped)


def _merged(
    chosen: int,
    copies: Sequence[int],
    call_facts: U32,
    facts: Sequence[CallFacts],
    from_event: Bools,
    has_counts: Bools,
    *,
    is_lone: bool,
) -> CallFacts:
    """What all copies say together; ``chosen`` is the one whose counts are taken."""
    source: CallFacts = facts[call_facts[chosen]]
    others = sorted((facts[call_facts[copy]] for copy in copies), key=repr)
    spans = [facts[call_facts[copy]] for copy in copies if not from_event[copy]]
    merged: CallFacts = max(spans, key=repr) if spans else source
    for other in others:
        merged = merged.filled(other)
    if not has_counts[chosen]:
        return merged._replace(usage_in_event=False)
    return merged._replace(
        vocabulary=source.vocabulary,
        disjoint=source.disjoint,
        partial=source.partial,
        usage_in_event=source.usage_in_event and not is_lone,
    )
