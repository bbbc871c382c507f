"""What an audit on Spark is given: files that executors reach, lines and tables of a file system, DataFrames.

Each becomes rows as executors read them (see ``auditor.engine.spark.reading``), and what they found out besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import unquote

from auditor.engine.spark.addresses import is_address
from auditor.engine.spark.parcels import unpack
from auditor.engine.spark.reading import ROWS, Kind, Reading, plain_name, read_files, read_lines, read_table, views
from auditor.engine.spark.session import Frame, Kept, Session
from auditor.errors import InputError, SettingsError
from auditor.load import Part, PartRead, plan_parts, unread
from auditor.load.parquet_tables import columns_read
from auditor.load.parts import recognise_line
from auditor.load.sources import BOM, Source
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.report import Recognition

MOST_FILES = 10_000
"""Files of an address that are told apart in the report; of more, the address stands for all."""
SMALLEST_TASK, LARGEST_TASK = 64 << 20, 512 << 20
"""Bytes that one task reads: a reader has to get to know its input first."""
TASKS = 64
"""Tasks of an input that is large enough for so many."""
PART_BYTES = 64 << 20
GROWS = 12
"""How many times its size a compressed file holds."""
BYTES_A_SPAN = 1 << 10
"""What a span takes as OTLP JSON, and a row of a table counts as."""

_PACKED = re.compile(r"\.(?:gz|zst|zstd|bz2|snappy|lz4)$", re.IGNORECASE)
_PARQUET = re.compile(r"\.parquet$", re.IGNORECASE)
_NAME = "DataFrame"


class Input(Protocol):
    """Something that is read."""

    @property
    def size(self) -> int:
        """Bytes, as many as it has as JSON."""
        ...

    def read(self, session: Session, reading: Reading) -> tuple[list[Kept], Frame, list[PartRead]]:
        """Read it: what is kept of it, its parcels and bonds, and what was found out besides."""
        ...


@dataclass(frozen=True, slots=True)
class Numbers:
    """The first numbers that are free."""

    input: int = 0
    part: int = 0


@dataclass(frozen=True, slots=True)
class _Asking:
    """Who asks what is there, and what for."""

    session: Session
    lexicon: Lexicon
    mappings: tuple[SourceMapping, ...]


def inputs_of(data: Any, session: Session, lexicon: Lexicon, mappings: tuple[SourceMapping, ...] = ()) -> list[Input]:
    """What is to be read. Raises ``InputError`` for what does not exist, ``SettingsError`` for what cannot be."""
    asking = _Asking(session, lexicon, mappings)
    if hasattr(data, "mapInArrow"):
        return [_frame_input(data, asking, Numbers())]
    paths = [str(path) for path in ([data] if isinstance(data, str) or hasattr(data, "__fspath__") else data)]
    if "-" in paths:
        raise SettingsError("the engine spark cannot read standard input")
    addresses = [path for path in paths if is_address(path)]
    found: list[Input] = []
    numbers = Numbers()
    if len(addresses) < len(paths):
        files = Files(tuple(_planned([path for path in paths if path not in addresses], mappings)))
        found.append(files)
        numbers = files.following
    for address in addresses:
        for entry in _at(address, asking, numbers):
            found.append(entry)
            numbers = entry.following
    return found


# -- files that executors reach ----------------------------------------------------------------------


def _planned(paths: Sequence[str], mappings: Sequence[SourceMapping]) -> Iterator[Part]:
    """Parts, with paths that are the same in every working directory."""
    for part in plan_parts(paths, mappings, part_bytes=PART_BYTES):
        path = part.source.path
        yield replace(part, source=replace(part.source, path=path.absolute() if path else None))


@dataclass(frozen=True, slots=True)
class Files:
    """Files that all executors reach under the same name."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes, as many as they have as JSON."""
        return sum(map(_size, self.parts))

    @property
    def following(self) -> Numbers:
        """Numbers that are free behind these."""
        return Numbers(self.parts[-1].input + 1, self.parts[-1].number + 1)

    def read(self, session: Session, reading: Reading) -> tuple[list[Kept], Frame, list[PartRead]]:
        """Read all parts; those of inputs that turn out to need it, again. Raises ``InputError`` as ``load`` does."""
        frames, kept, reads = [], [], []
        tasks = list(_tasks(self.parts, self.size))
        while tasks:
            frame, found = _read_tasks(session, reading, tasks)
            kept.append(frame)
            bad = {entry.part.input for _, entry in found if entry.must_be_whole or entry.error is not None}
            spoilt = sorted({task for task, entry in found if entry.part.input in bad})
            frames.append(frame.frame.filter(~frame.frame.task.isin(spoilt)) if spoilt else frame.frame)
            reads += [entry for task, entry in found if task not in spoilt]
            by_input = {entry.part.input: entry for _, entry in reversed(found) if entry.part.input in bad}
            for entry in (entry for _, entry in found if entry.error is not None):
                by_input[entry.part.input] = entry
            known = {entry.part.input for entry in reads}
            for number, entry in sorted(by_input.items()):
                if number in known:
                    raise InputError(f"{entry.part.source.name}: it has changed while it was read")
                if entry.error is not None:
                    reads.append(unread(entry.part, entry.error))
            # What lies in the same parcels is read once more, without what spoilt them.
            tasks = [[part for part in tasks[task] if part.input not in bad] for task in spoilt]
            tasks = [task for task in tasks if task]
            tasks += [[entry.part.whole()] for _, entry in sorted(by_input.items()) if entry.error is None]
        return kept, together(frames), reads


def _size(part: Part) -> int:
    if part.end is not None:
        return part.end - part.start
    return part.source.size * (GROWS if _PACKED.search(part.source.name) else 1)


def _tasks(parts: Sequence[Part], size: int) -> Iterator[list[Part]]:
    """Parts for one task at a time."""
    most = min(max(size // TASKS, SMALLEST_TASK), LARGEST_TASK)
    task: list[Part] = []
    held = 0
    for part in parts:
        if task and held + _size(part) > most:
            yield task
            task, held = [], 0
        task.append(part)
        held += _size(part)
    if task:
        yield task


def _read_tasks(
    session: Session, reading: Reading, tasks: Sequence[Sequence[Part]]
) -> tuple[Kept, list[tuple[int, PartRead]]]:
    def read(batches: Iterable[Any]) -> Iterator[Any]:
        return read_files(reading, tasks, batches)

    numbers = session.spark.range(0, len(tasks), 1, len(tasks))
    kept = session.keep(numbers.mapInArrow(read, ROWS))
    return kept, sorted(_found(session, kept.frame), key=lambda entry: entry[1].part.number)


def _found(session: Session, frame: Frame) -> list[tuple[int, PartRead]]:
    """What reading found out besides, by task; raises what ended it."""
    told = frame.filter(frame.kind.isin(int(Kind.FOUND), int(Kind.ERROR))).select("kind", "task", "data")
    found = []
    for row in session.arrow(told).to_pylist():
        value = unpack(row["data"])
        if row["kind"] == Kind.ERROR:
            raise value
        found.append((row["task"], value))
    return found


def together(frames: Sequence[Frame]) -> Frame:
    """All rows of several inputs."""
    first, *others = frames
    for frame in others:
        first = first.unionAll(frame)
    return first


# -- what Spark reads --------------------------------------------------------------------------------


def _at(address: str, asking: _Asking, numbers: Numbers) -> Iterator[Rows]:
    """What is at an address: Parquet by the names of the files, and lines."""
    session, read = asking.session, asking.session.spark.read
    text = session.do(lambda: read.text(address))
    names = sorted(map(unquote, session.do(text.inputFiles)))
    if not names:
        raise InputError(f"{address}: no files")
    of_tables = [name for name in names if _PARQUET.search(name)]
    of_lines = [name for name in names if not _PARQUET.search(name)]
    if of_tables:
        # All of a directory at once: what its partitions are named for are columns then.
        given = of_tables if of_lines else [address]
        rows = _table(session.do(lambda: read.parquet(*given)), address, asking, numbers)
        yield rows
        numbers = rows.following
    if of_lines:
        frame = text if not of_tables else session.do(lambda: read.text(of_lines))
        files = of_lines if len(of_lines) <= MOST_FILES else []
        yield _lines(
            frame.select("value", "_metadata.file_path"),
            address,
            asking,
            numbers,
            _weight(address, names, session),
            files,
        )


def _weight(address: str, names: Sequence[str], session: Session) -> int:
    """Bytes of files, about as many as they have unpacked."""
    from pyspark.sql import functions  # noqa: PLC0415  # an extra

    files = session.do(lambda: session.spark.read.format("binaryFile").load(address))
    size = session.arrow(files.select(functions.sum("length").alias("size"))).column("size")[0].as_py()
    return int(size or 0) * (GROWS if _PACKED.search(names[0]) else 1)


def _frame_input(frame: Frame, asking: _Asking, numbers: Numbers) -> Rows:
    if "value" not in frame.columns:
        return _table(frame, _NAME, asking, numbers)
    from pyspark.sql import functions  # noqa: PLC0415  # an extra

    lines = frame.select(frame["value"].cast("string").alias("value"))
    size = asking.session.arrow(lines.select(functions.sum(functions.octet_length("value")).alias("size")))
    return _lines(lines, _NAME, asking, numbers, int(size.column("size")[0].as_py() or 0), ())


def _lines(frame: Frame, name: str, asking: _Asking, numbers: Numbers, size: int, files: Sequence[str]) -> Rows:
    """Lines, all of one format, which the first of them tells."""
    first = asking.session.arrow(frame.select("value").filter("length(trim(value)) > 2").limit(1)).column("value")
    source = Source(name, None)
    if not len(first):
        raise InputError(f"{name}: empty, nothing to read")
    try:
        line = bytes(views(first.chunk(0))[0]).removeprefix(BOM)
        form, recognition = recognise_line(line, source, asking.mappings)
    except InputError as error:
        raise InputError(
            str(error), hint=error.hint or "Spark reads records that are one line each; other files by their paths"
        ) from error
    other = Part(source, numbers.input, numbers.part, format=form, recognition=recognition)
    parts = {
        plain_name(file): replace(other, input=numbers.input + at, number=numbers.part + at)
        for at, file in enumerate(files)
    }

    def read(reading: Reading, batches: Iterable[Any]) -> Iterator[Any]:
        return read_lines(reading, parts, other, batches)

    return Rows(frame, size, read, other, tuple(files) or (name,))


def _table(frame: Frame, name: str, asking: _Asking, numbers: Numbers) -> Rows:
    """Rows of one of the tables that are read as Parquet."""
    schema = asking.session.arrow(frame.limit(0)).schema
    columns = columns_read(schema, asking.lexicon.span_codes, name)
    part = Part(Source(name, None), numbers.input, numbers.part, format="parquet", recognition=Recognition.FRAMING)
    # Spark hands no column to Python that has a dot in its name.
    chosen = frame.select(*(f"`{column}`" for column in columns)).toDF(*(f"c{at}" for at in range(len(columns))))
    size = asking.session.do(frame.count) * BYTES_A_SPAN

    def read(reading: Reading, batches: Iterable[Any]) -> Iterator[Any]:
        return read_table(reading, part, columns, batches)

    return Rows(chosen, size, read, part, (name,))


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that Spark reads, and what makes spans of them."""

    frame: Frame
    size: int
    reader: Callable[[Reading, Iterable[Any]], Iterator[Any]]
    first: Part
    names: tuple[str, ...]
    """What the inputs are called."""

    @property
    def following(self) -> Numbers:
        """Numbers that are free behind these."""
        return Numbers(self.first.input + len(self.names), self.first.number + len(self.names))

    def read(self, session: Session, reading: Reading) -> tuple[list[Kept], Frame, list[PartRead]]:
        """Read all rows. Raises ``InputError`` where there are none."""
        reader = self.reader

        def read(batches: Iterable[Any]) -> Iterator[Any]:
            return reader(reading, batches)

        kept = session.keep(self.frame.mapInArrow(read, ROWS))
        found = [entry for _, entry in _found(session, kept.frame)]
        if not found:
            raise InputError(f"{self.first.source.name}: empty, nothing to read")
        return [kept], kept.frame, list(self._named(found))

    def _named(self, reads: Sequence[PartRead]) -> Iterator[PartRead]:
        """One after the other, as the parts of inputs with their names."""
        by_input: dict[int, list[PartRead]] = {}
        for entry in reads:
            by_input.setdefault(entry.part.input, []).append(entry)
        for at, name in enumerate(self.names):
            source = Source(name, None, is_found=len(self.names) > 1)
            number = self.first.input + at
            part = replace(self.first, source=source, input=number, number=self.first.number + at)
            mine = by_input.get(number, [])
            if not mine:
                yield unread(part, InputError(f"{name}: empty, nothing to read"))
            for entry in mine:
                # Those of one file come from several tasks, none of which knows where it lies in it.
                entry.part = replace(part, pieces=len(mine))
                entry.rejections = tuple(replace(rejection, line=1, byte=0) for rejection in entry.rejections)
                yield entry
