"""Reads inputs into columns: only this package knows formats.

A format is a module with a reader (``read(record, line, byte)`` into a ``BatchBuilder``) and one entry in
``auditor.load.formats`` that says how it is recognised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import orjson

from auditor.errors import InputError
from auditor.load.builder import SAMPLE_SIZE, BatchBuilder
from auditor.load.formats import FORMATS, REFUSED, Format, Reader
from auditor.load.sources import BrokenCompressionError, Opened, Record, Source, find, values_in
from auditor.model.lexicon import Lexicon
from auditor.model.report import InputSummary, Rejection
from auditor.model.spans import Batch, SampledSpan

UNREADABLE = (msgspec.DecodeError, orjson.JSONDecodeError, RecursionError, UnicodeDecodeError)
_HALF_PAIR = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
UNREAD = "unread"
"""Format of an input that could not be read at all."""


@dataclass(slots=True)
class Loaded:
    """Everything that was read."""

    batches: list[Batch] = field(default_factory=list)
    inputs: list[InputSummary] = field(default_factory=list)
    sample: list[SampledSpan] = field(default_factory=list)
    corrupt_counts: int = 0
    dropped_copies: int = 0

    @property
    def spans_read(self) -> int:
        """Spans in all inputs, redelivered ones included."""
        return sum(entry.spans for entry in self.inputs)


def load(
    paths: Sequence[str],
    lexicon: Lexicon,
    *,
    explain_trace: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Read all inputs; ``progress`` hears of bytes and spans done.

    A file that was found in a directory or by a pattern and cannot be read counts as rejected, and the others are
    audited. Raises ``InputError`` for one that was named, and when none can be read.
    """
    loaded = Loaded()
    first_error: InputError | None = None
    sources = find(paths)
    for number, source in enumerate(sources):
        try:
            _load_one(source, number, lexicon, loaded, explain_trace, progress)
        except InputError as error:
            if not source.is_found:
                raise
            first_error = first_error or error
            loaded.inputs.append(_unread(source, error))
    if first_error is not None and all(entry.format == UNREAD for entry in loaded.inputs):
        raise first_error
    loaded.sample.sort(key=_sample_order)
    del loaded.sample[SAMPLE_SIZE:]
    return loaded


def _load_one(
    source: Source,
    number: int,
    lexicon: Lexicon,
    loaded: Loaded,
    explain_trace: str | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    opened = Opened(source)
    bytes_before = sum(summary.bytes for summary in loaded.inputs)
    spans_before = loaded.spans_read
    head = opened.head()
    form = next((entry for entry in FORMATS if entry.is_framed_as and entry.is_framed_as(head)), None)
    reader: Reader | None = None
    builder = BatchBuilder(lexicon, input_number=number, explain_trace=explain_trace)
    try:
        try:
            for record in form.records(opened) if form else opened.records():
                if form is None and bytes(record[0][:3]).strip() in {b"{}", b"[]"}:
                    # A request without content says nothing about the format of the others.
                    continue
                if reader is None:
                    form = form or recognise(record, source)
                    reader = form.reader(builder)
                _read(reader, builder, record)
                builder.flush_if_full()
                if progress is not None and not builder.next_row:
                    progress(bytes_before + opened.bytes_read, spans_before + builder.spans_done)
        except BrokenCompressionError as error:
            if reader is None:
                raise InputError(f"{source.name}: {error}") from error
            builder.reject(opened.line, opened.bytes_read, str(error))
        if reader is not None:
            reader.finish()
    finally:
        opened.close()
    if form is None or reader is None:
        raise InputError(f"{source.name}: empty, nothing to read")
    builder.flush()
    loaded.batches += builder.batches
    loaded.inputs.append(_summary(source, form, opened, builder))
    loaded.sample += [entry for _, _, entry in builder.sample]
    loaded.corrupt_counts += builder.corrupt_counts
    loaded.dropped_copies += builder.dropped_copies


def _read(reader: Reader, builder: BatchBuilder, record: Record) -> None:
    data, line, byte = record
    try:
        reader.read(data, line, byte)
    except UNREADABLE as error:
        if "trailing characters" not in str(error):
            _read_mended(reader, builder, record, str(error))
            return
        builder.records -= 1
        for value in values_in(memoryview(data), line, byte):
            try:
                reader.read(*value)
            except UNREADABLE as inner:
                _read_mended(reader, builder, value, str(inner))


def _read_mended(reader: Reader, builder: BatchBuilder, record: Record, message: str) -> None:
    """Read a record again whose texts were cut inside a character; reject it when that is not what ails it.

    Texts cut to a limit often end in half a surrogate pair, or in a part of a UTF-8 sequence.
    """
    data, line, byte = record
    text = bytes(data)
    mended = _HALF_PAIR.sub(rb"\1\\ufffd", text.decode("utf-8", "replace").encode())
    if mended != text:
        builder.records -= 1
        try:
            reader.read(mended, line, byte)
        except UNREADABLE as error:
            message = str(error)
        else:
            return
    builder.reject(line, byte, _plain(message))


def _plain(message: str) -> str:
    if "truncated" in message or "unexpected end" in message:
        return "the JSON breaks off before it ends"
    if "recursion" in message.lower():
        return "the JSON is nested too deeply"
    return f"not JSON: {message.removeprefix('JSON is malformed: ')}"


def recognise(record: Record, source: Source) -> Format:
    """Tell the format from the first record; raises ``InputError`` with what was seen instead."""
    data, line, _ = record
    head = bytes(data[: 64 << 10])
    if head.lstrip()[:1] not in (b"{", b"["):
        kind = "binary data" if b"\0" in head or head[:1] > b"\x7e" else "text"
        raise InputError(f"{source.name}:{line}: not JSON ({kind})", hint="audit reads OTLP JSON and LiteLLM logs")
    try:
        value = orjson.loads(data) if len(data) < 1 << 20 else None
    except orjson.JSONDecodeError as error:
        value = None
        if not any(mark in head for form in FORMATS for mark in form.marks):
            raise InputError(f"{source.name}:{line}: not JSON ({error.msg})") from error
    for form in FORMATS:
        if form.recognises(value) if value is not None else any(mark in head for mark in form.marks):
            return form
    entry = value[0] if isinstance(value, list) and value else value
    if isinstance(entry, dict):
        for keys, what, hint in REFUSED:
            if keys <= entry.keys():
                raise InputError(f"{source.name}: {what}", hint=hint)
    raise InputError(
        f"{source.name}:{line}: JSON, but none of the formats that are read here",
        hint=f"formats: {', '.join(form.name for form in FORMATS)}",
    )


def _summary(source: Source, form: Format, opened: Opened, builder: BatchBuilder) -> InputSummary:
    starts = [batch.start_ns[batch.start_ns > 0] for batch in builder.batches]
    known = np.concatenate(starts) if starts else np.empty(0, dtype=np.int64)
    return InputSummary(
        path=source.name,
        format=form.name,
        vocabularies=tuple(sorted(builder.vocabularies)),
        bytes=source.size or opened.bytes_read,
        records=builder.records,
        spans=builder.spans_done,
        rejected=builder.rejected,
        rejections=tuple(builder.rejections),
        start_ns=int(known.min()) if known.size else None,
        end_ns=int(known.max()) if known.size else None,
        notes=(),
    )


def _unread(source: Source, error: InputError) -> InputSummary:
    return InputSummary(
        path=source.name,
        format=UNREAD,
        vocabularies=(),
        bytes=source.size,
        records=0,
        spans=0,
        rejected=1,
        rejections=(Rejection(1, 0, str(error).removeprefix(source.name).lstrip(": ")),),
        start_ns=None,
        end_ns=None,
    )


def _sample_order(entry: SampledSpan) -> tuple[int, bool, tuple[tuple[str, str], ...]]:
    return entry.key, entry.is_call, entry.attributes
