"""What every scenario is told with: the cast, a trace under construction, and the truth about each call."""

from __future__ import annotations

import random
from bisect import bisect
from dataclasses import dataclass, field
from itertools import accumulate
from json import dumps
from operator import itemgetter

import model_spans as m
import plain_spans as p
import render as r

EPOCH_NS = 1_793_491_200_000_000_000  # 2026-11-01T00:00:00Z
TENANTS = 200
ZIPF_EXPONENT = 1.1
SHORTEST, LONGEST = 5, 40  # spans of a trace
SPANS_PER_MODEL_SPAN = (3.9, 10.1)  # with the cut at 40 this gives about 14 % model spans
PROMPT_SHARE = 0.6
PROMPT_BYTES = (512, 4096)
SCOPE_BITS = 5

_SENTENCES = (
    "The supplier shall deliver within thirty days of the order, unless the parties agree otherwise. ",
    'Section 7.2 says: "liability is limited to the fees paid in the twelve months before the claim". ',
    "Which of the documents below mention a renewal date, and what happens if nobody gives notice?\n",
    "Use only the passages that are given; say so when they do not answer the question.\n\n",
    "Der Vertrag verlängert sich um ein Jahr, wenn er nicht drei Monate vor Ablauf gekündigt wird. ",
    "Le prestataire répond des dommages directs, à l’exclusion de toute perte d’exploitation. ",  # noqa: RUF001  a French apostrophe
    "Passage 4 of 24, page 118, table 3: volume, unit price, discount, net amount, currency, due date.\t",
    "Answer in at most five sentences, and name the page for every figure that you quote. ",
)


@dataclass(slots=True)
class Usage:
    """Token counts of one call; ``input`` includes what was read from and written to the cache."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0


@dataclass(slots=True)
class Tally:
    """What is true of a group of calls; tokens are those that the export holds for billed calls."""

    traces: int = 0
    calls: int = 0
    failed: int = 0
    unmetered: int = 0
    unpriced: int = 0
    without_tenant: int = 0
    internal: int = 0
    conflict: int = 0
    recoverable: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    input_tokens_without_tenant: int = 0
    output_tokens_without_tenant: int = 0
    input_tokens_internal: int = 0
    output_tokens_internal: int = 0


@dataclass(slots=True)
class Truth:
    """Everything a reader may be checked against; ``model_spans`` counts before spans are paired."""

    families: dict[str, Tally] = field(default_factory=dict)
    spans: int = 0
    redelivered_spans: int = 0
    model_spans: int = 0
    model_spans_input_tokens: int = 0
    model_spans_output_tokens: int = 0
    model_spans_without_tenant: int = 0
    model_spans_without_tenant_input_tokens: int = 0
    model_spans_without_tenant_output_tokens: int = 0

    def of(self, family: str) -> Tally:
        """Give the tally of a family, made on first use."""
        tally = self.families.get(family)
        if tally is None:
            tally = self.families[family] = Tally()
        return tally


def _escaped(prompt: str) -> dict[str, str]:
    """Escape a prompt for a JSON string, and for a JSON string inside a JSON string."""
    once = dumps(prompt, ensure_ascii=False)[1:-1]
    return {"prompt": once, "nested": dumps(once, ensure_ascii=False)[1:-1]}


class Cast:
    """Who appears: tenants by a Zipf law, prompts, and the processes of each service."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tenants = [f"cust_{number:04d}" for number in range(1, TENANTS + 1)]
        self._popularity = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, TENANTS + 1)))
        self.prompts = [_escaped(self._prompt()) for _ in range(1024)]
        self.short_prompt = _escaped("which clause limits the liability, and since when?")
        self.resources: list[str] = []
        self.first_resource: dict[str, int] = {}
        self.instances: dict[str, int] = {}
        for service in r.SERVICES:
            self.first_resource[service.name] = len(self.resources)
            self.instances[service.name] = service.instances
            self.resources += [r.resource_json(service, instance) for instance in range(service.instances)]
        self.models = list(m.CHAT_MODELS)
        self._model_shares = list(accumulate(model.weight for model in m.CHAT_MODELS))

    def _prompt(self) -> str:
        low, high = PROMPT_BYTES
        wanted = low + int(self.rng.random() ** 1.7 * (high - low - 200))
        pieces: list[str] = []
        size = 0
        while size < wanted:
            piece = _SENTENCES[int(self.rng.random() * len(_SENTENCES))]
            pieces.append(piece)
            size += len(piece)
        return "".join(pieces)

    def tenant(self) -> str:
        """Draw a tenant; the most popular has about a fifth of the traffic."""
        return self.tenants[bisect(self._popularity, self.rng.random() * self._popularity[-1])]

    def model(self) -> m.Model:
        """Draw a chat model by its share."""
        return self.models[bisect(self._model_shares, self.rng.random() * self._model_shares[-1])]


_CONTEXT_FORMS: tuple[tuple[float, str], ...] = (
    (0.70, r.text("tenant.id", "%(tenant)s") + ","),
    (0.80, r.text("app.tenant.id", "%(tenant)s") + ","),
    (0.88, r.text("traceloop.association.properties.tenant_id", "%(tenant)s") + ","),
    (0.94, r.text("langfuse.trace.metadata.tenant_id", "%(tenant)s") + ","),
    (1.00, r.text("metadata", '{\\"tenant_id\\": \\"%(tenant)s\\", \\"plan\\": \\"pro\\"}') + ","),
)
# What a baggage processor copies onto the spans of a request.
_WHO = r.text("user.id", "u_%(tenant)s_%(user)d") + "," + r.text("session.id", "%(session)s") + ","


class Trace:
    """One trace under construction; spans are delivered in the order in which they end."""

    __slots__ = ("_processes", "cast", "hosts", "id", "model_spans", "rng", "spans", "start")

    def __init__(self, cast: Cast, start: int) -> None:
        self.cast = cast
        self.rng = cast.rng
        self.id = f"{self.rng.getrandbits(128):032x}"
        self.start = start
        self.spans: list[tuple[int, int, str]] = []
        self.hosts: list[tuple[str, str, int, int, str]] = []
        self.model_spans = 0
        self._processes: dict[str, int] = {}

    def new_id(self) -> str:
        """Draw a span id."""
        return f"{self.rng.getrandbits(64):016x}"

    def pause(self, at_most_us: int) -> int:
        """Draw a time between 20 µs and the given bound, in nanoseconds."""
        return 20_000 + int(self.rng.random() * at_most_us * 1000)

    def slot(self, service: str, scope: int) -> int:
        """Number the process of this trace's requests and the scope, as delivery groups them."""
        process = self._processes.get(service)
        if process is None:
            process = self.cast.first_resource[service] + int(self.rng.random() * self.cast.instances[service])
            self._processes[service] = process
        return process << SCOPE_BITS | scope

    def put(
        self,
        template: str,
        service: str,
        scope: int,
        span: str,
        parent: str,
        start: int,
        end: int,
        context: str,
        **gaps: object,
    ) -> None:
        """Write a span; the gap ``flags`` is 256 for a parent in this process and 768 for a remote one."""
        values = {
            "trace": self.id, "span": span, "parent": parent, "start": start, "end": end, "context": context,
            "flags": 256, **gaps,
        }  # fmt: skip
        self.spans.append((end, self.slot(service, scope), template % values))

    def host(self, service: str, span: str, start: int, end: int, context: str) -> None:
        """Offer a span under which ordinary work may hang."""
        self.hosts.append((service, span, start, end, context))

    def fill(self, wanted: int) -> None:
        """Add ordinary work (queries, look-ups, neighbours) until the trace has the wanted size."""
        rng = self.rng
        fillers = p.FILLERS
        while len(self.spans) < wanted:
            service, parent, low, high, context = self.hosts[int(rng.random() * len(self.hosts))]
            width = high - low
            start = low + int(rng.random() * 0.6 * width)
            end = start + 1 + int(rng.random() * 0.35 * width)
            span = self.new_id()
            fits = len(self.spans) + 2 <= wanted and end - start > 1000
            if fits and service not in {"catalog", "auth"} and rng.random() < 0.1:
                neighbour, outbound, inbound = p.HOPS[int(rng.random() * len(p.HOPS))]
                inside = self.new_id()
                self.put(inbound, neighbour, r.FASTAPI, inside, span, start + 1, end - 1, context, flags=768)
                self.put(outbound, service, r.HTTPX, span, parent, start, end, context)
                self.host(neighbour, inside, start + 2, end - 2, context)
                continue
            scope, template = fillers[int(rng.random() * len(fillers))]
            self.put(template, service, scope, span, parent, start, end, context)
            if end - start > 1000 and template in p.INTERNAL_STEPS:
                self.host(service, span, start + 1, end - 1, context)

    def settle(self) -> None:
        """Bring the spans into the order in which they ended: children before their parents."""
        self.spans.sort(key=itemgetter(0))


@dataclass(slots=True)
class Made:
    """What a scenario wrote: its traces, to be delivered together."""

    traces: list[Trace]


class Story:
    """One run of a scenario: the trace, the tenant behind it, and the truth it reports to."""

    __slots__ = ("cast", "context", "family", "rng", "tally", "tenant", "trace", "truth", "who")

    def __init__(self, cast: Cast, truth: Truth, family: str, start: int) -> None:
        self.cast = cast
        self.rng = cast.rng
        self.truth = truth
        self.family = family
        self.tally = truth.of(family)
        self.tally.traces += 1
        self.trace = Trace(cast, start)
        self.tenant = cast.tenant()
        draw = self.rng.random()
        form = next(text for limit, text in _CONTEXT_FORMS if draw < limit)
        self.context = form % {"tenant": self.tenant}
        self.who = _WHO % {
            "tenant": self.tenant,
            "user": self.rng.getrandbits(9),
            "session": f"s{self.rng.getrandbits(64):016x}",
        }

    def named(self, context: str) -> str:
        """Add user and session, where the context is this request's: on its root and its model calls."""
        return context + self.who if context == self.context else context

    def usage(self, model: m.Model) -> Usage:
        """Draw what one chat call uses; a quarter reads from the provider's cache."""
        rng = self.rng
        usage = Usage(input=120 + int(rng.expovariate(1 / 1400)), output=8 + int(rng.expovariate(1 / 220)))
        if usage.input > 1100 and rng.random() < 0.5:
            usage.cached = (usage.input - 64) // 128 * 128
        elif model.provider == "anthropic" and usage.input > 1100 and rng.random() < 0.3:
            usage.written = 1024
        return usage

    def saw_model_span(self, usage: Usage | None, *, tenant: bool, trace: Trace | None = None) -> None:
        """Count a span that names a billable operation, before anyone decides which spans are one call."""
        truth = self.truth
        (trace or self.trace).model_spans += 1
        truth.model_spans += 1
        if usage is not None:
            truth.model_spans_input_tokens += usage.input
            truth.model_spans_output_tokens += usage.output
        if not tenant:
            truth.model_spans_without_tenant += 1
            if usage is not None:
                truth.model_spans_without_tenant_input_tokens += usage.input
                truth.model_spans_without_tenant_output_tokens += usage.output

    def called(
        self,
        usage: Usage | None,
        *,
        tenant: bool,
        recoverable: bool = False,
        internal: bool = False,
        failed: bool = False,
        unmetered: bool = False,
        unpriced: bool = False,
        conflict: bool = False,
    ) -> None:
        """Report the truth about one billable request."""
        tally = self.tally
        tally.calls += 1
        tally.failed += failed
        tally.unmetered += unmetered
        tally.unpriced += unpriced
        tally.conflict += conflict
        if internal:
            tally.internal += 1
        elif not tenant and not failed:
            tally.without_tenant += 1
            tally.recoverable += recoverable
        if usage is None or failed:
            return
        tally.input_tokens += usage.input
        tally.output_tokens += usage.output
        tally.cache_read_tokens += usage.cached
        if internal:
            tally.input_tokens_internal += usage.input
            tally.output_tokens_internal += usage.output
        elif not tenant:
            tally.input_tokens_without_tenant += usage.input
            tally.output_tokens_without_tenant += usage.output

    def prompt(self) -> tuple[bool, dict[str, str]]:
        """Say whether the span keeps its prompt, and which."""
        if self.rng.random() < PROMPT_SHARE:
            prompts = self.cast.prompts
            return True, prompts[int(self.rng.random() * len(prompts))]
        return False, self.cast.short_prompt

    def chat(
        self,
        service: str,
        parent: str,
        start: int,
        context: str,
        *,
        tenant: bool,
        outcome: str = m.USAGE,
        model: m.Model | None = None,
        vocabulary: str | None = None,
        batch: str | None = None,
        trace: Trace | None = None,
        recoverable: bool = False,
        internal: bool = False,
        conflict: bool = False,
    ) -> int:
        """Write one chat call and its truth; gives the time at which it ended."""
        rng = self.rng
        trace = trace or self.trace
        model = model or self.cast.model()
        unpriced = model is m.UNPRICED_MODEL
        if vocabulary is None:
            vocabulary = model.vocabularies[int(rng.random() * len(model.vocabularies))]
        usage = self.usage(model)
        streamed = outcome in {m.STOPPED, m.NEVER, m.NO_USAGE} or (batch is None and rng.random() < 0.3)
        with_prompt, prompt = self.prompt()
        end = start + 250_000_000 + usage.output * 8_000_000
        if outcome in {m.NEVER, m.FAILED}:
            end = start + 60_000_000
        template = m.chat(vocabulary, model, outcome, prompt=with_prompt, streamed=streamed, batch=batch is not None)
        trace.put(
            template, service, m.CALL_SCOPES[vocabulary], trace.new_id(), parent, start, end,
            self.named(context), input=usage.input, output=usage.output, cached=usage.cached,
            written=usage.written, total=usage.input + usage.output, batch=batch,
            response=f"chatcmpl-{rng.getrandbits(96):024x}",
            error="Error code: 429 - rate limit reached for requests", **prompt,
        )  # fmt: skip
        metered = usage if outcome == m.USAGE else None
        self.saw_model_span(metered, tenant=tenant, trace=trace)
        self.called(
            metered,
            tenant=tenant,
            recoverable=recoverable,
            internal=internal,
            conflict=conflict,
            unpriced=unpriced,
            failed=outcome == m.FAILED,
            unmetered=outcome in {m.NO_USAGE, m.STOPPED, m.NEVER},
        )
        return end

    def embed(
        self, service: str, parent: str, start: int, context: str, *, tenant: bool, recoverable: bool = False
    ) -> int:
        """Write one embeddings call and its truth; gives the time at which it ended."""
        usage = Usage(input=40 + int(self.rng.expovariate(1 / 2600)))
        models = m.EMBEDDING_MODEL.vocabularies
        vocabulary = models[int(self.rng.random() * len(models))]
        prompt = self.prompt()[1]
        end = start + 90_000_000 + self.trace.pause(40_000)
        self.trace.put(
            m.EMBEDDINGS[vocabulary], service, m.CALL_SCOPES[vocabulary], self.trace.new_id(), parent,
            start, end, self.named(context), input=usage.input, **prompt,
        )  # fmt: skip
        self.saw_model_span(usage, tenant=tenant)
        self.called(usage, tenant=tenant, recoverable=recoverable)
        return end

    def finish(self, *others: Trace) -> Made:
        """Fill the traces up with ordinary work."""
        traces = [self.trace, *others]
        low, high = SPANS_PER_MODEL_SPAN
        for trace in traces:
            wanted = round(max(1, trace.model_spans) * (low + self.rng.random() * (high - low)))
            trace.fill(min(LONGEST, max(SHORTEST, wanted)))
            trace.settle()
        return Made(traces)
