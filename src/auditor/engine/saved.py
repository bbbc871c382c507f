"""Columns that are kept: a directory of Parquet files, from which inputs are audited again without the traces.

``spans``, ``traces``, ``calls``, ``links``, ``ids`` and ``extras`` have one row group for each group of spans; row
numbers count within the group. ``texts`` has the users, workflows and log ids of each group, and ``places``,
``tenants`` and ``facts`` serve all groups; an entry is a line of JSON. ``manifest.json`` says what was read, and how
many rows each group has in every file. No file holds names or contents of spans. Needs the extra ``parquet``.

Times and random ids do not shrink, and no encoding but zstd's own pays; numbers that ascend are kept as differences,
and a parent as the number of rows that lie between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from auditor import __version__
from auditor.engine.columns import COLUMNS, Axis, Table, arrays_of, batch_of, first_fault, joined
from auditor.engine.entries import from_json, to_json
from auditor.engine.saved_files import (
    ASCENDING,
    BACK,
    ENTRY,
    FILES,
    FORMAT,
    GROUP_SPANS,
    LEVEL,
    MANIFEST,
    SHOWN,
    TABLE_FILES,
    VERSION,
    Manifest,
    arrow_library,
    column_of,
    from_files,
    is_saved,
    lines_of,
    names_of,
    numbers_of,
    read_manifest,
    reason_of,
    texts_of,
    to_files,
    widened,
)
from auditor.engine.tempdir import private_directory
from auditor.errors import InputError, SettingsError
from auditor.model.spans import Batch, TenantTag


class ColumnsWriter:
    """Writes batches to a directory that appears when ``finish`` is through, or not at all."""

    def __init__(
        self,
        directory: Path,
        *,
        lexicon: str,
        hide: Callable[[str], str] | None = None,
        replace: bool = False,
    ) -> None:
        """Check that the directory may be written; nothing is, until the writer is entered.

        ``hide`` turns each tenant, user and workflow into what is written in its place; ``lexicon`` is the fingerprint
        of what the inputs are read with. Raises ``SettingsError`` when the directory holds anything (with ``replace``,
        anything but columns), or when the extra is missing.
        """
        self._arrow = arrow_library()
        self.directory = directory.resolve()
        if self.directory.exists() and not _is_empty(self.directory) and not (replace and is_saved(self.directory)):
            what = "holds columns already" if is_saved(self.directory) else "exists, and is no directory of columns"
            raise SettingsError(f"{directory}: {what}")
        self._lexicon = lexicon
        self._hide = hide
        self._pending: list[Batch] = []
        self._pending_spans = 0
        self._spans = 0
        self._tables: dict[Table, dict[Any, int]] = {table: {} for table in TABLE_FILES}
        self._groups: list[list[int]] = []
        self._kinds: dict[str, np.dtype[Any]] = {}
        self._writers: dict[Axis | Table, Any] = {}
        self._open = ExitStack()
        self._home = Path()

    def __enter__(self) -> Self:
        home = private_directory(
            self.directory.parent, prefix=f".{self.directory.name}-", remedy="--save-columns names another place"
        )
        self._home = self._open.enter_context(home) / "columns"
        with self._told():
            self._home.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        for writer in self._writers.values():
            # Closed by ``finish`` where all went well; anything else is removed, whatever the disk says of it.
            with suppress(OSError, self._arrow.ArrowException):
                writer.close()
        return self._open.__exit__(kind, error, trace)

    def append(self, batch: Batch) -> None:
        """Add a batch; raises ``SettingsError`` when the disk cannot hold it."""
        if len(batch.key):
            self._pending.append(batch)
            self._pending_spans += len(batch.key)
            self._spans += len(batch.key)
        if self._pending_spans >= GROUP_SPANS:
            self._write_group()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the rest, and put the directory in its place; ``facts`` go into the manifest and have to be JSON."""
        if self._pending:
            self._write_group()
        with self._told():
            for file in FILES:
                # A file without a row still says which columns there are.
                self._writer(file, self._no_rows(file)).close()
            for table, name in TABLE_FILES.items():
                self._arrow.parquet.write_table(
                    self._arrow.table({ENTRY: self._lines(self._tables[table])}),
                    self._home / name,
                    compression="zstd",
                    compression_level=LEVEL,
                    use_dictionary=False,
                    write_page_checksum=True,
                )
        manifest = Manifest(
            format=FORMAT,
            format_version=VERSION,
            auditor_version=__version__,
            ids_hashed=self._hide is not None,
            lexicon=self._lexicon,
            spans=self._spans,
            files=list(FILES.values()),
            groups=self._groups,
            columns={name: kind.newbyteorder("<").str for name, kind in self._kinds.items()},
            facts=dict(facts),
        )
        with self._told():
            (self._home / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            self._put_in_place()

    def _no_rows(self, file: Axis | Table) -> dict[str, Any]:
        if isinstance(file, Table):
            return {ENTRY: self._lines(())}
        return {name: np.empty(0, np.uint32) for name in names_of(file)}

    def _lines(self, entries: Iterable[Any]) -> Any:
        return lines_of(self._arrow, [to_json(entry) for entry in entries])

    def _put_in_place(self) -> None:
        former = self._home.with_name("former")
        try:
            if self.directory.exists():
                self.directory.rename(former)
            self._home.rename(self.directory)
        except BaseException:
            if former.exists() and not self.directory.exists():
                former.rename(self.directory)
            raise

    def _write_group(self) -> None:
        group = joined(self._pending)
        self._pending.clear()
        self._pending_spans = 0
        arrays = arrays_of(group)
        texts: dict[str, int] = {}
        for name, values in arrays.items():
            table = COLUMNS[name].refers
            if table is Table.TEXTS:
                codes = _interned(group.texts, values, texts, None if name in SHOWN else self._hide)
            elif isinstance(table, Table):
                entries = getattr(group, table)
                if table is Table.TENANTS and self._hide is not None:
                    entries = [tuple(_hidden(tag, self._hide) for tag in tags) for tags in entries]
                codes = _interned(entries, values, self._tables[table], None)
            else:
                continue
            arrays[name] = codes.astype(values.dtype)
        for name, values in arrays.items():
            self._kinds[name] = np.promote_types(self._kinds.get(name, values.dtype), values.dtype)
        columns = to_files(arrays)
        columns[Table.TEXTS] = {ENTRY: self._lines(texts)}
        counts = []
        with self._told():
            for file, found in columns.items():
                rows = len(next(iter(found.values())))
                counts.append(rows)
                if rows:
                    self._write(file, found)
        self._groups.append(counts)

    def _write(self, file: Axis | Table, columns: Mapping[str, Any]) -> None:
        writer = self._writer(file, columns)
        table = self._table(columns).cast(writer.schema)
        writer.write_table(table, row_group_size=table.num_rows)

    def _table(self, columns: Mapping[str, Any]) -> Any:
        return self._arrow.table(
            {
                name: column_of(self._arrow, values) if isinstance(values, np.ndarray) else values
                for name, values in columns.items()
            }
        )

    def _writer(self, file: Axis | Table, columns: Mapping[str, Any]) -> Any:
        if file not in self._writers:
            pa = self._arrow
            schema = self._table({name: widened(values) for name, values in columns.items()}).schema
            self._writers[file] = pa.parquet.ParquetWriter(
                self._home / FILES[file],
                schema,
                compression="zstd",
                compression_level=LEVEL,
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
                column_encoding={name: "DELTA_BINARY_PACKED" for name in schema.names if name in ASCENDING},
            )
        return self._writers[file]

    def _told(self) -> _Told:
        return _Told(self.directory, self._arrow)


class _Told:
    """Says what the system refused."""

    def __init__(self, directory: Path, arrow: Any) -> None:
        self._directory = directory
        self._kinds = (OSError, arrow.ArrowException)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, self._kinds):
            raise SettingsError(
                f"{self._directory}: columns cannot be written: {reason_of(error)}; --save-columns names another place"
            ) from error


def save(
    directory: Path,
    batches: Iterable[Batch],
    facts: Mapping[str, Any],
    *,
    lexicon: str,
    hide: Callable[[str], str] | None = None,
    replace: bool = False,
) -> None:
    """Keep the columns of these batches, see ``ColumnsWriter``."""
    with ColumnsWriter(directory, lexicon=lexicon, hide=hide, replace=replace) as writer:
        for batch in batches:
            writer.append(batch)
        writer.finish(facts)


def read_saved(directory: Path) -> tuple[Iterator[Batch], Manifest]:
    """The batches that were saved, one after the other as they are asked for, and what the directory says of itself.

    All batches share their places, tenants and facts. Raises ``InputError`` when the directory holds no columns, those
    of another version, or when a file or a column is missing or broken (also while batches are read);
    ``SettingsError`` without the extra.
    """
    manifest = read_manifest(directory)
    arrow = arrow_library()
    with ExitStack() as stack:
        reader = _Reader(directory, manifest, arrow, stack)
        # From here on the iterator closes the files.
        return reader.batches(stack.pop_all()), manifest


class _Reader:
    """The files of a directory."""

    def __init__(self, directory: Path, manifest: Manifest, arrow: Any, stack: ExitStack) -> None:
        self._directory = directory
        self._manifest = manifest
        self._arrow = arrow
        self._files = {file: stack.enter_context(self._opened(name, names_of(file))) for file, name in FILES.items()}
        for number, (file, name) in enumerate(FILES.items()):
            groups = sum(1 for counts in manifest.groups if counts[number])
            if self._files[file].num_row_groups != groups:
                raise self._broken(name, f"has not the {groups} row groups that {MANIFEST} tells of")
        self._tables = {table: self._entries(table, name) for table, name in TABLE_FILES.items()}
        self._done = dict.fromkeys(FILES, 0)

    def batches(self, stack: ExitStack) -> Iterator[Batch]:
        with stack:
            for counts in self._manifest.groups:
                yield self._batch(dict(zip(FILES, counts, strict=True)))

    def _batch(self, counts: Mapping[Axis | Table, int]) -> Batch:
        columns = {file: self._group(file, rows) for file, rows in counts.items()}
        texts = columns.pop(Table.TEXTS).get(ENTRY, [])
        found = from_files(columns, self._manifest.columns)
        if found is None:
            raise self._broken(FILES[Axis.SPAN], f"column {BACK} leads out of its group")
        arrays, parent_row = found
        batch = batch_of(arrays, {**self._tables, Table.TEXTS: texts}, {})
        batch.parent_row = parent_row
        if (name := first_fault(batch)) is not None:
            raise self._broken(FILES[COLUMNS[name].axis], f"column {name} does not fit the others")
        return batch

    def _group(self, file: Axis | Table, rows: int) -> dict[str, Any]:
        names = names_of(file)
        if not rows:
            return {} if isinstance(file, Table) else {name: np.empty(0, np.uint32) for name in names}
        number = self._done[file]
        self._done[file] += 1
        parquet = self._files[file]
        if parquet.metadata.row_group(number).num_rows != rows:
            raise self._broken(FILES[file], f"row group {number} has not the {rows} rows that {MANIFEST} tells of")
        try:
            found = parquet.read_row_group(number, columns=list(names), use_threads=False)
            if isinstance(file, Table):
                return {ENTRY: from_json(file, texts_of(found.column(ENTRY)))}
            return {name: numbers_of(found.column(name)) for name in names}
        except (self._arrow.ArrowException, OSError, ValueError) as error:
            raise self._broken(FILES[file], reason_of(error)) from error

    def _entries(self, table: Table, name: str) -> list[Any]:
        with self._opened(name, (ENTRY,)) as parquet:
            try:
                return from_json(table, texts_of(parquet.read(use_threads=False).column(ENTRY)))
            except (self._arrow.ArrowException, OSError, ValueError, TypeError) as error:
                raise self._broken(name, reason_of(error)) from error

    def _opened(self, name: str, columns: Sequence[str]) -> Any:
        path = self._directory / name
        try:
            parquet = self._arrow.parquet.ParquetFile(path, page_checksum_verification=True)
        except (self._arrow.ArrowException, OSError) as error:
            raise self._broken(name, "is missing" if not path.exists() else reason_of(error)) from error
        for column in columns:
            if column not in parquet.schema_arrow.names:
                parquet.close()
                raise self._broken(name, f"column {column} is missing")
        return parquet

    def _broken(self, name: str, what: str) -> InputError:
        return InputError(f"{self._directory / name}: {what}", hint="save the columns again from the traces")


def _interned(
    entries: Sequence[Any], values: np.ndarray, known: dict[Any, int], hide: Callable[[str], str] | None
) -> np.ndarray:
    """Codes among the known entries for codes among these."""
    used = np.unique(values[values >= 0])
    found = [entries[code] for code in used.tolist()]
    if hide is not None:
        found = [hide(entry) for entry in found]
    codes = np.array([*(known.setdefault(entry, len(known)) for entry in found), -1], dtype=np.int64)
    places = np.searchsorted(used, values)
    places[values < 0] = len(used)
    return codes[places]


def _hidden(tag: TenantTag, hide: Callable[[str], str]) -> TenantTag:
    return tag._replace(value=hide(tag.value))


def _is_empty(directory: Path) -> bool:
    return directory.is_dir() and not any(directory.iterdir())
