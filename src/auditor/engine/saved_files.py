"""What stands in which file of a directory of kept columns, and how the numbers of a group become those columns."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from auditor.engine.columns import COLUMNS, OWNER, Arrays, Axis, Table
from auditor.errors import InputError, SettingsError
from auditor.graph.table import find_rows
from auditor.model.spans import I32, I64, TOKEN_COLUMNS

FORMAT = "trace-auditor columns"
VERSION = 1
MANIFEST = "manifest.json"
GROUP_SPANS = 1 << 16
"""Spans of a group, or a few more: some 4 MB in memory."""
LEVEL = 3
"""Of zstd: higher ones gain a hundredth."""
FILES: dict[Axis | Table, str] = {
    Axis.SPAN: "spans.parquet",
    Axis.TRACE: "traces.parquet",
    Axis.CALL: "calls.parquet",
    Axis.LINK: "links.parquet",
    Axis.ID: "ids.parquet",
    Axis.EXTRA: "extras.parquet",
    Table.TEXTS: "texts.parquet",
}
TABLE_FILES: dict[Table, str] = {
    Table.PLACES: "places.parquet",
    Table.TENANTS: "tenants.parquet",
    Table.FACTS: "facts.parquet",
}
SHOWN = frozenset({"extra_log_id"})
"""Columns of texts that are no identities: they stay as they are where identities are hidden."""
BACK = "parent_back"
"""Rows from a span back to its parent; 0 where the parent is in no row of the group, or there is none."""
_PARTS = {"trace_ids": ("trace_id_high", "trace_id_low"), "tokens": tuple(f"{name}_tokens" for name in TOKEN_COLUMNS)}
"""Names in the file of a column that is several."""
ASCENDING = [name for name, _ in OWNER.values()]
ENTRY = "entry"
_KINDS = {
    **{f"{sign}int{8 * size}": f"<{letter}{size}" for sign, letter in (("", "i"), ("u", "u")) for size in (1, 2, 4, 8)},
    "float": "<f4",
    "double": "<f8",
}
"""Numbers that columns may hold, as the library and as NumPy call them."""


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """What a directory of columns says of itself."""

    format: str
    format_version: int
    auditor_version: str
    ids_hashed: bool
    lexicon: str
    """Fingerprint of the lexicon that the inputs were read with."""
    spans: int
    """Spans in all groups, those that came twice included."""
    files: list[str]
    groups: list[list[int]]
    """For each group, how many rows it has in each of ``files``; one without rows has no row group."""
    columns: dict[str, str]
    """Kind of numbers in each column, as NumPy writes it."""
    facts: dict[str, Any]
    """What the caller says of what was read."""


class _Head(msgspec.Struct):
    format: str
    format_version: int


def is_saved(path: Path) -> bool:
    """Say whether a directory holds columns, of whatever version."""
    try:
        return msgspec.json.decode((path / MANIFEST).read_bytes(), type=_Head).format == FORMAT
    except (OSError, ValueError):
        return False


def read_manifest(directory: Path) -> Manifest:
    """Read what a directory says of itself; raises ``InputError`` when it holds no columns that can be read here."""
    path = directory / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{directory}: no columns are kept here: {MANIFEST}: {error.strerror or error}") from error
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format != FORMAT:
            raise InputError(f"{path}: says {head.format!r}, not {FORMAT!r}")
        if head.format_version != VERSION:
            raise InputError(
                f"{path}: columns of format version {head.format_version}; this version reads {VERSION}",
                hint="save them again from the traces",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
        kinds = {name: np.dtype(kind) for name, kind in manifest.columns.items()}
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: no manifest of columns: {error}") from error
    missing = [name for name in COLUMNS if manifest.groups and (name not in kinds or kinds[name].kind not in "iuf")]
    if manifest.files != list(FILES.values()) or any(len(group) != len(FILES) for group in manifest.groups) or missing:
        raise InputError(f"{path}: does not tell of {', '.join(missing) or 'the files that columns are kept in'}")
    return manifest


def names_of(file: Axis | Table) -> tuple[str, ...]:
    """Names of the columns in a file."""
    if isinstance(file, Table):
        return (ENTRY,)
    names = [part for name, column in COLUMNS.items() if column.axis is file for part in _PARTS.get(name, (name,))]
    return (*names, BACK) if file is Axis.SPAN else tuple(names)


def to_files(arrays: Arrays) -> dict[Axis | Table, dict[str, Any]]:
    """Columns as the files have them."""
    key, parent = arrays["key"], arrays["parent"]
    order = np.argsort(key)
    at = find_rows(key[order], parent)
    is_there = (at >= 0) & (parent != 0)
    back = np.zeros(len(key), dtype=np.int32)
    back[is_there] = np.flatnonzero(is_there) - order[at[is_there]]
    arrays = {**arrays, "parent": np.where(back != 0, np.uint64(0), parent)}
    found: dict[Axis | Table, dict[str, Any]] = {file: {} for file in FILES}
    for name, values in arrays.items():
        file = found[COLUMNS[name].axis]
        if name in _PARTS:
            file.update(zip(_PARTS[name], values.T, strict=True))
        else:
            file[name] = values
    found[Axis.SPAN][BACK] = back
    return found


def from_files(
    columns: Mapping[Axis | Table, Mapping[str, Any]], kinds: Mapping[str, str]
) -> tuple[Arrays, I32] | None:
    """What ``to_files`` was given, and the row of each parent, -1 for one that is no row of the group.

    ``None`` when such a row does not exist.
    """
    arrays: Arrays = {}
    for name, column in COLUMNS.items():
        file = columns[column.axis]
        values = np.stack([file[part] for part in _PARTS[name]], axis=1) if name in _PARTS else file[name]
        arrays[name] = values.astype(kinds[name], copy=False)
    back = columns[Axis.SPAN][BACK]
    rows = np.flatnonzero(back)
    at: I64 = rows - back[rows]
    if len(at) and (at.min() < 0 or at.max() >= len(back)):
        return None
    parent = arrays["parent"].copy()
    parent[rows] = arrays["key"][at]
    arrays["parent"] = parent
    parent_row = np.full(len(parent), -1, dtype=np.int32)
    parent_row[rows] = at
    return arrays, parent_row


def widened(values: Any) -> Any:
    """Numbers as wide as those of a later group may have to be."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "u":
        return values.astype(np.promote_types(values.dtype, np.uint32), copy=False)
    return values


def texts_of(column: Any) -> list[bytes]:
    """A column as texts; raises ``ValueError`` for one that holds something else."""
    found = column.to_pylist()
    if not all(isinstance(entry, str) for entry in found):
        raise ValueError(f"a column holds {column.type}, or nothing, not texts")
    return [entry.encode() for entry in found]


def numbers_of(column: Any) -> np.ndarray:
    """A column as numbers; raises ``ValueError`` for one that holds something else.

    Taken from the buffers: the library's own way imports pandas where it is installed.
    """
    kind = _KINDS.get(str(column.type))
    if kind is None or column.null_count:
        raise ValueError(f"a column holds {column.type}, or nothing, not numbers")
    parts = [
        np.frombuffer(chunk.buffers()[1], kind, len(chunk), chunk.offset * np.dtype(kind).itemsize)
        for chunk in column.chunks
        if len(chunk)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, kind), *parts])


def column_of(arrow: Any, values: np.ndarray) -> Any:
    """Numbers as a column."""
    kind = arrow.type_for_alias(next(name for name, kind in _KINDS.items() if np.dtype(kind) == values.dtype))
    return arrow.Array.from_buffers(kind, len(values), [None, arrow.py_buffer(np.ascontiguousarray(values))])


def lines_of(arrow: Any, lines: Sequence[str]) -> Any:
    """Texts without a character beyond ASCII as a column."""
    ends = np.cumsum([0, *map(len, lines)]).astype(np.int32)
    buffers = [None, arrow.py_buffer(ends), arrow.py_buffer("".join(lines).encode("ascii"))]
    return arrow.Array.from_buffers(arrow.string(), len(lines), buffers)


def arrow_library() -> Any:
    """The library, with its Parquet part; raises ``SettingsError`` naming the extra without it."""
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise SettingsError(
            "kept columns need the parquet extra", hint="pip install 'trace-auditor[parquet]'"
        ) from error


def reason_of(error: BaseException) -> str:
    """What the system or the library said, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0]
