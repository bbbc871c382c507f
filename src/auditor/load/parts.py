"""Cuts the inputs of a run into parts that are read apart from each other, in any order and by any process.

A part is an input, or a range of bytes of one. A range owns the lines that begin in it, so that ranges side by side
read each line once, and read the same records as a reader of the whole: each goes on from the line at which the one
before ends. Only where a value is printed over the end of a range does this fail; the part then says so, and its
input has to be read as a whole. Formats whose readers remember something from record to record are never cut.

Batches count only where all parts of their input were read: those of a part that failed, or that has to be read as
a whole, are to be let go by whoever took them.
"""

from __future__ import annotations

import math
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from auditor.errors import InputError
from auditor.load.builder import BatchBuilder
from auditor.load.formats import Format, LinesReader, PrintedReader, Reader
from auditor.load.reading import read_record
from auditor.load.recognition import format_named, framed, recognise
from auditor.load.sources import (
    HEAD,
    BrokenCompressionError,
    CrossingError,
    Lines,
    Opened,
    Record,
    Source,
    TakeLines,
    find,
    is_empty,
)
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.report import KeyTaken, Recognition, Rejection
from auditor.model.spans import Batch, SampledSpan

PART_BYTES = 64 << 20
"""Most bytes of a range: about as many spans as a batch holds."""

WARM_TEXTS = 1 << 17
"""Texts in the tables of a reader above which it starts over with the next range: memory does not follow the input."""

Take = Callable[[Batch], None]
Progress = Callable[[int, int], None]
"""Hears of bytes and spans done."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is read at a time."""

    source: Source
    input: int
    """Number of its input in the run."""
    number: int
    """Of its own: parts are numbered by input, then by byte. Others of a run have other numbers."""
    pieces: int = 1
    """Parts that its input has."""
    start: int = 0
    end: int | None = None
    """Byte before which its lines begin; ``None`` for a whole input."""
    format: str = ""
    """Name of the format of a range; that of a whole input is told when it is read."""
    recognition: Recognition = Recognition.NOTHING
    first: int = 0
    """Byte of the record that told the format; empty ones before it are passed over."""

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its input."""
        return self.end is None

    def whole(self) -> Part:
        """All of its input, which takes the place of all its parts."""
        return Part(self.source, self.input, self.number)


@dataclass(slots=True)
class PartRead:
    """All that reading a part finds out, but for its batches."""

    part: Part
    must_be_whole: bool = False
    """Nothing here counts: a value goes on in the next part, so that the input has to be read as a whole."""
    error: InputError | None = None
    """Why the input cannot be read; then nothing else counts either."""
    format: str = ""
    recognition: Recognition = Recognition.NOTHING
    bytes: int = 0
    lines: int = 0
    """Line ends of a range."""
    records: int = 0
    spans: int = 0
    rejected: int = 0
    rejections: tuple[Rejection, ...] = ()
    """The first few by position; lines count from the part's first."""
    vocabularies: frozenset[str] = frozenset()
    keys: Mapping[int, KeyTaken] = field(default_factory=dict)
    """By code, the keys that usage and prices of calls were read from."""
    unread_usage: Mapping[str, int] = field(default_factory=dict)
    """Spans by key that tells of usage and that no vocabulary knows."""
    scopes: Mapping[str, int] = field(default_factory=dict)
    """Spans by scope; rows of logs have none."""
    scope_versions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """A few of each scope, those that come first in the order of texts."""
    sample: tuple[SampledSpan, ...] = ()
    corrupt_counts: int = 0
    dropped_copies: int = 0
    log_requests: int = 0
    service_versions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    service_sdks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    start_ns: int | None = None
    """The first and the last of the known starts."""
    end_ns: int | None = None


def plan_parts(
    paths: Sequence[str], mappings: Sequence[SourceMapping] = (), *, part_bytes: int | None = PART_BYTES
) -> list[Part]:
    """Cut inputs into parts of up to ``part_bytes``; with ``None``, every input is one part.

    Cut are plain files with a record a line, of a format whose records stand for themselves. Nothing else is looked
    into, and what is wrong with a file shows when it is read. Raises ``InputError`` for an argument that leads to no
    readable file.
    """
    parts: list[Part] = []
    for number, source in enumerate(find(paths)):
        whole = Part(source, number, len(parts))
        parts += [whole] if part_bytes is None else _cut(whole, mappings, part_bytes)
    return parts


def _cut(whole: Part, mappings: Sequence[SourceMapping], part_bytes: int) -> list[Part]:
    source = whole.source
    try:
        facts = source.path.stat() if source.path is not None and not source.table else None
        if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_size <= part_bytes:
            return [whole]
        found = _by_lines(source, mappings)
    except (InputError, OSError):
        # Reading it as a whole tells what is wrong.
        return [whole]
    if found is None:
        return [whole]
    form, recognition, first = found
    pieces = math.ceil(facts.st_size / part_bytes)
    step = math.ceil(facts.st_size / pieces)
    return [
        replace(
            whole,
            number=whole.number + at,
            pieces=pieces,
            start=at * step,
            end=min((at + 1) * step, facts.st_size),
            format=form.name,
            recognition=recognition,
            first=first,
        )
        for at in range(pieces)
    ]


def _by_lines(source: Source, mappings: Sequence[SourceMapping]) -> tuple[Format, Recognition, int] | None:
    """The format of an input that can be cut, how it was told, and the byte of the record that told it."""
    opened = Opened(source)
    try:
        form = framed(source, opened.head(), mappings)
        found = opened.first_record(PART_BYTES)
        if found is None:
            return None
        recognition, first = Recognition.FRAMING, 0
        if form is None:
            record, first = found
            form, recognition = recognise((record, 1, first), source, mappings)
    finally:
        opened.close()
    return (form, recognition, first) if form.is_splittable and form.records is Opened.records else None


def recognise_line(record: bytes, source: Source, mappings: Sequence[SourceMapping] = ()) -> tuple[str, Recognition]:
    """Name the format of an input by one of its lines, and say how it was told.

    Raises ``InputError`` where that is none, or one whose lines do not stand for themselves.
    """
    form, recognition = framed(source, record[:HEAD], mappings), Recognition.FRAMING
    if form is None:
        form, recognition = recognise((record, 1, 0), source, mappings)
    if not form.is_splittable or form.records is not Opened.records:
        raise InputError(f"{source.name}: {form.name} cannot be read line by line")
    return form.name, recognition


@dataclass(slots=True)
class _Warm:
    """What a reader knows after some ranges of an input, and reads the next ones the faster for."""

    source: Source
    builder: BatchBuilder
    reader: Reader


class PartReader:
    """Reads parts of one run, one after the other; ranges of one input are best read in a row."""

    def __init__(
        self, lexicon: Lexicon, *, explain_trace: str | None = None, mappings: Sequence[SourceMapping] = ()
    ) -> None:
        self._lexicon = lexicon
        self._explain_trace = explain_trace
        self._mappings = mappings
        self._warm: _Warm | None = None

    def read(self, part: Part, take: Take, progress: Progress | None = None) -> PartRead:
        """Read a part; ``take`` gets each batch as soon as it is full. ``progress`` hears of this part alone.

        Raises ``InputError`` when the input cannot be read.
        """
        source = part.source
        warm, self._warm = self._warm, None
        if warm is None or part.is_whole or warm.source != source or warm.builder.texts > WARM_TEXTS:
            warm = None
        builder = warm.builder if warm else BatchBuilder(self._lexicon, explain_trace=self._explain_trace)
        reader = warm.reader if warm else None
        taken = _Taken(take)
        builder.begin(part.number, taken)
        opened = Opened(source, self._lexicon.span_codes, start=part.start, end=part.end)
        try:
            if not part.is_whole and not opened.is_plain_file:
                # It is not the file any more that was cut.
                return PartRead(part, must_be_whole=True)
            head = opened.head()
            if part.is_whole:
                form = framed(source, head, self._mappings)
                recognition = Recognition.FRAMING if form else Recognition.WHOLE
            else:
                form, recognition = format_named(part.format, head, self._mappings), part.recognition

            def heard() -> None:
                if progress is not None:
                    progress(max(opened.bytes_read - part.start, 0), builder.spans_done)

            _let_take(opened, reader, heard)
            try:
                for record in form.records(opened) if form else opened.records():
                    if (form is None or record[2] < part.first) and is_empty(record[0]):
                        continue
                    if reader is None:
                        form, recognition = (form, recognition) if form else recognise(record, source, self._mappings)
                        reader = form.reader(builder)
                        _let_take(opened, reader, heard)
                    read_record(reader, builder, record)
                    builder.flush_if_full()
                    if not builder.next_row:
                        heard()
            except BrokenCompressionError as error:
                if reader is None:
                    raise InputError(f"{source.name}: {error}") from error
                builder.reject(opened.line, opened.bytes_read, str(error))
            except CrossingError:
                return PartRead(part, must_be_whole=True)
            if reader is not None:
                reader.finish()
        finally:
            opened.close()
        if form is None or (reader is None and part.is_whole):
            raise InputError(f"{source.name}: empty, nothing to read")
        builder.flush()
        if reader is not None and not part.is_whole:
            self._warm = _Warm(source, builder, reader)
        size = source.size or opened.bytes_read if part.end is None else part.end - part.start
        return _found(part, form, recognition, builder, taken, size=size, lines=opened.lines)

    def read_records(self, part: Part, records: Iterable[Record], take: Take) -> PartRead:
        """Read records that something else has cut out of an input whose format the part names; as ``read``."""
        warm, self._warm = self._warm, None
        if warm is None or warm.source != part.source or warm.builder.texts > WARM_TEXTS:
            builder = BatchBuilder(self._lexicon, explain_trace=self._explain_trace)
            warm = _Warm(part.source, builder, format_named(part.format, b"", self._mappings).reader(builder))
        builder, reader = warm.builder, warm.reader
        taken = _Taken(take)
        builder.begin(part.number, taken)
        size = 0
        for record in records:
            size += len(record[0])
            read_record(reader, builder, record)
            builder.flush_if_full()
        reader.finish()
        builder.flush()
        self._warm = warm
        form = format_named(part.format, b"", self._mappings)
        return _found(part, form, part.recognition, builder, taken, size=size, lines=0)


def read_part(
    part: Part,
    lexicon: Lexicon,
    take: Take,
    *,
    explain_trace: str | None = None,
    progress: Progress | None = None,
    mappings: Sequence[SourceMapping] = (),
) -> PartRead:
    """Read a single part, as ``PartReader.read`` does. Raises ``InputError`` when the input cannot be read."""
    return PartReader(lexicon, explain_trace=explain_trace, mappings=mappings).read(part, take, progress)


def _let_take(opened: Opened, reader: Reader | None, heard: Callable[[], None]) -> None:
    """Have many lines read at once, where the reader can; ``heard`` is called each time."""

    def taker(read: TakeLines) -> TakeLines:
        def take(lines: Lines) -> Collection[int]:
            refused = read(lines)
            heard()
            return refused

        return take

    if isinstance(reader, LinesReader) and reader.takes_lines:
        opened.take_lines = taker(reader.read_lines)
    if isinstance(reader, PrintedReader):
        opened.take_printed = taker(reader.read_printed)


class _Taken:
    """Hands batches on, and counts what is in them."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self.scopes: Counter[str] = Counter()
        self.starts: list[int] = []

    def __call__(self, batch: Batch) -> None:
        known = batch.start_ns[batch.start_ns > 0]
        if known.size:
            self.starts += int(known.min()), int(known.max())
        counts = np.bincount(batch.place, minlength=len(batch.places)).tolist()
        # Rows that are read later may come to stand in places that are not in this count.
        for place, count in zip(batch.places, counts, strict=False):
            if count and not place.shape.is_row:
                self.scopes[place.shape.scope] += count
        self._take(batch)


def _found(
    part: Part,
    form: Format,
    recognition: Recognition,
    builder: BatchBuilder,
    taken: _Taken,
    *,
    size: int,
    lines: int,
) -> PartRead:
    meanings = builder.lexicon.meaning_of_code
    return PartRead(
        part=part,
        format=form.name,
        recognition=recognition,
        bytes=size,
        lines=lines,
        records=builder.records,
        spans=builder.spans_done,
        rejected=builder.rejected,
        rejections=tuple(builder.rejections),
        vocabularies=frozenset(builder.vocabularies),
        keys={
            code: KeyTaken(meaning.field.name.lower(), meaning.key, meaning.vocabulary)
            for code in builder.keys_taken
            for meaning in [meanings[code]]
        },
        unread_usage=dict(builder.unread_usage),
        scopes=dict(taken.scopes),
        scope_versions={name: frozenset(versions) for name, versions in builder.scope_versions.items()},
        sample=tuple(builder.sample),
        corrupt_counts=builder.corrupt_counts,
        dropped_copies=builder.dropped_copies,
        log_requests=builder.log_requests,
        service_versions={service: frozenset(found) for service, found in builder.service_versions.items()},
        service_sdks={service: frozenset(found) for service, found in builder.service_sdks.items()},
        start_ns=min(taken.starts, default=None),
        end_ns=max(taken.starts, default=None),
    )


def unread(part: Part, error: InputError, *, may_fail: bool = False) -> PartRead:
    """Note that the input of a part cannot be read; raises the error again where the user named the input."""
    if not part.source.is_found and not may_fail:
        raise error
    return PartRead(part.whole(), error=error, bytes=part.source.size)
