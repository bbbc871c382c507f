"""A source that the user declared: where in its records each concept stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

TEXTS = (
    "id", "trace", "span", "parent", "call_id", "response_id", "request_id", "batch_id", "session", "user", "workflow",
    "environment", "feature", "credential", "provider", "model", "response_model", "service_tier",
)  # fmt: skip
"""Concepts that are texts."""
COUNTS = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "total_tokens", "searches",
)  # fmt: skip
"""Concepts that are counts."""
FLAGS = ("streamed", "cache_hit", "batch")
"""Concepts that are true or false."""
OTHERS = ("tenant", "metadata", "tags", "operation", "time", "end", "duration", "cost")
CONCEPTS = (*TEXTS, *COUNTS, *FLAGS, *OTHERS)
COST_UNITS = MappingProxyType({"usd": 10**12, "cents": 10**10, "microdollars": 10**6})
"""Pico-dollars of one."""
LENGTH_UNITS = MappingProxyType({"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1})
"""Nanoseconds of one."""
ISO = "iso"


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """What ``[mapping.NAME]`` says. A path is keys joined by dots; a list's entries have their number as key."""

    name: str
    files: tuple[str, ...] = ()
    """Globs of the inputs that it is for, whatever they look like; else it is for those that no format fits."""
    rows: str = ""
    """Path of the list of rows in a document; empty where every record is a row, or a list of them."""
    cache_inside_input: bool | None = None
    """Whether input counts cached tokens; ``None`` leaves it to the counts themselves."""
    cost_unit: str = "usd"
    time_unit: str = ISO
    duration_unit: str = "ms"
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By concept: paths, of which the first with a value counts (of metadata and tags, all)."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """By concept: what holds for every row that says nothing else."""
    operations: Mapping[str, str] = field(default_factory=dict)
    """What the source calls an operation, in lower case, to what it is called here."""
    billable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By path: values of which one has to stand there, or the record is no call."""
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By path: values that tell of a call that failed."""
