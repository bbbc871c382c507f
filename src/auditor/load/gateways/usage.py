"""The usage objects of providers, which gateways pass on: OpenAI's two, Anthropic's, Gemini's."""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of
from auditor.load.row_values import at, list_of, object_of
from auditor.load.rows import NO_USAGE, Counts

Told = tuple[Counts, bool | None]
"""Counts, and whether input includes cached tokens."""


def usage_of(value: Any) -> Told:
    """Read a usage object of OpenAI or Anthropic by its keys; ``NO_USAGE`` for anything else."""
    usage = object_of(value)
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        return _counts(usage, "prompt_tokens", "completion_tokens", "prompt_tokens_details"), True
    if "input_tokens_details" in usage:
        return _counts(usage, "input_tokens", "output_tokens", "input_tokens_details"), True
    if "input_tokens" in usage or "output_tokens" in usage:
        return _anthropic(usage), False
    return NO_USAGE, None


def _counts(usage: dict[str, Any], given: str, made: str, details: str) -> Counts:
    return Counts(
        count_of(usage.get(given)),
        count_of(usage.get(made)),
        count_of(at(usage, details, "cached_tokens")),
        count_of(at(usage, details, "cache_write_tokens")),
        total=count_of(usage.get("total_tokens")),
    )


def _anthropic(usage: dict[str, Any]) -> Counts:
    """Anthropic's: cached tokens beside the input, writes split by lifetime in newer answers."""
    write, write_1h = count_of(usage.get("cache_creation_input_tokens")), None
    split = usage.get("cache_creation")
    if isinstance(split, dict) and split:
        write = count_of(split.get("ephemeral_5m_input_tokens"))
        write_1h = count_of(split.get("ephemeral_1h_input_tokens"))
    return Counts(
        count_of(usage.get("input_tokens")),
        count_of(usage.get("output_tokens")),
        count_of(usage.get("cache_read_input_tokens")),
        write,
        write_1h,
    )


def gemini_usage_of(value: Any) -> Told:
    """Read Gemini's ``usageMetadata``: cached tokens inside the prompt, thoughts beside the candidates."""
    usage = object_of(value)
    if not usage:
        return NO_USAGE, None
    made, thoughts = count_of(usage.get("candidatesTokenCount")), count_of(usage.get("thoughtsTokenCount"))
    given, tools = count_of(usage.get("promptTokenCount")), count_of(usage.get("toolUsePromptTokenCount"))
    return (
        Counts(
            given if tools is None else (given or 0) + tools,
            made if thoughts is None else (made or 0) + thoughts,
            count_of(usage.get("cachedContentTokenCount")),
            total=count_of(usage.get("totalTokenCount")),
        ),
        True,
    )


def last_with(value: Any, key: str) -> Any:
    """What an answer, or the last of a stream's parts that has it, says under a key."""
    parts = list_of(value) or [object_of(value)]
    return next((part[key] for part in reversed(parts) if isinstance(part, dict) and part.get(key)), None)
