"""Traces of a made-up product, healthy and broken in every way that the auditor names.

A scenario writes one trace, or two when a hop starts a new one.
It also says what is true: who caused the call, whether the export carries that tenant on the call, and which
usage the provider billed.
"""

from __future__ import annotations

from collections.abc import Callable

import model_spans as m
import plain_spans as p
import render as r
from story import Cast, Made, Story, Trace, Truth


def _calls(story: Story, most: int) -> int:
    return 1 + int(story.rng.random() * most)


def _web(story: Story) -> tuple[str, int]:
    """Open the inbound request; gives its span id and the time at which its work starts."""
    return story.trace.new_id(), story.trace.start + story.trace.pause(3000)


def _close_web(story: Story, root: str, end: int, context: str, *, service: str = "web") -> None:
    trace = story.trace
    template = p.WEB_SERVER[int(story.rng.random() * len(p.WEB_SERVER))]
    end += trace.pause(4000)
    trace.put(template, service, r.FASTAPI, root, "", trace.start, end, story.named(context))
    trace.host(service, root, trace.start + 10, end - 10, context)


def _through_gateway(story: Story, web: str, gateway: str, *, tenant: bool, recoverable: bool = False) -> Made:
    """Web request, HTTP hop to the gateway, model calls there; contexts as given on either side."""
    trace = story.trace
    root, now = _web(story)
    for _ in range(_calls(story, 4)):
        outbound, inbound = trace.new_id(), trace.new_id()
        opened = now
        arrived = opened + trace.pause(2000)
        called = arrived + trace.pause(2000)
        done = story.chat("gateway", inbound, called, gateway, tenant=tenant, recoverable=recoverable)
        left = done + trace.pause(1000)
        trace.put(p.GATEWAY_SERVER, "gateway", r.FASTAPI, inbound, outbound, arrived, left, gateway, flags=768)
        trace.host("gateway", inbound, arrived + 10, left - 10, gateway)
        now = left + trace.pause(2000)
        trace.put(p.TO_GATEWAY, "web", r.HTTPX, outbound, root, opened, now, web)
        now += trace.pause(5000)
    _close_web(story, root, now, web)
    return story.finish()


def healthy_chat(story: Story) -> Made:
    """Baggage reaches every span."""
    return _through_gateway(story, story.context, story.context, tenant=True)


def gateway_single_key(story: Story) -> Made:
    """Nobody on the path ever knew a tenant."""
    return _through_gateway(story, "", "", tenant=False)


def header_stripping(story: Story) -> Made:
    """The caller knows the tenant; nothing of it arrives at the gateway."""
    return _through_gateway(story, story.context, "", tenant=False, recoverable=True)


def tenant_not_copied(story: Story) -> Made:
    """The request span has the tenant; its children in the same process do not."""
    trace = story.trace
    root, now = _web(story)
    for _ in range(_calls(story, 3)):
        now = story.chat("web", root, now, "", tenant=False, recoverable=True) + trace.pause(4000)
    _close_web(story, root, now, story.context)
    return story.finish()


def _agent(story: Story, inner: str, *, tenant: bool, recoverable: bool = False) -> Made:
    trace = story.trace
    root, now = _web(story)
    outbound, inbound, agent = trace.new_id(), trace.new_id(), trace.new_id()
    opened, arrived = now, now + trace.pause(2000)
    began = now = arrived + trace.pause(1000)
    before = (story.tally.input_tokens, story.tally.output_tokens)
    for _ in range(1 + _calls(story, 4)):
        now = story.chat("agent", agent, now, inner, tenant=tenant, recoverable=recoverable) + trace.pause(4000)
        if story.rng.random() < 0.6:
            tool, tool_start = trace.new_id(), now
            now += trace.pause(90_000)
            trace.put(m.EXECUTE_TOOL, "agent", r.LANGCHAIN, tool, agent, tool_start, now, inner)
            trace.host("agent", tool, tool_start + 5, now - 5, inner)
            now += trace.pause(2000)
    trace.put(
        m.INVOKE_AGENT, "agent", r.LANGCHAIN, agent, inbound, began, now, story.context,
        input=story.tally.input_tokens - before[0], output=story.tally.output_tokens - before[1],
    )  # fmt: skip
    trace.host("agent", agent, began + 5, now - 5, inner)
    now += trace.pause(1000)
    trace.put(p.AGENT_SERVER, "agent", r.FASTAPI, inbound, outbound, arrived, now, story.context, flags=768)
    now += trace.pause(1000)
    trace.put(p.TO_AGENT, "web", r.HTTPX, outbound, root, opened, now, story.context)
    _close_web(story, root, now, story.context)
    return story.finish()


def healthy_agent(story: Story) -> Made:
    """An agent whose container span repeats the usage of its calls; tenants everywhere."""
    return _agent(story, story.context, tenant=True)


def orphaned_agent_children(story: Story) -> Made:
    """Below the agent span the tenant stops, or the calls run detached in traces of their own."""
    if story.rng.random() < 0.7:
        return _agent(story, "", tenant=False, recoverable=True)
    trace = story.trace
    now = trace.start
    lost = trace.new_id()  # the parent that was never exported
    for _ in range(1 + _calls(story, 2)):
        now = story.chat("agent", lost, now, "", tenant=False) + trace.pause(4000)
    trace.host("agent", lost, trace.start, now, "")
    return story.finish()


def _retrieval(story: Story, embedding: str, *, tenant: bool) -> Made:
    trace = story.trace
    root, now = _web(story)
    outbound, inbound, chain = trace.new_id(), trace.new_id(), trace.new_id()
    opened, arrived = now, now + trace.pause(2000)
    began = arrived + trace.pause(500)
    now = began + trace.pause(500)
    for _ in range(_calls(story, 2)):
        now = story.embed("retrieval", chain, now, embedding, tenant=tenant, recoverable=True) + trace.pause(900)
    if story.rng.random() < 0.5:
        reranked = now + 120_000_000
        trace.put(
            m.RERANK,
            "retrieval",
            r.OPENINFERENCE_LANGCHAIN,
            trace.new_id(),
            chain,
            now,
            reranked,
            story.context,
        )
        story.saw_model_span(None, tenant=True)
        story.called(None, tenant=True, unpriced=True)
        now = reranked + trace.pause(900)
    now = story.chat("retrieval", chain, now, story.context, tenant=True) + trace.pause(500)
    trace.put(m.CHAIN, "retrieval", r.OPENINFERENCE_LANGCHAIN, chain, inbound, began, now, story.context)
    trace.host("retrieval", chain, began + 5, now - 5, story.context)
    now += trace.pause(500)
    trace.put(p.RETRIEVAL_SERVER, "retrieval", r.FASTAPI, inbound, outbound, arrived, now, story.context, flags=768)
    now += trace.pause(500)
    trace.put(p.TO_RETRIEVAL, "web", r.HTTPX, outbound, root, opened, now, story.context)
    _close_web(story, root, now, story.context)
    return story.finish()


def healthy_retrieval(story: Story) -> Made:
    """Embeddings, a vector search, a rerank and an answer, all with the tenant."""
    return _retrieval(story, story.context, tenant=True)


def untagged_embeddings(story: Story) -> Made:
    """Embeddings lose the tenant inside a process that knows it, or belong to a nightly index job."""
    if story.rng.random() < 0.6:
        return _retrieval(story, "", tenant=False)
    trace = story.trace
    job = trace.new_id()
    now = trace.start + trace.pause(500)
    for _ in range(1 + _calls(story, 4)):
        now = story.embed("indexer", job, now, "", tenant=False) + trace.pause(3000)
    trace.put(p.INDEX_JOB, "indexer", r.APP, job, "", trace.start, now, "")
    trace.host("indexer", job, trace.start + 5, now - 5, "")
    return story.finish()


def _queue(story: Story, inner: str, *, tenant: bool, linked: bool, recoverable: bool = False) -> Made:
    trace = story.trace
    root, now = _web(story)
    message = f"{story.rng.getrandbits(128):032x}"
    producer, consumer = trace.new_id(), trace.new_id()
    published = now
    now += trace.pause(1500)
    trace.put(p.PUBLISH, "web", r.CELERY, producer, root, published, now, story.context, message=message)
    _close_web(story, root, now, story.context)
    taken = now + 30_000_000 + trace.pause(900_000)
    job = Trace(story.cast, taken) if linked else trace
    if linked:
        story.tally.traces += 1
    now = taken + trace.pause(800)
    for _ in range(_calls(story, 3)):
        now = story.chat("summaries", consumer, now, inner, tenant=tenant, trace=job, recoverable=recoverable)
        now += trace.pause(2000)
    job.put(
        p.CONSUME_LINKED if linked else p.CONSUME_CHILD, "summaries", r.CELERY, consumer,
        "" if linked else producer, taken, now, inner,
        flags=256 if linked else 768, message=message, link_trace=trace.id, link_span=producer,
    )  # fmt: skip
    job.host("summaries", consumer, taken + 5, now - 5, inner)
    return story.finish(job) if linked else story.finish()


def healthy_queue(story: Story) -> Made:
    """The job puts the tenant back, as a child of its producer or linked to it."""
    return _queue(story, story.context, tenant=True, linked=story.rng.random() < 0.4)


def async_drop(story: Story) -> Made:
    """The job does not know the tenant, or has a worker's placeholder for one."""
    placeholder = r.text("tenant.id", "default") + ","
    inner = placeholder if story.rng.random() < 0.2 else ""
    return _queue(story, inner, tenant=False, linked=story.rng.random() < 0.5, recoverable=True)


def stream_span_closure(story: Story) -> Made:
    """Streams whose span closed before the usage came; the tenant is known."""
    trace = story.trace
    root, now = _web(story)
    if story.rng.random() < 0.25:
        for _ in range(_calls(story, 2)):
            usage = story.usage(m.CHAT_MODELS[0])
            prompt = story.prompt()[1]
            closed = now + 40_000_000
            drained = closed + 250_000_000 + usage.output * 8_000_000
            trace.put(m.STREAM_OPEN, "web", r.LOGFIRE, trace.new_id(), root, now, closed, story.context, **prompt)
            trace.put(
                m.STREAM_LOG, "web", r.LOGFIRE, trace.new_id(), root, drained, drained, story.context,
                input=usage.input, output=usage.output,
            )  # fmt: skip
            story.saw_model_span(None, tenant=True)
            story.saw_model_span(usage, tenant=True)
            usage.cached = 0
            story.called(usage, tenant=True)
            now = drained + trace.pause(3000)
    else:
        for _ in range(_calls(story, 3)):
            outcome = (m.NEVER, m.STOPPED, m.NO_USAGE)[int(story.rng.random() * 3)]
            vocabulary = "openllmetry" if story.rng.random() < 0.5 else "old"
            now = story.chat(
                "web", root, now, story.context, tenant=True, outcome=outcome, model=m.CHAT_MODELS[0],
                vocabulary=vocabulary,
            )  # fmt: skip
            now += trace.pause(3000)
    _close_web(story, root, now, story.context)
    return story.finish()


def batch_without_metadata(story: Story) -> Made:
    """A batch is submitted for a tenant and collected by a job that does not know whom it was for."""
    trace = story.trace
    known = story.rng.random() < 0.7
    context = story.context if known else ""
    batch = f"batch_{story.rng.getrandbits(96):024x}"
    root, now = _web(story)
    items = 1 + _calls(story, 4)
    submitted = now
    now += trace.pause(30_000)
    trace.put(p.BATCH_CREATE, "web", r.APP, trace.new_id(), root, submitted, now, context, batch=batch, items=items)
    _close_web(story, root, now, context)
    collection = Trace(story.cast, now + 1_800_000_000_000)
    story.tally.traces += 1
    collect = collection.new_id()
    now = collection.start + collection.pause(500)
    for _ in range(items):
        now = story.chat(
            "batcher", collect, now, "", tenant=False, recoverable=known, batch=batch, trace=collection,
            model=m.CHAT_MODELS[0],
        )  # fmt: skip
        now += collection.pause(200)
    collection.put(p.BATCH_COLLECT, "batcher", r.APP, collect, "", collection.start, now, "", batch=batch)
    collection.host("batcher", collect, collection.start + 5, now - 5, "")
    return story.finish(collection)


def tenant_conflict(story: Story) -> Made:
    """A context left over from another request: the call names another tenant than its path."""
    trace = story.trace
    form = r.text("tenant.id", "%s") + ","
    path = form % story.tenant
    tenants = story.cast.tenants
    other = tenants[(tenants.index(story.tenant) + 1 + int(story.rng.random() * 50)) % len(tenants)]
    root, now = _web(story)
    for _ in range(_calls(story, 2)):
        now = story.chat("web", root, now, form % other, tenant=True, conflict=True) + trace.pause(3000)
    _close_web(story, root, now, path)
    return story.finish()


def internal_staging(story: Story) -> Made:
    """A staging deployment, where no tenant is expected."""
    trace = story.trace
    root, now = _web(story)
    for _ in range(_calls(story, 3)):
        now = story.chat("web-preview", root, now, "", tenant=False, internal=True) + trace.pause(3000)
    _close_web(story, root, now, "", service="web-preview")
    return story.finish()


def framework_pairs(story: Story) -> Made:
    """A framework's span around the SDK's: one call, described twice."""
    trace = story.trace
    root, now = _web(story)
    for _ in range(_calls(story, 2)):
        usage = story.usage(m.CHAT_MODELS[0])
        response = f"chatcmpl-{story.rng.getrandbits(96):024x}"
        with_prompt, prompt = story.prompt()
        outer = trace.new_id()
        began = now
        inner_start = began + trace.pause(3000)
        inner_end = inner_start + 250_000_000 + usage.output * 8_000_000
        now = inner_end + trace.pause(3000)
        gaps: dict[str, object] = {
            **prompt, "input": usage.input, "output": usage.output, "cached": usage.cached, "written": 0,
            "total": usage.input + usage.output, "response": response,
        }  # fmt: skip
        template = m.chat("openllmetry", m.CHAT_MODELS[0], m.USAGE, prompt=with_prompt, streamed=False)
        trace.put(
            template, "web", m.CALL_SCOPES["openllmetry"], trace.new_id(), outer, inner_start, inner_end,
            story.context, **gaps,
        )  # fmt: skip
        trace.put(m.LANGCHAIN_CHAT[with_prompt], "web", r.LANGCHAIN, outer, root, began, now, story.context, **gaps)
        story.saw_model_span(usage, tenant=True)
        story.saw_model_span(usage, tenant=True)
        story.called(usage, tenant=True)
        now += trace.pause(3000)
    _close_web(story, root, now, story.context)
    return story.finish()


def app_and_gateway(story: Story) -> Made:
    """The application and the gateway both describe the call; only the application names the tenant."""
    trace = story.trace
    root, now = _web(story)
    for _ in range(_calls(story, 2)):
        model = m.CHAT_MODELS[0]
        usage = story.usage(model)
        gaps: dict[str, object] = {
            **story.cast.short_prompt, "input": usage.input, "output": usage.output, "cached": usage.cached,
            "written": 0, "total": usage.input + usage.output,
            "response": f"chatcmpl-{story.rng.getrandbits(96):024x}",
        }  # fmt: skip
        app, inbound = trace.new_id(), trace.new_id()
        opened, arrived = now, now + trace.pause(2000)
        called = arrived + trace.pause(1000)
        done = called + 250_000_000 + usage.output * 8_000_000
        left = done + trace.pause(1000)
        now = left + trace.pause(1000)
        template = m.chat("otel", model, m.USAGE, prompt=False, streamed=False)
        scope = m.CALL_SCOPES["otel"]
        trace.put(template, "gateway", scope, trace.new_id(), inbound, called, done, "", **gaps)
        trace.put(p.GATEWAY_SERVER, "gateway", r.FASTAPI, inbound, app, arrived, left, "", flags=768)
        template = m.chat("openllmetry", model, m.USAGE, prompt=True, streamed=False)
        trace.put(
            template, "web", m.CALL_SCOPES["openllmetry"], app, root, opened, now, story.context,
            **{**gaps, **story.prompt()[1]},
        )  # fmt: skip
        story.saw_model_span(usage, tenant=False)
        story.saw_model_span(usage, tenant=True)
        story.called(usage, tenant=True)
        now += trace.pause(3000)
    _close_web(story, root, now, story.context)
    return story.finish()


def retries(story: Story) -> Made:
    """A refused attempt, not billed, and then the one that counts."""
    trace = story.trace
    root, now = _web(story)
    for outcome in (m.FAILED, m.USAGE):
        now = story.chat("web", root, now, story.context, tenant=True, outcome=outcome) + trace.pause(400_000)
    _close_web(story, root, now, story.context)
    return story.finish()


def unpriced_model(story: Story) -> Made:
    """A model of the house that no price list has."""
    trace = story.trace
    root, now = _web(story)
    for _ in range(_calls(story, 2)):
        now = story.chat("web", root, now, story.context, tenant=True, model=m.UNPRICED_MODEL) + trace.pause(3000)
    _close_web(story, root, now, story.context)
    return story.finish()


def dedicated_deployment(story: Story) -> Made:
    """A deployment for one tenant, which only its resource names."""
    trace = story.trace
    service = "assistant-dedicated"
    root, now = _web(story)
    for _ in range(_calls(story, 3)):
        now = story.chat(service, root, now, "", tenant=True) + trace.pause(3000)
    _close_web(story, root, now, "", service=service)
    return story.finish()


FAMILIES: tuple[tuple[float, str, Callable[[Story], Made]], ...] = (
    (0.300, "healthy-chat", healthy_chat),
    (0.120, "healthy-agent", healthy_agent),
    (0.080, "healthy-retrieval", healthy_retrieval),
    (0.060, "healthy-queue", healthy_queue),
    (0.055, "gateway-single-key", gateway_single_key),
    (0.060, "header-stripping", header_stripping),
    (0.050, "async-drop", async_drop),
    (0.040, "stream-span-closure", stream_span_closure),
    (0.040, "orphaned-agent-children", orphaned_agent_children),
    (0.050, "tenant-not-copied", tenant_not_copied),
    (0.030, "untagged-embeddings", untagged_embeddings),
    (0.015, "batch-without-metadata", batch_without_metadata),
    (0.010, "tenant-conflict", tenant_conflict),
    (0.020, "internal-staging", internal_staging),
    (0.025, "framework-pairs", framework_pairs),
    (0.015, "app-and-gateway", app_and_gateway),
    (0.015, "retries", retries),
    (0.005, "unpriced-model", unpriced_model),
    (0.010, "dedicated-deployment", dedicated_deployment),
)
"""Share of the scenarios, name in the truth, and the function that writes one; the shares add up to 1."""


def plain(cast: Cast, truth: Truth, start: int, spans: int) -> Made:
    """Write a trace without a model call, of exactly the wanted size; the generator ends on these."""
    story = Story(cast, truth, "plain", start)
    trace = story.trace
    root = trace.new_id()
    end = start + trace.pause(90_000)
    trace.put(p.HEALTH_CHECK, "web", r.FASTAPI, root, "", start, end, "")
    trace.host("web", root, start + 10, end - 10, "")
    trace.fill(spans)
    trace.settle()
    return Made([trace])
