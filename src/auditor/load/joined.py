"""Puts together what the parts of a run have found out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from operator import attrgetter

from auditor.errors import InputError
from auditor.load.builder import KEPT_REJECTIONS, KEPT_VERSIONS, SAMPLE_SIZE
from auditor.load.formats import FORMATS
from auditor.load.parts import PartRead
from auditor.load.sources import Source
from auditor.model.report import InputSummary, KeyTaken, Recognition, Rejection, ScopeSeen, UnreadKey
from auditor.model.spans import Batch, SampledSpan

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
    part_inputs: list[int] = field(default_factory=list)
    """By number of a part, as ``Batch.call_part`` has it: the input."""
    part_lines: list[int] = field(default_factory=list)
    """By number of a part: lines of the input before the first of the part."""

    @property
    def spans_read(self) -> int:
        """Spans in all inputs, redelivered ones included."""
        return sum(entry.spans for entry in self.inputs)

    def position(self, part: int, line: int) -> tuple[str, int]:
        """Name of the input, and line in it, of a line of a part."""
        return self.inputs[self.part_inputs[part]].path, self.part_lines[part] + line


def join_parts(reads: Iterable[PartRead], *, may_all_fail: bool = False) -> Loaded:
    """Put together the parts of a run, which may come in any order; the batches are for the caller to add.

    Raises ``InputError`` when no input could be read, unless ``may_all_fail``, and ``ValueError`` when a part is
    missing, came twice, or has to be read again as a whole.
    """
    loaded = Loaded()
    errors: list[InputError] = []
    found: list[PartRead] = []
    for number, group in groupby(sorted(reads, key=_place), key=_input):
        of_input = list(group)
        source = of_input[0].part.source
        if number != len(loaded.inputs):
            raise ValueError(f"input {len(loaded.inputs)} has not been read")
        error = next((entry.error for entry in of_input if entry.error is not None), None)
        before = _lines_before(of_input)
        for entry, lines in zip(of_input, before, strict=True):
            missing = entry.part.number - len(loaded.part_inputs) + 1
            loaded.part_inputs += [number] * missing
            loaded.part_lines += [lines] * missing
        if error is not None:
            errors.append(error)
            loaded.inputs.append(_unread(source, error))
            continue
        if any(entry.must_be_whole for entry in of_input):
            raise ValueError(f"{source.name} has to be read as a whole")
        if [entry.part.pieces for entry in of_input] != [len(of_input)] * len(of_input):
            raise ValueError(f"{source.name} has not been read in all its parts, each once")
        loaded.inputs.append(_summary(of_input, before))
        found += of_input
    if errors and not may_all_fail and all(entry.format == UNREAD for entry in loaded.inputs):
        raise errors[0]
    _add_up(loaded, found)
    return loaded


_input = attrgetter("part.input")
_place = attrgetter("part.input", "part.number")


def _lines_before(reads: Sequence[PartRead]) -> list[int]:
    """Lines of the input before each of its parts."""
    before = [0]
    for entry in reads[:-1]:
        before.append(before[-1] + entry.lines)
    return before


def _add_up(loaded: Loaded, reads: Sequence[PartRead]) -> None:
    # A span that came twice is one of the sample once.
    loaded.sample = sorted(set(chain.from_iterable(entry.sample for entry in reads)))[:SAMPLE_SIZE]
    for entry in reads:
        loaded.corrupt_counts += entry.corrupt_counts
        loaded.dropped_copies += entry.dropped_copies
        for service, versions in entry.service_versions.items():
            loaded.service_versions.setdefault(service, set()).update(versions)
        for service, sdks in entry.service_sdks.items():
            loaded.service_sdks.setdefault(service, set()).update(sdks)


def _summary(reads: Sequence[PartRead], before: Sequence[int]) -> InputSummary:
    keys: dict[int, KeyTaken] = {}
    unread_usage: Counter[str] = Counter()
    for entry in reads:
        keys.update(entry.keys)
        unread_usage.update(entry.unread_usage)
    rejections = [
        replace(rejection, line=lines + rejection.line)
        for entry, lines in zip(reads, before, strict=True)
        for rejection in entry.rejections
    ]
    return InputSummary(
        path=reads[0].part.source.name,
        format=reads[0].format,
        vocabularies=tuple(sorted(frozenset().union(*(entry.vocabularies for entry in reads)))),
        bytes=sum(entry.bytes for entry in reads),
        records=sum(entry.records for entry in reads),
        spans=sum(entry.spans for entry in reads),
        rejected=sum(entry.rejected for entry in reads),
        rejections=tuple(rejections[:KEPT_REJECTIONS]),
        start_ns=min((entry.start_ns for entry in reads if entry.start_ns is not None), default=None),
        end_ns=max((entry.end_ns for entry in reads if entry.end_ns is not None), default=None),
        notes=tuple(_notes(reads)),
        recognition=reads[0].recognition,
        scopes=_scopes(reads),
        keys=tuple(keys[code] for code in sorted(keys)),
        unread_usage=tuple(UnreadKey(key, spans) for key, spans in _most_first(unread_usage)),
    )


def _notes(reads: Sequence[PartRead]) -> Iterator[str]:
    records, spans = sum(entry.records for entry in reads), sum(entry.spans for entry in reads)
    form = next((form for form in FORMATS if form.name == reads[0].format), None)
    if form and form.caution:
        yield form.caution
    if not spans and any(entry.log_requests for entry in reads):
        yield "OTLP logs, of which none tells of a model call: export the traces"
    if form and form.cap and form.cap in (records, spans):
        yield f"{form.cap:,} rows, at which such exports are cut off: there may be more calls"


def _scopes(reads: Sequence[PartRead]) -> tuple[ScopeSeen, ...]:
    """Scopes by the spans that came from them."""
    spans: Counter[str] = Counter()
    versions: dict[str, set[str]] = {}
    for entry in reads:
        spans.update(entry.scopes)
        for name, found in entry.scope_versions.items():
            versions.setdefault(name, set()).update(found)
    return tuple(
        ScopeSeen(name, tuple(sorted(versions.get(name, ()))[:KEPT_VERSIONS]), count)
        for name, count in _most_first(spans)
    )


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


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
