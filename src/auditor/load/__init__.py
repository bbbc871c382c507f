"""Reads inputs into columns: only this package knows formats.

A format is a module with a reader (``read(record, line, byte)`` into a ``BatchBuilder``) and one entry in
``auditor.load.formats`` that says how it is recognised. Inputs are read in parts: ``plan_parts`` cuts them,
``read_part`` reads one and hands on its batches, ``join_parts`` puts together what else was found out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter

from auditor.errors import InputError
from auditor.load.joined import Loaded, join_parts
from auditor.load.parts import Part, PartRead, PartReader, plan_parts, read_part, unread
from auditor.model.lexicon import Lexicon
from auditor.model.mapping import SourceMapping
from auditor.model.spans import Batch

__all__ = ["Loaded", "Part", "PartRead", "PartReader", "join_parts", "load", "plan_parts", "read_part", "unread"]


def load(
    paths: Sequence[str],
    lexicon: Lexicon,
    *,
    explain_trace: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    may_all_fail: bool = False,
    mappings: Sequence[SourceMapping] = (),
    part_bytes: int | None = None,
) -> Loaded:
    """Read all inputs; ``progress`` hears of bytes and spans done.

    A file that was found in a directory or by a pattern and cannot be read counts as rejected, and the others are
    audited. What no format fits is read by one of ``mappings``. Raises ``InputError`` for one that was named, and when
    none can be read; with ``may_all_fail``, only where there is no file at all. With ``part_bytes``, files are read
    in ranges of up to so many bytes where they can be: what is read stays the same.
    """
    reads: list[PartRead] = []
    all_batches: list[Batch] = []
    done = 0, 0

    def hear(size: int, spans: int) -> None:
        if progress is not None:
            progress(done[0] + size, done[1] + spans)

    heard = None if progress is None else hear
    reader = PartReader(lexicon, explain_trace=explain_trace, mappings=mappings)
    for _, group in groupby(plan_parts(paths, mappings, part_bytes=part_bytes), key=attrgetter("input")):
        parts = list(group)
        before = done
        batches: list[Batch] = []
        found: list[PartRead] = []
        try:
            for part in parts:
                entry = reader.read(part, batches.append, heard)
                if entry.must_be_whole:
                    batches.clear()
                    done = before
                    found = [reader.read(part.whole(), batches.append, heard)]
                    break
                found.append(entry)
                done = done[0] + entry.bytes, done[1] + entry.spans
        except InputError as error:
            found = [unread(parts[0], error, may_fail=may_all_fail)]
            batches.clear()
        done = (
            before[0] + sum(entry.bytes for entry in found),
            before[1] + sum(entry.spans for entry in found),
        )
        reads += found
        all_batches += batches
    loaded = join_parts(reads, may_all_fail=may_all_fail)
    loaded.batches = all_batches
    return loaded
