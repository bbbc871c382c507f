"""Tells the format of an input: by the mapping that names it, by its first bytes, or by its first record."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from auditor.errors import InputError
from auditor.load.csv_rows import header_of
from auditor.load.declared import mapped_as, mapped_by_name, mapped_document, mapped_table
from auditor.load.formats import FORMATS, REFUSED, Format
from auditor.load.rows import rows_in
from auditor.load.sources import Record, Source
from auditor.model.mapping import SourceMapping
from auditor.model.report import Recognition

DRAFTS = "for a log of calls, audit doctor FILE drafts a mapping"


def framed(source: Source, head: bytes, mappings: Sequence[SourceMapping] = ()) -> Format | None:
    """The format of an input whose name or first bytes tell it already; ``None`` where its first record has to."""
    form = mapped_by_name(source.name, mappings, head) or next(
        (entry for entry in FORMATS if entry.is_framed_as and entry.is_framed_as(head)), None
    )
    return mapped_table(mappings, head) if form is None and mappings and header_of(head) else form


def format_named(name: str, head: bytes, mappings: Sequence[SourceMapping] = ()) -> Format:
    """The format with this name; of an input that a mapping reads, for an input that begins like ``head``."""
    form = next((entry for entry in FORMATS if entry.name == name), None)
    return form or mapped_as(name, mappings, head)


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
