"""Rows as columns: every value is what the row-by-row way makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditor.load.builder import hash_texts, plain_hex
from auditor.load.litellm import span_of
from auditor.load.row_columns import counts_of, either, ns_of, numbers_of, span_ids, trace_halves
from auditor.load.row_values import LAST_NS, hex_id, ns_of_seconds
from auditor.model.spans import NO_COUNT

HEX = "0af7651916cd43dd8448eb211c80319c"
UUID = "0af76519-16cd-43dd-8448-eb211c80319c"
ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
traces = st.one_of(
    ids,
    st.uuids().map(str),
    st.uuids().map(lambda uuid: uuid.hex),
    st.sampled_from(
        [
            "", HEX, UUID, HEX.upper(), UUID.upper(), "0" * 32, "00000000-0000-0000-0000-000000000000", "conv-88",
            # Of the length of a UUID or of hex, and neither.
            UUID.replace("-", "x"), "-" * 36, HEX[:30] + "\n\n", UUID[:8] + UUID[9:] + "-", HEX[:31] + "g",
        ]
    ),
)  # fmt: skip


@given(st.lists(ids, max_size=8))
@example(["a" * 64, "b" * 65, "", "ä", "x\0y"])
def test_hash_of_a_text_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    assert hash_texts(texts).tolist() == [hash_texts([text])[0] for text in texts]


def test_hash_of_more_texts_than_fit_at_a_time() -> None:
    texts = [f"chatcmpl-{number:08}" for number in range(10_000)]

    found = hash_texts(texts)

    assert len(set(found.tolist())) == len(texts)
    assert found[-1] == hash_texts(texts[-1:])[0]


@given(st.lists(traces, min_size=1, max_size=5))
@example([UUID, UUID])
@example([HEX, HEX])
@example([UUID[:8] + UUID[9:] + "-", "-" + UUID[:8] + UUID[9:]])
@example([UUID[:-1], UUID + "0"])
def test_traces_are_those_of_single_rows(texts: list[str]) -> None:
    log_ids = [f"log-{number}" for number in range(len(texts))]

    expected = plain_hex([hex_id(text or log, 16, "litellm") for text, log in zip(texts, log_ids, strict=True)], 16)

    assert expected is not None
    assert trace_halves(texts, log_ids, "litellm").tolist() == expected.tolist()


@given(st.lists(st.tuples(ids, ids, st.integers(0, LAST_NS - 1)), min_size=1, max_size=5))
@example([("", "", 0)])
def test_span_ids_are_those_of_single_rows(rows: list[tuple[str, str, int]]) -> None:
    log_ids, call_ids, starts = map(list, zip(*rows, strict=True))

    found = span_ids(log_ids, call_ids, np.array(starts, dtype=np.int64))

    assert [f"{number:016x}" for number in found.tolist()] == [span_of(*row) for row in rows]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
@example([0.0, -1.0, 1e-9, 1_790_000_000.018, LAST_NS / 1e9, LAST_NS / 1e9 - 1e-6, 1e300])
def test_times_are_those_of_single_rows(seconds: list[float]) -> None:
    assert ns_of(seconds).tolist() == list(map(ns_of_seconds, seconds))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(5, 7, 5), (0, 7, 7), (None, 7, 7), (0, None, 0), (0, 0, 0), (None, 0, NO_COUNT), (None, None, NO_COUNT)],
)
def test_count_that_is_0_gives_way_to_one_that_is_not(first: int | None, second: int | None, expected: int) -> None:
    assert either(counts_of(numbers_of([first])), counts_of(numbers_of([second]))).tolist() == [expected]


@pytest.mark.parametrize("numbers", [[], [None], [None, None], [1, 2.5], [None, 7, None]])
def test_numbers_that_are_missing_are_no_count(numbers: list[float | None]) -> None:
    expected = [NO_COUNT if number is None else int(number) for number in numbers]

    assert counts_of(numbers_of(numbers)).tolist() == expected
