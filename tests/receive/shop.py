"""A program as people have it: a real SDK that takes everything from the environment. Run by tests of ``audit record``.

shop.py STATUS LEAKS [late]    makes LEAKS calls without a tenant and one with, and exits with STATUS
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
    "code.file.path": __file__,
    "code.line.number": 46,
}


def work(leaks: int) -> None:
    """Serve a request; the calls below forget whose it is."""
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("GET /", attributes={"tenant.id": "acme"}):
        tracer.start_span("chat gpt-4o-mini", attributes={**CHAT, "tenant.id": "acme"}).end()
        for _ in range(leaks):
            # Nobody copies the tenant of the request to the call.
            tracer.start_span("chat gpt-4o-mini", attributes=CHAT).end()
    provider.shutdown()


if __name__ == "__main__":
    status, count, *late = sys.argv[1:]
    if late == ["now"]:
        time.sleep(0.7)
        work(int(count))
    elif late:
        subprocess.Popen(  # this program again, which outlives us
            [sys.executable, __file__, "0", count, "now"],
            env=os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    else:
        work(int(count))
    sys.stdout.write("shop is done\n")
    sys.exit(int(status))
