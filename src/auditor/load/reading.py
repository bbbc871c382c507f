"""Reads single records, and those that are almost JSON as far as they go."""

from __future__ import annotations

import re

import msgspec
import orjson

from auditor.load.builder import BatchBuilder
from auditor.load.formats import Reader
from auditor.load.sources import Record, values_in

UNREADABLE = (msgspec.DecodeError, orjson.JSONDecodeError, RecursionError, UnicodeDecodeError)
_HALF_PAIR = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


def read_record(reader: Reader, builder: BatchBuilder, record: Record) -> None:
    """Read a record, or each of the values in it; what is not JSON is rejected."""
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
