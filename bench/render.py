"""Pieces of OTLP JSON as text, and span templates: what differs from span to span is left as a named gap.

A template is a finished JSON object in the Collector's field order with gaps like ``%(start)d``:
a span costs one string operation to make.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def text(key: str, value: str) -> str:
    """Render a string attribute; ``value`` is already escaped for JSON."""
    return f'{{"key":"{key}","value":{{"stringValue":"{value}"}}}}'


def whole(key: str, value: str | int) -> str:
    """Render an int64 attribute, as a string, the way the Collector writes it."""
    return f'{{"key":"{key}","value":{{"intValue":"{value}"}}}}'


def real(key: str, value: str | float) -> str:
    """Render a floating point attribute."""
    return f'{{"key":"{key}","value":{{"doubleValue":{value}}}}}'


def claim(key: str, value: bool) -> str:
    """Render a boolean attribute."""
    return f'{{"key":"{key}","value":{{"boolValue":{"true" if value else "false"}}}}}'


def words(key: str, values: Sequence[str]) -> str:
    """Render an array of strings."""
    inner = ",".join(f'{{"stringValue":"{value}"}}' for value in values)
    return f'{{"key":"{key}","value":{{"arrayValue":{{"values":[{inner}]}}}}}}'


def event(name: str, attributes: Iterable[str]) -> str:
    """Render a span event at the end of the span."""
    return f'{{"timeUnixNano":"%(end)d","name":"{name}","attributes":[{",".join(attributes)}]}}'


OK = '{"code":1}'
UNSET = "{}"
ERROR = '{"code":2,"message":"%(error)s"}'

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5


def span(
    name: str,
    kind: int,
    attributes: Iterable[str],
    *,
    status: str = UNSET,
    events: Iterable[str] = (),
    link: bool = False,
) -> str:
    """Make a template; baggage copies (tenant, user, session) go to ``%(context)s``, before the rest."""
    body = ",".join(attributes)
    happened = ",".join(events)
    linked = '"links":[{"traceId":"%(link_trace)s","spanId":"%(link_span)s","flags":768}],' if link else ""
    noted = f'"events":[{happened}],' if happened else ""
    return (
        '{"traceId":"%(trace)s","spanId":"%(span)s","parentSpanId":"%(parent)s","flags":%(flags)d,'
        f'"name":"{name}","kind":{kind},"startTimeUnixNano":"%(start)d","endTimeUnixNano":"%(end)d",'
        f'"attributes":[%(context)s{body}],{noted}{linked}"status":{status}}}'
    )


SCOPES: tuple[tuple[str, str], ...] = (
    ("app", ""),
    ("opentelemetry.instrumentation.fastapi", "0.66b1"),
    ("opentelemetry.instrumentation.httpx", "0.66b1"),
    ("opentelemetry.instrumentation.psycopg", "0.66b1"),
    ("opentelemetry.instrumentation.redis", "0.66b1"),
    ("opentelemetry.instrumentation.celery", "0.66b1"),
    ("opentelemetry.instrumentation.openai_v2", "2.3b0"),
    ("opentelemetry.instrumentation.openai.v1", "0.62.4"),
    ("opentelemetry.instrumentation.anthropic", "0.62.4"),
    ("opentelemetry.instrumentation.langchain", "0.62.4"),
    ("openinference.instrumentation.openai", "0.1.66"),
    ("openinference.instrumentation.langchain", "0.1.71"),
    ("logfire.openai", "5.2.0"),
    ("opentelemetry.instrumentation.qdrant", "0.62.4"),
)
SCOPE = {name: number for number, (name, _) in enumerate(SCOPES)}
APP = SCOPE["app"]
FASTAPI = SCOPE["opentelemetry.instrumentation.fastapi"]
HTTPX = SCOPE["opentelemetry.instrumentation.httpx"]
PSYCOPG = SCOPE["opentelemetry.instrumentation.psycopg"]
REDIS = SCOPE["opentelemetry.instrumentation.redis"]
CELERY = SCOPE["opentelemetry.instrumentation.celery"]
LANGCHAIN = SCOPE["opentelemetry.instrumentation.langchain"]
OPENINFERENCE_LANGCHAIN = SCOPE["openinference.instrumentation.langchain"]
LOGFIRE = SCOPE["logfire.openai"]
QDRANT = SCOPE["opentelemetry.instrumentation.qdrant"]


def scope_json(number: int) -> str:
    """Render an instrumentation scope as the Collector does."""
    name, version = SCOPES[number]
    if version:
        return f'{{"name":"{name}","version":"{version}"}}'
    return f'{{"name":"{name}"}}'


@dataclass(frozen=True, slots=True)
class Service:
    """One deployable: its name, how many instances run, where, and a tenant if it serves only one."""

    name: str
    instances: int
    environment: str = "production"
    language: str = "python"
    tenant: str | None = None


SERVICES: tuple[Service, ...] = (
    Service("web", 4),
    Service("gateway", 3),
    Service("worker", 3),
    Service("agent", 3),
    Service("retrieval", 2),
    Service("indexer", 1),
    Service("batcher", 1),
    Service("catalog", 2, language="go"),
    Service("auth", 2, language="nodejs"),
    Service("summaries", 2),
    Service("assistant-dedicated", 1, tenant="cust_0007"),
    Service("web-preview", 1, environment="staging"),
)


def resource_json(service: Service, instance: int) -> str:
    """Render the resource of one process: about 500 bytes, as a Kubernetes deployment has it."""
    number = sum(service.name.encode()) * 131 + instance
    unique = f"{(number * 0x9E3779B97F4A7C15) % (1 << 64):016x}"
    attributes = [
        text("telemetry.sdk.language", service.language),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.version", "1.45.2"),
        text("service.name", service.name),
        text("service.instance.id", f"{unique[:8]}-{unique[8:12]}-4{unique[12:15]}-8{unique[1:4]}-{unique[4:]}"),
        text("deployment.environment.name", service.environment),
        text("k8s.pod.name", f"{service.name}-{unique[:9]}-{unique[10:15]}"),
    ]
    if service.tenant is not None:
        attributes.append(text("tenant.id", service.tenant))
    return f'{{"attributes":[{",".join(attributes)}]}}'
