"""What spans come to that are neither calls nor carry ids: most of a trace, and few different ones.

Of such a span nothing is kept but its row, and all of the row but ids and times follows from what it says where. Once
one has been read, those that say the same need no more than a look-up. The same is so of calls without ids and
counts, which are kept apart: who adds one has to know the line that it comes from.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from auditor.load.builder import NO_PARENT, BatchBuilder, KnownCall, ResourceFacts
from auditor.load.otlp_types import Span
from auditor.load.plans import ENTRIES

CACHED_MEANINGS = 1 << 14

Behind = tuple[int, int, int, int]
"""How much there is besides rows: calls, ids, links, and uses of keys that no vocabulary knows."""


class Meaning(NamedTuple):
    """What a span came to."""

    place: int
    tenant: int
    """Codes in the tables of the builder."""
    resource: ResourceFacts
    """Held, so that no other one gets its number."""
    is_entry: bool
    """A request comes in there: of these some are kept as a sample."""


class Meanings:
    """Remembers what spans came to, as long as they left nothing behind but a row.

    What a span is asked for (``asked``) has to hold all that its meaning depends on: resource (its ``id``), scope,
    kind, flags, keys and values, failure, events and links. Spans that may belong to the sample for unknown keys are
    not to be looked up here, unless it is said that they may.
    """

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._known: dict[Hashable, Meaning] = {}
        self.of = self._known.get
        """The meaning of what was asked; ``None`` when it is not known."""
        self._calls: dict[Hashable, tuple[Meaning, KnownCall]] = {}
        self.call_of = self._calls.get
        """The same of what came to a call without ids and counts, and this call."""

    def add_row(self, meaning: Meaning, ids: tuple[str, str, str], start_ns: int, end_ns: int) -> None:
        """Append a span whose meaning is known; ids are those of trace, span and parent."""
        trace, span, parent = ids
        self._builder.add_span(trace, span, parent or NO_PARENT, meaning.place, meaning.tenant, start_ns, end_ns)

    def add_known(
        self,
        asked: Hashable,
        trace: str,
        span: str,
        parent: str,
        start_ns: int,
        end_ns: int,
        may_be_sampled: bool = False,  # by position it costs less
    ) -> bool:
        """Append a span, unless what it means is not known; ``parent`` is ``NO_PARENT`` where there is none."""
        meaning = self._known.get(asked)
        if meaning is None or (may_be_sampled and meaning.is_entry):
            return False
        self._builder.add_span(trace, span, parent, meaning.place, meaning.tenant, start_ns, end_ns)
        return True

    def add_call(
        self, asked: Hashable, trace: str, span: str, parent: str, start_ns: int, end_ns: int, line: int
    ) -> bool:
        """Append a call without ids and counts, unless what it means is not known; not for the sample."""
        known = self._calls.get(asked)
        if known is None:
            return False
        meaning, call = known
        self._builder.add_known_call(self._builder.next_row, call, line)
        self._builder.add_span(trace, span, parent, meaning.place, meaning.tenant, start_ns, end_ns)
        return True

    def learned(
        self, asked: Hashable, resource: ResourceFacts, scope: str, span: Span
    ) -> Iterator[tuple[ResourceFacts, str, Iterable[Span]]]:
        """The span as a group for a ``SpanReader``, and what it came to is remembered; not for ``None``."""
        if asked is None:
            yield resource, scope, (span,)
            return
        ids, behind = self._builder.span_hex, self.behind()
        rows = len(ids)
        yield resource, scope, (span,)
        if len(ids) > rows:
            self.learn(asked, resource, behind)

    def behind(self) -> Behind:
        """What there is before a span is read."""
        builder = self._builder
        unread = builder.unread_usage
        return (
            len(builder.call_row),
            len(builder.id_row),
            len(builder.link_row),
            sum(unread.values()) if unread else 0,
        )

    def learn(self, asked: Hashable, resource: ResourceFacts, behind: Behind) -> None:
        """Remember what the span came to that has just become the last row; it is the only one since ``behind``."""
        builder = self._builder
        if builder.explain_trace is not None:
            # Where a trace is explained, the names of its spans are asked for.
            return
        call = None
        if (now := self.behind()) != behind:
            call = builder.last_call() if now == (behind[0] + 1, *behind[1:]) else None
            if call is None:
                return
        for known in (self._known, self._calls):
            if len(known) >= CACHED_MEANINGS:
                known.clear()
        place = builder.place[-1]
        is_entry = builder.places[place].shape.role in ENTRIES
        meaning = Meaning(place, builder.tenant[-1], resource, is_entry)
        if call is None:
            self._known[asked] = meaning
        else:
            self._calls[asked] = meaning, call
