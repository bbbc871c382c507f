"""Which of the user's mappings an input is read by, as an entry for the loader."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

from auditor.load.csv_rows import header_of
from auditor.load.formats import Format
from auditor.load.gaps import Gap
from auditor.load.mapped import reader_for, records_for, rows_of, value_at
from auditor.model.mapping import SourceMapping


def mapped_by_name(name: str, mappings: Sequence[SourceMapping], head: bytes) -> Format | None:
    """The first mapping that names the input among its files."""
    base = PurePath(name).name
    for mapping in mappings:
        if any(fnmatchcase(name, glob) or fnmatchcase(base, glob) for glob in mapping.files):
            return _format(mapping, head)
    return None


def mapped_table(mappings: Sequence[SourceMapping], head: bytes) -> Format:
    """The mapping that finds the most of its columns in a table."""
    row = dict.fromkeys(header_of(head), "")
    return _format(max(mappings, key=lambda mapping: _found(mapping, row)), head)


def mapped_document(mappings: Sequence[SourceMapping], value: Any) -> Format:
    """The mapping that finds the most in the first row of a document."""
    return _format(max(mappings, key=lambda mapping: _found(mapping, next(rows_of(mapping, value), None))), b"")


def mapped_as(name: str, mappings: Sequence[SourceMapping], head: bytes) -> Format:
    """The format that a mapping has under this name."""
    return next(form for mapping in mappings if (form := _format(mapping, head)).name == name)


def _found(mapping: SourceMapping, row: Any) -> int:
    """How many concepts have a value in a row; of mappings that find as many, the first is taken."""
    return sum(any(value_at(row, path) is not None for path in paths) for paths in mapping.fields.values())


def _format(mapping: SourceMapping, head: bytes) -> Format:
    return Format(
        f"mapping:{mapping.name}",
        lambda _: True,
        reader_for(mapping),
        records=records_for(head),
        title=f"Rows as the mapping {mapping.name} of the settings reads them",
        recognised_by="the settings",
        cannot_tell=(Gap.PATHS, Gap.CALLERS),
        is_splittable=True,
    )
