"""The table of hazards is complete: every row is guarded, every guard exists, no guard is forgotten."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from hazards import HAZARDS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_no_row_is_missing() -> None:
    assert list(HAZARDS) == [f"D{number}" for number in range(1, 17)] + [f"C{number}" for number in range(1, 13)]


@pytest.mark.parametrize("row", HAZARDS)
def test_every_row_is_guarded_by_tests_that_exist(row: str) -> None:
    about, guards = HAZARDS[row]

    assert about
    assert guards
    for guard in guards:
        path, _, name = guard.partition("::")
        assert name in names_in(path), guard


@pytest.mark.parametrize("row", HAZARDS)
def test_every_row_has_a_test_of_its_own_that_bears_its_number(row: str) -> None:
    names = [guard.partition("::")[2] for guard in HAZARDS[row][1]]

    assert any(name.startswith(f"test_{row.lower()}_") for name in names)


def test_no_test_of_this_folder_stands_outside_the_table() -> None:
    listed = {guard.partition("::")[2] for _, guards in HAZARDS.values() for guard in guards}
    here = {
        name
        for path in HERE.glob("test_*.py")
        for name in names_in(path.relative_to(ROOT).as_posix())
        if re.match(r"test_[cd]\d+_", name)
    }

    assert here - listed == set()
