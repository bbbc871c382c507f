"""The formats that are read: how each is recognised, cut into records and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from auditor.load.builder import BatchBuilder
from auditor.load.litellm import LiteLLMReader, is_litellm
from auditor.load.otlp_json import OtlpJsonReader, is_otlp
from auditor.load.sources import Opened, Record


class Reader(Protocol):
    """Reads the records of one format into a builder."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""

    def finish(self) -> None:
        """Take over what was held back until the end of the input."""


@dataclass(frozen=True, slots=True)
class Format:
    """One export format."""

    name: str
    recognises: Callable[[Any], bool]
    """Say whether the first JSON value of an input looks like this format."""
    reader: Callable[[BatchBuilder], Reader]
    marks: tuple[bytes, ...] = ()
    """What the head of an input holds whose first value is too large, or too broken, to be looked at whole."""
    is_framed_as: Callable[[bytes], bool] | None = None
    """Say whether the first bytes of an input are this format's, for one that is not written as JSON values."""
    records: Callable[[Opened], Iterator[Record]] = Opened.records
    """How the input is cut into records."""


FORMATS: tuple[Format, ...] = (
    Format(
        "otlp-json",
        is_otlp,
        OtlpJsonReader,
        marks=(b'"resourceSpans"', b'"resource_spans"', b'"resourceLogs"', b'"resourceMetrics"'),
    ),
    Format("litellm", is_litellm, LiteLLMReader, marks=(b'"call_type"', b'"response_cost"')),
)
REFUSED = (
    (
        {"startTime", "spend", "users", "models"},
        "LiteLLM's daily summary holds no calls",
        "export rows: /spend/logs?summarize=false",
    ),
    ({"group_by_day", "teams"}, "a LiteLLM spend report holds no calls", "export rows: /spend/logs/v2"),
)
"""What is recognised and holds no calls: its keys, what it is, what to export instead."""
