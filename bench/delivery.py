"""From traces to an export: interleaved, partly late, partly delivered twice, in a Collector's requests."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import accumulate

from render import SCOPES, scope_json
from scenarios import FAMILIES, plain
from story import EPOCH_NS, SCOPE_BITS, Cast, Made, Story, Truth

OPEN_TRACES = 300
LINE_SPANS = (64, 190)  # spans of one request; 127 on average
STRAGGLING_SHARE = 0.01
STRAGGLING_SPANS = 30_000  # how far behind the rest of such a trace arrives
REDELIVERED_SHARE = 0.02  # of traces, one span each
LARGEST_SCENARIO = 100  # spans that one scenario may add, with room
TRACE_SPACING_S = 0.03
_SCOPE_MASK = (1 << SCOPE_BITS) - 1

Item = tuple[int, int, str]


class Source:
    """Opens traces until exactly the wanted number of span records has been handed out."""

    def __init__(self, seed: int, records: int) -> None:
        self.rng = random.Random(seed)
        self.cast = Cast(self.rng)
        self.truth = Truth()
        self.left = records
        self._now = EPOCH_NS
        self._shares = list(accumulate(share for share, _, _ in FAMILIES))

    def open(self) -> Made | None:
        """Write the next scenario, or nothing when the export is full."""
        if self.left == 0:
            return None
        self._now += int(self.rng.expovariate(1 / TRACE_SPACING_S) * 1e9)
        if self.left > LARGEST_SCENARIO:
            _, family, tell = FAMILIES[bisect(self._shares, self.rng.random() * self._shares[-1])]
            made = tell(Story(self.cast, self.truth, family, self._now))
        else:
            size = self.left if self.left <= 40 else self.left // 2 if self.left <= 80 else 40
            made = plain(self.cast, self.truth, self._now, size)
        self.left -= sum(len(trace.spans) for trace in made.traces)
        return made


def _deliver(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (slot, span) in the order of arrival."""
    rng = source.rng
    late: list[tuple[int, int, list[Item]]] = []
    queues: list[list[Item]] = []
    arrived = opened = 0

    def admit() -> bool:
        nonlocal opened
        made = source.open()
        if made is None:
            return False
        for trace in made.traces:
            opened += 1
            items = trace.spans
            source.truth.spans += len(items)
            if source.left > LARGEST_SCENARIO and rng.random() < REDELIVERED_SHARE:
                again = items[int(rng.random() * len(items))]
                source.left -= 1
                source.truth.redelivered_spans += 1
                heappush(late, (arrived + 200 + int(rng.random() * 4000), opened, [again]))
            if rng.random() < STRAGGLING_SHARE and len(items) > 1:
                cut = 1 + int(rng.random() * (len(items) - 1))
                due = arrived + int(STRAGGLING_SPANS * (0.9 + 0.2 * rng.random()))
                heappush(late, (due, -opened, items[: cut - 1 : -1]))
                items = items[:cut]
            queues.append(items[::-1])
        return True

    while True:
        while len(queues) < OPEN_TRACES and admit():
            pass
        while late and (late[0][0] <= arrived or not queues):
            queues.append(heappop(late)[2])
        if not queues:
            return
        number = int(rng.random() * len(queues))
        queue = queues[number]
        _, slot, text = queue.pop()
        if not queue:
            queues[number] = queues[-1]
            queues.pop()
        arrived += 1
        yield slot, text


def _request(batch: dict[int, dict[int, list[str]]], cast: Cast) -> str:
    """Render the inside of ``resourceSpans`` of one request."""
    resources = []
    for process, scopes in batch.items():
        inner = ",".join(f'{{"scope":{_SCOPES[scope]},"spans":[{",".join(spans)}]}}' for scope, spans in scopes.items())
        resources.append(
            f'{{"resource":{cast.resources[process]},"scopeSpans":[{inner}],'
            '"schemaUrl":"https://opentelemetry.io/schemas/1.41.0"}'
        )
    return ",".join(resources)


_SCOPES = tuple(scope_json(number) for number in range(len(SCOPES)))


def requests(source: Source) -> Iterator[str]:
    """Yield the inside of ``resourceSpans`` of each export request, in order."""
    low, high = LINE_SPANS
    rng = source.rng
    batch: dict[int, dict[int, list[str]]] = {}
    held = 0
    wanted = low + int(rng.random() * (high - low + 1))
    for slot, text in _deliver(source):
        batch.setdefault(slot >> SCOPE_BITS, {}).setdefault(slot & _SCOPE_MASK, []).append(text)
        held += 1
        if held == wanted:
            yield _request(batch, source.cast)
            batch = {}
            held = 0
            wanted = low + int(rng.random() * (high - low + 1))
    if held:
        yield _request(batch, source.cast)
