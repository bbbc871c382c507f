"""Where in a program, and on which line of an input, sampled calls are: read again, and only from their records.

Spans name the line of code that made them as ``code.file.path`` and ``code.line.number`` (OpenTelemetry semantic
conventions 1.30 and later, registry "code"), before as ``code.filepath`` and ``code.lineno``. Nobody else asks for
these attributes, so reading an input leaves them out; here the few records that findings name are looked at again.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from auditor.errors import InputError
from auditor.load.formats import FORMATS, Format
from auditor.load.gaps import Gap
from auditor.load.otlp_proto import inflated
from auditor.load.sources import GZIP, ZSTD, BrokenCompressionError, Opened, Source, find
from auditor.model.report import CodePlace, InputSummary, Sample

FILE_KEYS = ("code.file.path", "code.filepath")
LINE_KEYS = ("code.line.number", "code.lineno")
_MARK = b"code.file"
"""Stands in every input of which a span names its file."""
_ATTRIBUTES = ("attributes", "tags", "meta", "metrics", "SpanAttributes")
"""Where formats keep the attributes of a span."""
_TRACE_KEYS = frozenset({"traceid", "trace_id"})
_SPAN_KEYS = frozenset({"spanid", "span_id", "id", "context.span_id"})
_NAMES = frozenset({"name", "operationname", "operation_name", "displayname", "spanname", "span_name"})
"""Keys of which every span has one and no link to a span has any."""
_OWN_ID = re.compile(rb'"(?:[sS]pan_?[iI][dD]|id|context\.span_id)"\s*:\s*"?([^",}\]\s]{1,40})')
_AROUND = 1 << 20
"""Bytes before and after a span's id in which its object is looked for."""
_OPENINGS = 4_000
"""Objects that may open between the beginning of a span and its id."""
_BINARY = frozenset({"collector-file", "otlp-proto"})
_DIGITS = 39
"""Of the largest number of 128 bits."""
_LONGEST_PATH = 1_024
_LONGEST_NAME = 255
_INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules"})
"""Directories of other people's code: the same name in this repository is another file."""
_MOST_ABOVE = 2
"""Directories above a bare file name: ``/srv/app/main.py``."""
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Checkout:
    """The repository whose program was traced, to find its files by the paths that spans name."""

    root: Path
    here: Path
    """Working directory, at or below ``root``: a second place to look."""

    def name_of(self, file: str) -> str:
        """Name a file relative to the root, where the longest end of its path that exists there says which.

        A program that was traced in a container knows its files by other directories: ``/app/shop/chat.py`` is
        ``shop/chat.py`` here. A bare name is only believed from at most two directories down, and installed
        packages are never taken for files of the repository. Without a match the path stays as it is.
        """
        plain = file.removeprefix("file://").replace("\\", "/")
        parts = tuple(
            part for part in PurePosixPath(plain).parts if part != "/" and not re.fullmatch("[A-Za-z]:", part)
        )
        too_long = len(plain) > _LONGEST_PATH or any(
            len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts
        )
        if not parts or ".." in parts or "\0" in plain or too_long or _INSTALLED & set(parts):
            return file
        for dropped in range(len(parts)):
            end = parts[dropped:]
            if len(end) == 1 and dropped > _MOST_ABOVE:
                break
            for place in dict.fromkeys((self.root, self.here)):
                if place.joinpath(*end).is_file():
                    return place.joinpath(*end).relative_to(self.root).as_posix()
        return file


def checkout_of(here: Path) -> Checkout:
    """Find the repository around a directory; without one the directory stands for it."""
    return Checkout(next((place for place in (here, *here.parents) if (place / ".git").exists()), here), here)


def locate(
    samples: Sequence[Sample], inputs: Sequence[InputSummary], paths: Sequence[str], checkout: Checkout
) -> dict[Sample, Sample]:
    """Read the records of samples again; says of each the line of its span, and of the code that made the call.

    ``paths`` are the inputs as the user gave them; what cannot be read twice (standard input, pipes) or has changed
    meanwhile leaves a sample as it is. Files of code are named as ``checkout`` has them.
    """
    formats = {entry.path: entry.format for entry in inputs}
    by_name = {form.name: form for form in FORMATS}
    wanted: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        wanted[sample.input][sample.line].append(sample)
    found: dict[Sample, Sample] = {}
    for source in find([path for path in paths if path != "-"]):
        form = by_name.get(formats.get(source.name, ""))
        lines = wanted.get(source.name)
        if form is None or not lines or not _is_worthwhile(source, lines, form):
            continue
        # What was read once can be gone by now; the finding stands without its place.
        with suppress(InputError, BrokenCompressionError):
            found.update(_located(source, form, lines, checkout))
    return found


def _is_worthwhile(source: Source, lines: Mapping[int, object], form: Format) -> bool:
    """Say whether a second look can tell more: code is named, or one value has many lines.

    Rows of logs never name code, and they may be many.
    """
    path = source.path
    if path is None or source.table or not stat.S_ISREG(path.stat().st_mode) or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        if file.read(4).startswith((GZIP, ZSTD)):
            return True
        file.seek(0)
        has_lines = file.readline(_AROUND).endswith(b"\n") and bool(file.read(1))
        return (set(lines) == {1} and has_lines) or (Gap.PATHS not in form.cannot_tell and _mentions_code(file))


def _mentions_code(file: BinaryIO) -> bool:
    """Look through a file piece by piece: mapped, all of it would count as our memory."""
    file.seek(0)
    tail = b""
    while piece := file.read(_AROUND):
        if _MARK in tail + piece:
            return True
        tail = piece[-len(_MARK) :]
    return False


def _located(
    source: Source, form: Format, lines: Mapping[int, Sequence[Sample]], checkout: Checkout
) -> Iterator[tuple[Sample, Sample]]:
    last = max(lines)
    opened = Opened(source)
    try:
        for record, line, _ in form.records(opened):
            if line > last:
                break
            if line in lines:
                look = _in_proto if form.name in _BINARY else _in_text
                yield from look(record, lines[line], checkout)
    finally:
        opened.close()


def _in_text(
    record: bytes | memoryview, samples: Sequence[Sample], checkout: Checkout
) -> Iterator[tuple[Sample, Sample]]:
    """Find spans in a record of JSON by their ids, in one pass: their lines, and their code if they tell."""
    waiting: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        for spelt in _spellings(sample.span_id):
            waiting[spelt].append(sample)
    done: set[Sample] = set()
    counted, newlines = 0, 0
    for hit in _OWN_ID.finditer(record):
        text = hit[1].decode("ascii", "replace")
        for sample in waiting.get(text.lower().removeprefix("0x").lstrip("0")) or waiting.get(text) or ():
            span = None if sample in done else _span_around(record, hit.start(), sample)
            if span is not None:
                newlines += _newlines(record, counted, hit.start())
                counted = hit.start()
                done.add(sample)
                yield sample, replace(sample, line=sample.line + newlines, code=_code(_attributes(span), checkout))
        if len(done) == len(samples):
            return


def _spellings(span_id: str) -> Iterator[str]:
    """An id as formats write it: hex without leading zeros, base64 or decimal."""
    bare = span_id.lstrip("0")
    if not bare:
        return
    yield bare
    if re.fullmatch("[0-9a-f]{16}", span_id):
        yield base64.b64encode(bytes.fromhex(span_id)).decode()
        yield str(int(span_id, 16))


def _newlines(record: bytes | memoryview, start: int, end: int) -> int:
    return sum(bytes(record[at : min(at + _AROUND, end)]).count(b"\n") for at in range(start, end, _AROUND))


def _span_around(record: bytes | memoryview, at: int, sample: Sample) -> dict[str, Any] | None:
    """Read the span that has this id, without reading the whole record."""
    start = max(0, at - _AROUND)
    before = bytes(record[start:at]).decode("utf-8", "replace")
    text = before + bytes(record[at : at + _AROUND]).decode("utf-8", "replace")
    opening = len(before)
    for _ in range(_OPENINGS):
        opening = text.rfind("{", 0, opening)
        if opening < 0:
            return None
        try:
            value, end = _DECODER.raw_decode(text, opening)
        except (ValueError, RecursionError):
            continue
        if end > len(before) and _is_span(value, sample):
            return dict(value)
    return None


def _is_span(value: dict[str, Any], sample: Sample) -> bool:
    """Say whether an object is the sampled span, and not a link to it or what the link belongs to."""
    inner = value.get("context")
    own = {**inner, **value} if isinstance(inner, dict) else value
    ids = {key.lower(): str(text) for key, text in own.items() if isinstance(text, str | int)}
    if not _NAMES & ids.keys() or not any(_is_id(ids.get(key, ""), sample.span_id) for key in _SPAN_KEYS):
        return False
    trace = next((ids[key] for key in _TRACE_KEYS if key in ids), None)
    return trace is None or _is_id(trace, sample.trace_id)


def _is_id(spelt: str, wanted: str) -> bool:
    """Say whether an id as a format writes it is this one: hex, with ``0x``, without leading zeros, base64, decimal."""
    plain, bare = spelt.lower().removeprefix("0x").lstrip("0"), wanted.lstrip("0")
    if not bare:
        return False
    if plain == bare or (spelt.isdecimal() and len(spelt) <= _DIGITS and f"{int(spelt):x}" == bare):
        return True
    with suppress(binascii.Error, ValueError):
        return base64.b64decode(spelt, validate=True).hex().lstrip("0") == bare
    return False


def _attributes(span: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _ATTRIBUTES:
        match span.get(name):
            case dict() as pairs:
                found.update(pairs)
            case list() as items:
                named = [item for item in items if isinstance(item, dict) and isinstance(item.get("key"), str)]
                found.update((item["key"], item.get("value")) for item in named)
    return {str(key): _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    """Unwrap a value as OTLP JSON writes it."""
    return next(iter(value.values()), None) if isinstance(value, dict) else value


def _in_proto(
    record: bytes | memoryview, samples: Sequence[Sample], checkout: Checkout
) -> Iterator[tuple[Sample, Sample]]:
    """Find spans in a message by their ids; where lines would be, binary inputs count records."""
    data = bytes(record)
    if data.startswith(ZSTD):
        data = inflated(data)
    if data.lstrip()[:1] == b"{":
        yield from ((sample, replace(found, line=sample.line)) for sample, found in _in_text(data, samples, checkout))
        return

    from google.protobuf.message import DecodeError  # noqa: PLC0415  # heavy, and only for protobuf
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData  # noqa: PLC0415  # as above

    parts: list[ResourceSpans] = []
    with suppress(DecodeError):
        parts += TracesData.FromString(data).resource_spans
    with suppress(DecodeError):
        parts.append(ResourceSpans.FromString(data))
    waiting = {(sample.trace_id, sample.span_id): sample for sample in samples}
    for part in parts:
        for scope in part.scope_spans:
            for span in scope.spans:
                sample = waiting.get((span.trace_id.hex(), span.span_id.hex()))
                if sample is not None:
                    pairs = {
                        pair.key: pair.value.string_value or pair.value.int_value or None for pair in span.attributes
                    }
                    yield sample, replace(sample, code=_code(pairs, checkout))


def _code(attributes: Mapping[str, Any], checkout: Checkout) -> CodePlace | None:
    file = next((value for key in FILE_KEYS if isinstance(value := attributes.get(key), str) and value), None)
    if file is None or len(file) > _LONGEST_PATH:
        return None
    number = next((attributes[key] for key in LINE_KEYS if key in attributes), None)
    line = int(number) if isinstance(number, int | str) and re.fullmatch(r"[0-9]{1,9}", str(number)) else 1
    return CodePlace(checkout.name_of(file), max(line, 1))
