"""What may pass for evidence and is none, and what is evidence although it looks like something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER, Audited, Span, audit_bytes, call, lines, span


def rules_of(audited: Audited) -> set[str]:
    return {finding.rule for finding in audited.report.findings}


def audit(home: Path, *spans: Span) -> Audited:
    return audit_bytes(home, lines(*spans))


# -- joins -------------------------------------------------------------------------------------------


def queued(queue: str, message: str, tenant: str | None, start: float) -> tuple[Span, Span, Span]:
    """A producer, a worker of another trace and its call; nothing but the message's id leads from one to the other."""
    naming = {"messaging.destination.name": queue, "messaging.message.id": message}
    known = {"tenant.id": tenant} if tenant else {}
    name = f"{queue} {message}"
    return (
        span(f"{name} publish", trace=f"web {name}", service="web", kind=PRODUCER, start=start, ms=5,
             attributes={**naming, "messaging.operation.type": "publish", **known}),
        span(f"{name} process", id=f"job {name}", trace=f"job {name}", service="worker", kind=CONSUMER,
             start=start + 50, attributes={**naming, "messaging.operation.type": "process"}),
        call(trace=f"job {name}", parent=f"job {name}", service="worker", start=start + 100),
    )  # fmt: skip


def test_a_counted_message_id_leads_to_nobody_of_another_queue(tmp_path: Path) -> None:
    docs, cron = queued("docs", "1", "acme", 0), queued("cron", "1", None, 9000)

    audited = audit(tmp_path, *docs, *cron)

    assert (audited.row(docs[2])["tenant_id"], audited.row(docs[2])["recovered_by"]) == ("acme", "message_id")
    assert audited.row(cron[2])["status"] == "lost"


def test_a_drawn_message_id_needs_no_queue(tmp_path: Path) -> None:
    own = "7b0c2a34-4f6e-4c0b-9a51-0c6f3f1f2d11"
    sent, taken, asked = queued("docs", own, "acme", 0)

    audited = audit(tmp_path, sent, taken.with_attributes(**{"messaging.destination.name": None}), asked)

    assert audited.row(asked)["recovered_by"] == "message_id"


def test_the_link_of_one_message_counts_before_those_of_the_batch_it_came_in(tmp_path: Path) -> None:
    sent = [
        span(f"send {tenant}", id=tenant, trace=tenant, service="web", kind=PRODUCER, attributes={"tenant.id": tenant})
        for tenant in ("acme", "globex")
    ]
    received = span("receive", id="all", trace="w", service="worker", kind=CONSUMER,
                    links=[(entry.trace, entry.id) for entry in sent])  # fmt: skip
    handled = span("process", id="one", trace="w", parent="all", service="worker", links=[("globex", "globex")])
    for_one = call(trace="w", parent="one", service="worker")
    for_all = call(trace="w", parent="all", service="worker", start=700)

    audited = audit(tmp_path, *sent, received, handled, for_one, for_all)

    assert (audited.row(for_one)["tenant_id"], audited.row(for_one)["recovered_by"]) == ("globex", "link")
    assert audited.row(for_all)["status"] == "lost"


# -- roles -------------------------------------------------------------------------------------------


def test_a_job_that_claims_to_be_a_server_is_a_job(tmp_path: Path) -> None:
    started = span("StartWorkflow", id="start", trace="t", service="web", kind=CLIENT, attributes={"tenant.id": "acme"})
    activity = span("RunActivity:Summarise", id="activity", trace="t", parent="start", service="worker", kind=SERVER,
                    attributes={"temporalActivityID": "7", "temporalRunID": "r"})  # fmt: skip

    audited = audit(tmp_path, started, activity, call(trace="t", parent="activity", service="worker"))

    assert rules_of(audited) == {"async-drop"}


@pytest.mark.parametrize("path", ["/conversations/{id}/messages", "/summarise/invoke", "/admin/reindex/embeddings"])
def test_an_application_with_paths_like_an_api_is_no_gateway(tmp_path: Path, path: str) -> None:
    served = span("POST", id="served", trace="t", service="app", kind=SERVER, attributes={"http.route": path})

    audited = audit(tmp_path, served, call(trace="t", parent="served", service="app"))

    assert "gateway-single-key" not in rules_of(audited)


def test_model_calls_without_parents_have_no_context_to_lose(tmp_path: Path) -> None:
    tagged = [call(trace=f"a{n}", service="edge", tenant="acme", start=900 * n) for n in range(3)]
    untagged = [call(trace=f"b{n}", service="edge", start=900 * n + 450) for n in range(3)]

    audited = audit(tmp_path, *tagged, *untagged)

    assert "orphaned-agent-children" not in rules_of(audited)


# -- chance ------------------------------------------------------------------------------------------


def test_few_roots_that_some_clock_offset_would_fit_are_no_cut_trace(tmp_path: Path) -> None:
    asked = [
        span("POST /search", trace=f"web {n}", service="web", kind=SERVER, start=start, ms=400,
             attributes={"tenant.id": f"tenant-{n}", "http.route": "/search"})
        for n, start in enumerate((0, 5_000, 11_000, 23_000))
    ]  # fmt: skip
    jobs = [
        (span("POST /nightly", id=f"n{n}", trace=f"bot {n}", service="bot", kind=SERVER, start=start, ms=300,
              attributes={"http.route": "/nightly"}),
         call(trace=f"bot {n}", parent=f"n{n}", service="bot", start=start + 20, ms=200))
        for n, start in enumerate((120_050, 125_050, 160_000, 199_000))
    ]  # fmt: skip

    audited = audit(tmp_path, *asked, *(entry for pair in jobs for entry in pair))

    assert rules_of(audited) == {"unowned-traffic"}


@pytest.mark.parametrize(("operation", "model"), [("image_generation", "dall-e-3"), ("speech", "tts-1")])
def test_what_is_billed_without_tokens_is_no_stream(tmp_path: Path, operation: str, model: str) -> None:
    audited = audit(
        tmp_path,
        span("POST", id="top", trace="t", kind=SERVER, attributes={"tenant.id": "acme", "http.route": "/draw"}),
        call(trace="t", parent="top", tenant="acme", operation=operation, model=model, usage={}),
        span("work", trace="t", parent="top", kind=INTERNAL),
    )

    assert "stream-span-closure" not in rules_of(audited)
