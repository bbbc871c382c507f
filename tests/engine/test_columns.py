"""Batches by trace, parts of them and several put together say the same as before."""

from __future__ import annotations

from dataclasses import fields
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.engine import columns
from auditor.engine.columns import (
    COLUMNS,
    LENGTH,
    OWNER,
    Axis,
    Table,
    arrays_of,
    by_trace,
    cut,
    first_fault,
    joined,
    trace_hashes,
    used_codes,
)
from auditor.engine.tenant_order import reordered
from auditor.model.spans import Batch, TenantTag
from batches import content, runs

common = settings(max_examples=60, deadline=None, derandomize=True)


def test_every_array_of_a_batch_is_declared_once() -> None:
    assert [entry.name for entry in fields(Batch)] == [*COLUMNS, *Table, "names", "parent_row"]


@common
@given(runs())
def test_by_trace_a_range_of_hashes_is_one_slice_of_every_column(batches: list[Batch]) -> None:
    for batch in map(by_trace, batches):
        hashes = trace_hashes(arrays_of(batch))

        assert (hashes[1:] > hashes[:-1]).all()
        for owner, _ in OWNER.values():
            rows = getattr(batch, owner)
            assert (rows[1:] >= rows[:-1]).all()


@common
@given(runs(), st.randoms(use_true_random=False))
def test_order_by_trace_says_the_same(batches: list[Batch], chance: object) -> None:
    sorted_batches = [by_trace(shuffled(batch, chance.randrange(1 << 30))) for batch in batches]  # type: ignore[attr-defined]

    assert all(new.texts is old.texts for new, old in zip(sorted_batches, batches, strict=True))
    assert content(sorted_batches) == content(batches)


def shuffled(batch: Batch, seed: int) -> Batch:
    """The same batch with its traces in another order, which moves nothing but the references to them."""
    order = np.random.default_rng(seed).permutation(len(batch.trace_ids))
    new_row = np.empty_like(order)
    new_row[order] = np.arange(len(order))
    found = {entry.name: getattr(batch, entry.name) for entry in fields(Batch)}
    return Batch(**{**found, "trace_ids": batch.trace_ids[order], "trace": new_row[batch.trace].astype(np.uint32)})


@common
@given(runs(), st.integers(1, 1 << 62), st.sampled_from((0, 4)))
def test_parts_by_trace_make_up_the_whole(batches: list[Batch], divisor: int, few: int) -> None:
    """Of tables that are looked up by place, and of those that are searched."""
    parts: list[list[Batch]] = [[], [], []]
    for batch in batches:
        numbers = trace_hashes(arrays_of(batch)) // np.uint64(divisor) % np.uint64(3)
        for part, found in enumerate(parts):
            with mock.patch.object(columns, "_FEW", few):
                found.append(cut(batch, numbers == part))

    assert content([batch for found in parts for batch in found]) == content(batches)
    for batch in parts[0]:
        assert first_fault(batch) is None
        for table in Table:
            entries = getattr(batch, table)
            assert len(entries) == len(set(map(repr, entries)))
            assert used_codes([arrays_of(batch)], table).tolist() == list(range(len(entries)))


@common
@given(runs())
def test_batches_put_together_say_the_same(batches: list[Batch]) -> None:
    whole = joined(batches)

    assert first_fault(whole) is None
    found = content([whole])
    expected = content(batches)
    # The traces of several batches are one here.
    assert found.pop("column_bytes") <= expected.pop("column_bytes") + 3 * len(whole.call_row)
    assert found == expected


@pytest.mark.parametrize("name", [name for name, column in COLUMNS.items() if column.refers is not None])
def test_a_reference_to_nothing_is_found(name: str) -> None:
    batch = one_of_each()
    values = getattr(batch, name).copy()
    values[0] = 1
    setattr(batch, name, values)

    assert first_fault(batch) == name


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in LENGTH.values()])
def test_a_column_of_another_length_is_found(name: str) -> None:
    batch = one_of_each()
    setattr(batch, name, getattr(batch, name)[:0])

    assert first_fault(batch) == name


def one_of_each() -> Batch:
    """A batch with one entry on each axis and in each table."""
    arrays = {
        name: np.zeros(1, np.int32 if column.refers in {Table.TENANTS, Table.TEXTS} else np.uint32)
        for name, column in COLUMNS.items()
    }
    arrays["trace_ids"] = np.ones((1, 2), np.uint64)
    batch = Batch(**arrays, places=["place"], tenants=[()], facts=["facts"], texts=["text"])  # type: ignore[arg-type, list-item]  # nobody looks
    assert first_fault(batch) is None
    return batch


def test_tags_of_the_given_keys_come_first_in_their_order() -> None:
    team, tenant, user = (TenantTag(key, "x", f"{key}.id") for key in ("team", "tenant", "user"))

    assert reordered((team, tenant, user), ["user.id", "nothing", "tenant.id"]) == (user, tenant, team)
    assert reordered((team, tenant, user), ["tenant.id", "tenant.id"]) == (tenant, team, user)
    assert reordered((team, tenant, user), []) == (team, tenant, user)
    assert reordered((), ["tenant.id"]) == ()


def test_axes_are_all_of_one_length_column_each() -> None:
    assert {COLUMNS[name].axis for name in LENGTH.values()} == set(Axis)
