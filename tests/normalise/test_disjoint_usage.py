"""Token counts as sources write them, and what a price can be put on: formats-traces §9, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.model.lexicon import Operation
from auditor.model.spans import NO_COUNT, TOKEN_COLUMNS, CallFacts
from auditor.normalise.usage import Usage, disjoint_usage

FACTS = CallFacts(**{**dict.fromkeys(CallFacts._fields, False), "operation": Operation.CHAT, "disjoint": None})
"""A chat call; of the rest only what a test names matters here."""


def split(facts: CallFacts = FACTS, **counts: int) -> Usage:
    """The usage of one call; counts by the names of ``TOKEN_COLUMNS``, missing ones missing."""
    row = [counts.pop(name, NO_COUNT) for name in TOKEN_COLUMNS]
    assert not counts
    return disjoint_usage(np.array([row], dtype=np.uint32), np.zeros(1, dtype=np.uint32), [facts])


def parts(usage: Usage) -> tuple[int, ...]:
    """Uncached input, cache read, cache write, output."""
    return tuple(int(column[0]) for column in (usage.uncached, usage.cache_read, usage.cache_write, usage.output))


LAYERS = {
    "OpenAI: cached is a part of the prompt": (
        {"input": 1200, "output": 150, "cache_read": 1024},
        (176, 1024, 0, 150),
    ),
    "Anthropic's own API: additive, seen by cached above input": (
        {"input": 4, "output": 187, "cache_write": 1163},
        (4, 0, 1163, 187),
    ),
    "Anthropic's own API: read and write, together more than input": (
        {"input": 10, "output": 20, "cache_read": 600, "cache_write": 300},
        (10, 600, 300, 20),
    ),
    "Anthropic's own API: only the total tells": (
        {"input": 900, "output": 20, "cache_read": 600, "total": 1520},
        (900, 600, 0, 20),
    ),
    "OpenLLMetry's Anthropic adds both": (
        {"input": 1167, "output": 187, "cache_write": 1163, "total": 1354},
        (4, 0, 1163, 187),
    ),
    "OpenInference: details are parts": (
        {"input": 1370, "output": 155, "cache_read": 1280, "total": 1525},
        (90, 1280, 0, 155),
    ),
    "LiteLLM, also for Anthropic (litellm#11364)": (
        {"input": 98805, "output": 1, "cache_read": 66360, "cache_write": 32435},
        (10, 66360, 32435, 1),
    ),
    "all of the input cached": ({"input": 500, "output": 5, "cache_read": 500}, (0, 500, 0, 5)),
    "nothing cached": ({"input": 500, "output": 5, "cache_read": 0}, (500, 0, 0, 5)),
    "reasoning is a part of the output": (
        {"input": 8, "output": 82, "reasoning": 64, "total": 90},
        (8, 0, 0, 82),
    ),
    "Gemini, raw: thoughts beside the candidates": (
        {"input": 8, "output": 18, "reasoning": 64, "total": 90},
        (8, 0, 0, 82),
    ),
    "reasoning without a total stays a part": ({"input": 8, "output": 18, "reasoning": 64}, (8, 0, 0, 18)),
    "a total that no reading explains decides nothing": (
        {"input": 900, "output": 20, "cache_read": 600, "total": 7},
        (300, 600, 0, 20),
    ),
    "a total of zero is no total": (
        {"input": 900, "output": 20, "cache_read": 600, "total": 0},
        (300, 600, 0, 20),
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_is_split_into_disjoint_counts(layer: str) -> None:
    counts, expected = LAYERS[layer]

    assert parts(split(**counts)) == expected


def test_langfuse_buckets_are_disjoint_by_definition_whatever_the_numbers_suggest() -> None:
    langfuse = FACTS._replace(disjoint=True)

    usage = split(langfuse, input=900, output=20, cache_read=600, reasoning=30, total=1550)

    assert parts(usage) == (900, 600, 0, 50)
    assert not usage.exclusive_inferred[0]


def test_source_that_is_inclusive_by_definition_is_not_read_by_its_total() -> None:
    inclusive = FACTS._replace(disjoint=False)

    assert parts(split(inclusive, input=900, output=20, cache_read=600, total=1520)) == (300, 600, 0, 20)


def test_source_that_is_inclusive_by_definition_never_gives_negative_counts() -> None:
    assert parts(split(FACTS._replace(disjoint=False), input=4, output=2, cache_write=1163)) == (4, 0, 1163, 2)


def test_numbers_that_show_an_exclusive_source_are_noted() -> None:
    assert split(input=4, output=1, cache_write=1163).exclusive_inferred[0]
    assert not split(input=1167, output=1, cache_write=1163).exclusive_inferred[0]


def test_cache_writes_of_an_hour_are_kept_apart() -> None:
    usage = split(input=1000, output=1, cache_read=100, cache_write=200, cache_write_1h=300)

    assert parts(usage) == (400, 100, 200, 1)
    assert (usage.cache_write_1h[0], usage.input_total[0]) == (300, 1000)


@pytest.mark.parametrize("operation", [Operation.EMBEDDINGS, Operation.RERANK, Operation.MODERATION])
def test_operations_without_an_answer_have_no_output(operation: Operation) -> None:
    usage = split(FACTS._replace(operation=operation), input=6, output=1)

    assert parts(usage) == (6, 0, 0, 0)
    assert not usage.is_partial[0]


@pytest.mark.parametrize(
    ("counts", "is_known", "is_partial"),
    [
        ({}, False, False),
        ({"total": 30}, False, False),
        ({"cache_read": 30}, False, False),
        ({"input": 0, "output": 0}, False, False),
        ({"input": 0, "output": 0, "cache_read": 9}, True, False),
        ({"input": 5}, True, True),
        ({"output": 5}, True, True),
        ({"input": 5, "output": 0}, True, False),
        ({"input": 5, "output": 5}, True, False),
    ],
)
def test_missing_is_not_zero(counts: dict[str, int], is_known: bool, is_partial: bool) -> None:
    usage = split(**counts)

    assert (bool(usage.is_known[0]), bool(usage.is_partial[0])) == (is_known, is_partial)


def test_source_that_says_that_it_broke_off_is_partial() -> None:
    assert split(FACTS._replace(partial=True), input=180, output=106).is_partial[0]


def test_no_count_is_ever_negative() -> None:
    rng = np.random.default_rng(7)
    tokens = rng.choice(np.array([NO_COUNT, 0, 1, 5, 900, 10**9], dtype=np.uint32), size=(20_000, 7))
    facts = [FACTS._replace(disjoint=disjoint) for disjoint in (None, True, False)]

    usage = disjoint_usage(tokens, rng.integers(0, 3, 20_000).astype(np.uint32), facts)

    for column in (usage.uncached, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.output):
        assert column.min() >= 0


def test_nothing_gives_nothing() -> None:
    assert len(disjoint_usage(np.empty((0, 7), np.uint32), np.empty(0, np.uint32), []).output) == 0
