"""What spans come to that are neither calls nor carry ids: most of a trace, and few different ones.

Of such a span nothing is kept but its row, and all of the row but ids and times follows from what it says where. Once
one has been read, those that say the same need no more than a look-up.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts

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


class Meanings:
    """Remembers what spans came to, as long as they left nothing behind but a row.

    What a span is asked for (``asked``) has to hold all that its meaning depends on: resource (its ``id``), scope,
    kind, flags, keys and values, failure, events and links. Spans that may belong to the sample for unknown keys are
    not to be looked up here.
    """

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._known: dict[Hashable, Meaning] = {}
        self.of = self._known.get
        """The meaning of what was asked; ``None`` when it is not known."""

    def add_row(self, meaning: Meaning, ids: tuple[str, str, str], start_ns: int, end_ns: int) -> None:
        """Append a span whose meaning is known; ids are those of trace, span and parent."""
        trace, span, parent = ids
        self._builder.add_span(trace, span, parent or NO_PARENT, meaning.place, meaning.tenant, start_ns, end_ns)

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
        if self.behind() != behind or builder.explain_trace is not None:
            # Where a trace is explained, the names of its spans are asked for.
            return
        if len(self._known) >= CACHED_MEANINGS:
            self._known.clear()
        self._known[asked] = Meaning(builder.place[-1], builder.tenant[-1], resource)
