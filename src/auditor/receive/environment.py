"""The ``OTEL_*`` variables that make a command's SDK send its traces here, and nowhere else.

Names and meanings: OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter
Configuration". What the user has set for sampling, resources and propagators stays.
"""

from __future__ import annotations

from collections.abc import Mapping

HTTP_PROTOCOLS = frozenset({"http/protobuf", "http/json"})
SOON_MS = "500"
"""Milliseconds between two exports, where the user has set none: the default of 5 s is longer than many tests."""
_SIGNAL = "OTEL_EXPORTER_OTLP_TRACES_"
_ALL = "OTEL_EXPORTER_OTLP_"
_FOR_SOMEBODY_ELSE = ("HEADERS", "CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
"""What belongs to the place where traces go otherwise; headers hold its key."""
_LOOPBACK = ("127.0.0.1", "localhost")


def environment_for(endpoint: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the command; ``endpoint`` is the base address, without ``/v1/traces``."""
    made = dict(environment)
    for name in _FOR_SOMEBODY_ELSE:
        made.pop(_ALL + name, None)
        made.pop(_SIGNAL + name, None)
    protocol = made.get(f"{_SIGNAL}PROTOCOL") or made.get(f"{_ALL}PROTOCOL") or ""
    protocol = protocol if protocol in HTTP_PROTOCOLS else "http/protobuf"
    made |= {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_SDK_DISABLED": "false",
        f"{_ALL}ENDPOINT": endpoint,
        f"{_ALL}PROTOCOL": protocol,
        f"{_SIGNAL}ENDPOINT": f"{endpoint}/v1/traces",
        f"{_SIGNAL}PROTOCOL": protocol,
    }
    made.setdefault("OTEL_BSP_SCHEDULE_DELAY", SOON_MS)
    for name in ("no_proxy", "NO_PROXY"):
        listed = [part.strip() for part in made.get(name, "").split(",") if part.strip()]
        made[name] = ",".join(dict.fromkeys([*listed, *_LOOPBACK]))
    return made
