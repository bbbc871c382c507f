"""What happens in the demo, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from auditor.demo import faults, healthy
from auditor.demo.otlp import Export


@dataclass(frozen=True, slots=True)
class Scene:
    """Something that happens ``requests`` times; ``mode`` is the rule that has to name it, or ``None``."""

    name: str
    mode: str | None
    requests: int
    plant: Callable[[Export, str], int]
    """Plants one request, told apart by its name, and returns the number of its billable calls."""


SCENES = (
    Scene("healthy chat", None, 38, healthy.tagged_chat),
    Scene("framework and SDK", None, 5, healthy.pair),
    Scene("tagged embeddings", None, 6, healthy.tagged_embeddings),
    Scene("failed and repeated", None, 3, healthy.retry),
    Scene("own model", None, 2, healthy.unpriced),
    Scene("staging", None, 7, healthy.internal),
    Scene("proxy drops the header", "header-stripping", 12, faults.header_stripping),
    Scene("one key for all", "gateway-single-key", 10, faults.gateway_single_key),
    Scene("job without the tenant", "async-drop", 14, faults.async_drop),
    Scene("stream without usage", "stream-span-closure", 6, faults.stream_span_closure),
    Scene("agent's children", "orphaned-agent-children", 4, faults.agent_children),
    Scene("detached thread", "orphaned-agent-children", 4, faults.detached_thread),
    Scene("attribute not copied", "tenant-not-copied", 9, faults.tenant_not_copied),
    Scene("query embeddings", "untagged-embeddings", 6, faults.untagged_query),
    Scene("index embeddings", "untagged-embeddings", 4, faults.untagged_index),
    Scene("batch results", "batch-without-metadata", 2, faults.batch_without_metadata),
    Scene("stale client", "tenant-conflict", 4, faults.tenant_conflict),
)
