"""Templates of the spans around model calls: HTTP, queues, databases, jobs. None of them is a model call."""

from __future__ import annotations

from render import (
    APP,
    CLIENT,
    CONSUMER,
    FASTAPI,
    INTERNAL,
    OK,
    PRODUCER,
    PSYCOPG,
    QDRANT,
    REDIS,
    SERVER,
    span,
    text,
    whole,
)

_SERVER_COMMON = (
    text("http.request.method", "POST"),
    whole("http.response.status_code", 200),
)


def server(route: str) -> str:
    """Make an inbound HTTP span."""
    return span(
        f"POST {route}",
        SERVER,
        [
            text("http.route", route),
            *_SERVER_COMMON,
        ],
    )


def client(path: str, host: str) -> str:
    """Make an outbound HTTP span."""
    return span(
        "POST",
        CLIENT,
        [
            text("http.request.method", "POST"),
            text("url.full", f"http://{host}{path}"),
            text("server.address", host),
            whole("http.response.status_code", 200),
        ],
    )


WEB_SERVER = tuple(server(route) for route in ("/v1/ask", "/v1/documents", "/v1/chats/{chat_id}"))
TO_GATEWAY = client("/v1/chat/completions", "gateway")
GATEWAY_SERVER = server("/v1/chat/completions")
TO_AGENT = client("/internal/plan", "agent")
AGENT_SERVER = server("/internal/plan")
TO_RETRIEVAL = client("/internal/search", "retrieval")
RETRIEVAL_SERVER = server("/internal/search")

PUBLISH = span(
    "apply_async/jobs.summarise",
    PRODUCER,
    [
        text("celery.action", "apply_async"),
        text("celery.task_name", "jobs.summarise"),
        text("messaging.message.id", "%(message)s"),
        text("messaging.destination", "celery"),
        text("messaging.destination_kind", "queue"),
    ],
)


def _consume(*, link: bool) -> str:
    return span(
        "run/jobs.summarise",
        CONSUMER,
        [
            text("celery.action", "run"),
            text("celery.state", "SUCCESS"),
            text("celery.task_name", "jobs.summarise"),
            text("celery.hostname", "celery@summaries"),
            text("messaging.message.id", "%(message)s"),
            text("messaging.conversation_id", "%(message)s"),
            text("messaging.destination", "celery"),
        ],
        link=link,
    )


CONSUME_CHILD = _consume(link=False)
CONSUME_LINKED = _consume(link=True)

INDEX_JOB = span(
    "index_documents", INTERNAL, [text("app.job.name", "index_documents"), text("app.schedule", "nightly")]
)
BATCH_CREATE = span(
    "batches.create",
    INTERNAL,
    [
        text("gen_ai.batch.id", "%(batch)s"),
        whole("app.batch.items", "%(items)d"),
        text("app.queue", "nightly"),
    ],
)
BATCH_COLLECT = span(
    "batches.retrieve",
    INTERNAL,
    [
        text("gen_ai.batch.id", "%(batch)s"),
        text("app.batch.status", "completed"),
        text("code.function.name", "collect_batches"),
        whole("code.line.number", 64),
    ],
)
HEALTH_CHECK = server("/healthz")


def _queries() -> list[tuple[int, str]]:
    statements = (
        ("SELECT", "documents", "SELECT id, body FROM documents WHERE id = ANY($1)"),
        ("SELECT", "chats", "SELECT owner_id, title FROM chats WHERE id = $1"),
        ("INSERT", "messages", "INSERT INTO messages (chat_id, body) VALUES ($1, $2)"),
        ("UPDATE", "quotas", "UPDATE quotas SET used = used + $1 WHERE id = $2"),
        ("SELECT", "permissions", "SELECT action FROM permissions WHERE subject_id = $1"),
    )
    return [
        (
            PSYCOPG,
            span(
                f"{verb} {table}",
                CLIENT,
                [
                    text("db.system.name", "postgresql"),
                    text("db.operation.name", verb),
                    text("db.collection.name", table),
                    text("db.query.text", statement),
                ],
            ),
        )
        for verb, table, statement in statements
    ]


def _lookups() -> list[tuple[int, str]]:
    return [
        (
            REDIS,
            span(
                verb,
                CLIENT,
                [
                    text("db.system", "redis"),
                    text("db.statement", f"{verb} ? ?"),
                    text("net.peer.name", "redis.assistant.svc"),
                    whole("db.redis.args_length", 2),
                ],
            ),
        )
        for verb in ("GET", "SETEX", "HGETALL")
    ]


def _steps() -> list[tuple[int, str]]:
    return [
        (
            APP,
            span(
                name,
                INTERNAL,
                [
                    text("code.function.name", name),
                    text("code.file.path", f"app/services/{name}.py"),
                ],
            ),
        )
        for name in ("load_settings", "check_quota", "build_prompt", "render_answer")
    ]


def _asgi() -> list[tuple[int, str]]:
    return [
        (
            FASTAPI,
            span(
                f"POST /v1/ask http {way}",
                INTERNAL,
                [text("asgi.event.type", f"http.{way}"), whole("http.status_code", 200)],
            ),
        )
        for way in ("receive", "send")
    ]


def _searches() -> list[tuple[int, str]]:
    return [
        (
            QDRANT,
            span(
                "qdrant.search",
                CLIENT,
                [
                    text("db.system", "qdrant"),
                    text("db.operation", "search"),
                    whole("db.vector.query.top_k", 24),
                    text("db.qdrant.collection_name", "documents"),
                ],
                status=OK,
            ),
        )
    ]


FILLERS: tuple[tuple[int, str], ...] = tuple(_queries() * 2 + _lookups() + _steps() * 2 + _asgi() + _searches())
"""Spans of an ordinary web application, by weight of repetition; none of them is a model call."""

INTERNAL_STEPS: frozenset[str] = frozenset(template for _, template in _steps())
"""The fillers under which more spans may hang."""

HOPS: tuple[tuple[str, str, str], ...] = (
    ("catalog", client("/internal/catalog", "catalog"), server("/internal/catalog")),
    ("auth", client("/internal/verify", "auth"), server("/internal/verify")),
)
"""Calls to a neighbouring service: its name, the client span, the server span."""
