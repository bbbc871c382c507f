"""Random batches, and what a table of spans says whatever numbers its interned values have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from auditor.graph.table import SpanTable, merge
from auditor.load.builder import BatchBuilder
from auditor.model.lexicon import Operation
from auditor.model.spans import NO_COUNT, Batch, CallFacts, IdKind, Kind, Role, TenantTag
from auditor.normalise.vocabulary import compile_lexicon

LEXICON = compile_lexicon()
TRACES = tuple(f"{number * 0x9E3779B97F4A7C15 % (1 << 128) or 1:032x}" for number in range(1, 13))
SPANS = tuple(f"{number:016x}" for number in range(1, 9))
NO_FACTS = CallFacts(
    provider="", request_model="", response_model="", operation=None, vocabulary="", disjoint=None, streamed=None,
    first_chunk=False, finished=False, has_response_id=False, service_tier="", failed=False, cache_hit=False,
    batch=False, environment="", feature="", credential="", placeholder="", usage_in_event=False, partial=False,
    abandoned=False,
)  # fmt: skip
TEXTS = ("", "ada", "Zoë", "half \ud800 of a pair", "a much longer name of somebody, to be found again")


@st.composite
def inputs(draw: st.DrawFn) -> list[Batch]:
    """The batches of one input: they share tables, which grow from one to the next."""
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    builder = BatchBuilder(LEXICON, part=chance.choice((0, 300, 70_000)))
    found = []
    for spans in draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)):
        for _ in range(spans):
            add_span(chance, builder)
        found.append(builder.finish())
    return found


def random_batch(seed: int, *, spans: int) -> Batch:
    """The only batch of an input."""
    chance = random.Random(seed)
    builder = BatchBuilder(LEXICON)
    for _ in range(spans):
        add_span(chance, builder)
    return builder.finish()


def add_span(chance: random.Random, builder: BatchBuilder) -> None:
    row = builder.next_row
    resource = builder.resource(
        [("service.name", chance.choice(("web", "jobs"))), ("service.instance.id", chance.choice("ab"))]
    )
    tags = chance.choice(((), (), (("tenant", "acme"),), (("tenant", "globex"), ("team", "Zoë \udfff"))))
    place = builder.place_code(
        resource, chance.choice(("sdk", "")), chance.choice(list(Kind)), None, Role.OTHER, provider_api=False
    )
    start = chance.choice((0, 1, 1_790_000_000_000_000_000, 1_790_000_000_123_456_789))
    if chance.random() < 0.5:
        builder.add_call(
            row,
            NO_FACTS._replace(operation=chance.choice((None, *Operation)), feature=chance.choice(("", "Zoë \ud800"))),
            tuple(chance.choices((NO_COUNT, 0, 7, 10**9), k=7)),
            user=chance.choice(TEXTS),
            workflow=chance.choice(TEXTS),
            line=chance.randrange(1 << 31),
            searches=chance.choice((None, None, 3)),
            cost=chance.choice((None, None, 0, 10**15)),
            log_id=chance.choice(("", "", "", "ada", "log 7")),
        )
    for linked in chance.sample(SPANS, chance.randrange(3)):
        builder.add_link(row, chance.choice(TRACES), linked)
    for kind in chance.sample(list(IdKind), chance.randrange(3)):
        builder.add_id(row, kind, chance.choice(("one", "two")))
    if chance.random() < 0.1:
        builder.names[row] = chance.choice(TEXTS)
    builder.add_span(
        chance.choice(TRACES),
        chance.choice(SPANS),
        chance.choice(("0" * 16, *SPANS)),
        place,
        builder._intern_tenants(tuple(TenantTag(name, value, f"{name}.id") for name, value in tags)),
        start,
        chance.choice((0, start, start + 5_000_000)),
    )


def runs() -> st.SearchStrategy[list[Batch]]:
    """The batches of some inputs, one input after the other."""
    return st.lists(inputs(), min_size=1, max_size=3).map(lambda found: [batch for part in found for batch in part])


def content(batches: Sequence[Batch]) -> dict[str, Any]:
    """What the merged table says, with the values themselves for their codes."""
    table = merge(batches)
    found: dict[str, Any] = {}
    for name in SpanTable.__slots__:
        value = getattr(table, name)
        if name in TABLE_OF:
            entries = [*getattr(table, TABLE_OF[name]), None]
            value = [entries[code] for code in value.tolist()]
        elif isinstance(value, np.ndarray):
            value = (value.dtype, value.shape, np.ascontiguousarray(value).tobytes())
        if name not in {"places", "tenants", "facts", "texts"}:
            found[name] = value
    return found


TABLE_OF = {
    "place": "places",
    "tenant": "tenants",
    "call_facts": "facts",
    "call_user": "texts",
    "call_workflow": "texts",
    "log_id": "texts",
}
