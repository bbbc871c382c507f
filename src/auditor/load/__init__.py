"""Reads inputs into columns: only this package knows formats.

A format is a module with a reader (``read(record, line, byte)`` into a ``BatchBuilder``) and one entry in
``auditor.load.formats`` that says how it is recognised.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import orjson

from auditor.errors import InputError
from auditor.load.builder import SAMPLE_SIZE, BatchBuilder
from auditor.load.csv_rows import header_of
from auditor.load.declared import mapped_by_name, mapped_document, mapped_table
from auditor.load.formats import FORMATS, REFUSED, Format, Reader
from auditor.load.rows import rows_in
from auditor.load.sources import BrokenCompressionError, Opened, Record, Source, find, values_in
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.report import InputSummary, KeyTaken, Recognition, Rejection, ScopeSeen, UnreadKey
from auditor.model.spans import Batch, SampledSpan

UNREADABLE = (msgspec.DecodeError, orjson.JSONDecodeError, RecursionError, UnicodeDecodeError)
_HALF_PAIR = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
DRAFTS = "for a log of calls, audit doctor FILE drafts a mapping"
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
    service_versions: dict[str, set[str]] = field(default_factory=dict)
    """By service: each ``service.version`` of its resources."""
    service_sdks: dict[str, set[str]] = field(default_factory=dict)
    """By service: each SDK of its resources, by language and version."""

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
    may_all_fail: bool = False,
    mappings: Sequence[SourceMapping] = (),
) -> Loaded:
    """Read all inputs; ``progress`` hears of bytes and spans done.

    A file that was found in a directory or by a pattern and cannot be read counts as rejected, and the others are
    audited. What no format fits is read by one of ``mappings``. Raises ``InputError`` for one that was named, and when
    none can be read; with ``may_all_fail``, only where there is no file at all.
    """
    loaded = Loaded()
    first_error: InputError | None = None
    sources = find(paths)
    for number, source in enumerate(sources):
        try:
            _load_one(source, number, lexicon, loaded, explain_trace, progress, mappings)
        except InputError as error:
            if not source.is_found and not may_all_fail:
                raise
            first_error = first_error or error
            loaded.inputs.append(_unread(source, error))
    if first_error is not None and not may_all_fail and all(entry.format == UNREAD for entry in loaded.inputs):
        raise first_error
    # A span that came twice is one of the sample once.
    loaded.sample = sorted(set(loaded.sample), key=_sample_order)
    del loaded.sample[SAMPLE_SIZE:]
    return loaded


def _load_one(
    source: Source,
    number: int,
    lexicon: Lexicon,
    loaded: Loaded,
    explain_trace: str | None,
    progress: Callable[[int, int], None] | None,
    mappings: Sequence[SourceMapping],
) -> None:
    opened = Opened(source, lexicon.span_codes)
    bytes_before = sum(summary.bytes for summary in loaded.inputs)
    spans_before = loaded.spans_read
    head = opened.head()
    form = mapped_by_name(source.name, mappings, head) or next(
        (entry for entry in FORMATS if entry.is_framed_as and entry.is_framed_as(head)), None
    )
    if form is None and mappings and header_of(head):
        form = mapped_table(mappings, head)
    recognition = Recognition.FRAMING if form else Recognition.WHOLE
    reader: Reader | None = None
    builder = BatchBuilder(lexicon, input_number=number, explain_trace=explain_trace)
    try:
        try:
            for record in form.records(opened) if form else opened.records():
                if form is None and bytes(record[0][:3]).strip() in {b"{}", b"[]"}:
                    # A request without content says nothing about the format of the others.
                    continue
                if reader is None:
                    form, recognition = (form, recognition) if form else recognise(record, source, mappings)
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
    loaded.inputs.append(_summary(source, form, recognition, opened, builder))
    loaded.sample += [entry for _, _, entry in builder.sample]
    loaded.corrupt_counts += builder.corrupt_counts
    loaded.dropped_copies += builder.dropped_copies
    for service, versions in builder.service_versions.items():
        loaded.service_versions.setdefault(service, set()).update(versions)
    for service, sdks in builder.service_sdks.items():
        loaded.service_sdks.setdefault(service, set()).update(sdks)


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


def recognise(record: Record, source: Source, mappings: Sequence[SourceMapping] = ()) -> tuple[Format, Recognition]:
    """Tell the format from the first record, and by what; raises ``InputError`` with what was seen instead.

    A record that no format fits belongs to the mapping that finds the most in it.
    """
    data, line, _ = record
    head = bytes(data[: 64 << 10])
    if head.lstrip()[:1] not in (b"{", b"["):
        kind = "binary data" if b"\0" in head or head[:1] > b"\x7e" else "a table" if header_of(head) else "text"
        hint = DRAFTS if kind == "a table" else "audit formats lists what is read"
        raise InputError(f"{source.name}:{line}: not JSON ({kind})", hint=hint)
    try:
        value = orjson.loads(data) if len(data) < 1 << 20 else None
    except orjson.JSONDecodeError as error:
        value = None
        if not any(mark in head for form in FORMATS for mark in form.marks):
            raise InputError(f"{source.name}:{line}: not JSON ({error.msg})") from error
    for form in FORMATS:
        if form.recognises(value) if value is not None else any(mark in head for mark in form.marks):
            return form, Recognition.HEAD if value is None else Recognition.WHOLE
    entry = next(iter(rows_in(value)), None)
    if isinstance(entry, dict):
        for keys, what, hint in REFUSED:
            if keys <= entry.keys():
                raise InputError(f"{source.name}: {what}", hint=hint)
    if mappings and value is not None:
        return mapped_document(mappings, value), Recognition.WHOLE
    raise InputError(
        f"{source.name}:{line}: JSON, but none of the formats that are read here",
        hint=f"{DRAFTS}; formats: {', '.join(form.name for form in FORMATS)}",
    )


def _summary(
    source: Source, form: Format, recognition: Recognition, opened: Opened, builder: BatchBuilder
) -> InputSummary:
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
        notes=tuple(_notes(form, builder)),
        recognition=recognition,
        scopes=_scopes(builder),
        keys=_keys_taken(builder),
        unread_usage=tuple(
            UnreadKey(key, spans)
            for key, spans in sorted(builder.unread_usage.items(), key=lambda entry: (-entry[1], entry[0]))
        ),
    )


def _notes(form: Format, builder: BatchBuilder) -> Iterator[str]:
    if form.caution:
        yield form.caution
    if builder.log_requests and not builder.spans_done:
        yield "OTLP logs, of which none tells of a model call: export the traces"
    if form.cap and form.cap in (builder.records, builder.spans_done):
        yield f"{form.cap:,} rows, at which such exports are cut off: there may be more calls"


def _keys_taken(builder: BatchBuilder) -> tuple[KeyTaken, ...]:
    meanings = [builder.lexicon.meaning_of_code[code] for code in sorted(builder.keys_taken)]
    return tuple(KeyTaken(entry.field.name.lower(), entry.key, entry.vocabulary) for entry in meanings)


def _scopes(builder: BatchBuilder) -> tuple[ScopeSeen, ...]:
    """Scopes by the spans that came from them; rows of logs have none."""
    spans: Counter[str] = Counter()
    for batch in builder.batches:
        counts = np.bincount(batch.place, minlength=len(batch.places))
        for place, count in zip(batch.places, counts.tolist(), strict=True):
            if count and not place.shape.is_row:
                spans[place.shape.scope] += count
    return tuple(
        ScopeSeen(name, tuple(sorted(builder.scope_versions.get(name, ()))), count)
        for name, count in sorted(spans.items(), key=lambda entry: (-entry[1], entry[0]))
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
        rejections=(Rejection(1, 0, _without_place(str(error), source.name)),),
        start_ns=None,
        end_ns=None,
        recognition=Recognition.NOTHING,
    )


def _without_place(message: str, name: str) -> str:
    """Leave out where an error is: the rejection says it."""
    return re.sub(r"^:(\d+:)?\s*", "", message.removeprefix(name))


def _sample_order(entry: SampledSpan) -> tuple[int, bool, tuple[tuple[str, str], ...]]:
    return entry.key, entry.is_call, entry.attributes
