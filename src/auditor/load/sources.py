"""Finds inputs, opens and decompresses them, and cuts them into records.

A record is one JSON value with its line and byte in the decompressed input. Three framings are read alike: one
value, one value a line, several values back to back.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import mmap
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import msgspec

from auditor.errors import InputError, SettingsError

HEAD = 64 << 10
"""Bytes that are looked at to recognise a format."""
CHUNK = 8 << 20
MAX_RECORD = 2 << 30
"""A single JSON value above this many bytes is refused rather than held in memory."""
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
STDIN = "-"

Record = tuple[bytes | memoryview, int, int]
"""Bytes of one JSON value, its 1-based line, its byte offset."""

_skip = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Source:
    """One input: a file, or standard input."""

    name: str
    """As the user gave it; shown in reports."""
    path: Path | None

    @property
    def size(self) -> int:
        """Bytes on disk; 0 for standard input."""
        return self.path.stat().st_size if self.path else 0


def find(paths: Sequence[str]) -> list[Source]:
    """Expand files, directories, globs and ``-``, sorted by name within each argument, each file once.

    Raises ``InputError`` for an argument that leads to no readable file.
    """
    sources: list[Source] = []
    seen: set[Path] = set()
    for text in paths:
        if text == STDIN:
            sources.append(Source("<stdin>", None))
            continue
        for path in _expand(text):
            resolved = path.resolve()
            if resolved not in seen:
                seen.add(resolved)
                sources.append(Source(str(path), path))
    return sources


def _expand(text: str) -> list[Path]:
    path = Path(text)
    try:
        if path.is_dir():
            # The walk has to fail on a directory that cannot be listed, which rglob would pass over.
            found = sorted(
                inner for inner in _walk(path) if inner.is_file() and not inner.name.startswith(".")
            )
            if not found:
                raise InputError(f"{text}: the directory holds no files")
            return found
        if path.exists():
            return [path]
    except PermissionError as error:
        raise InputError(f"{error.filename or text}: no permission to read it") from error
    except OSError as error:
        raise InputError(f"{text[:200]}: {error.strerror}") from error
    if glob.has_magic(text):
        found = sorted(Path(match) for match in glob.glob(text, recursive=True) if Path(match).is_file())
        if found:
            return found
        raise InputError(f"{text}: no file matches")
    raise InputError(f"{text}: no such file or directory")


def _walk(directory: Path) -> Iterator[Path]:
    for inner in directory.iterdir():
        if inner.is_dir():
            yield from _walk(inner)
        else:
            yield inner


class Opened:
    """An input that is open for reading, decompressed on the way."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.bytes_read = 0
        self._stream: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._peeked = b""
        try:
            self._open()
        except PermissionError as error:
            raise InputError(f"{source.name}: no permission to read it") from error
        except OSError as error:
            raise InputError(f"{source.name}: {error.strerror or error}") from error

    def _open(self) -> None:
        raw: IO[bytes] = self.source.path.open("rb") if self.source.path else sys.stdin.buffer
        self._raw = raw
        if self.source.path is None:
            head = _read_up_to(raw, HEAD)
            self._peeked = head
        else:
            head = raw.read(HEAD)
            raw.seek(0)
        if head.startswith(GZIP):
            self._stream = cast("IO[bytes]", gzip.GzipFile(fileobj=_Rejoined(self._take_peeked(), raw)))
        elif head.startswith(ZSTD):
            self._stream = _zstd_stream(_Rejoined(self._take_peeked(), raw), self.source.name)
        elif self.source.path is None or not head:
            self._stream = cast("IO[bytes]", _Rejoined(self._take_peeked(), raw))
        else:
            self._map = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        if self._stream is not None:
            self._peeked = self._guarded_read(HEAD)

    def _take_peeked(self) -> bytes:
        peeked, self._peeked = self._peeked, b""
        return peeked

    def head(self) -> bytes:
        """First bytes of the decompressed input."""
        return self._map[:HEAD] if self._map is not None else self._peeked

    def close(self) -> None:
        """Release the file; standard input stays open."""
        if self._map is not None:
            # A record that is still referenced keeps the map open until it goes.
            with contextlib.suppress(BufferError):
                self._map.close()
        if self.source.path is not None:
            self._raw.close()

    def _guarded_read(self, size: int) -> bytes:
        assert self._stream is not None
        try:
            return _read_up_to(self._stream, size)
        except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
            raise BrokenCompressionError(f"the compressed data ends or breaks off: {error}") from error
        except Exception as error:
            if type(error).__module__.startswith(("zstandard", "_zstd", "zstd")):
                raise BrokenCompressionError(f"the compressed data ends or breaks off: {error}") from error
            raise

    def records(self) -> Iterator[Record]:
        """Yield every JSON value; a value that breaks off at the end comes as it is, for the reader to reject."""
        if self._map is not None:
            yield from self._mapped_records(self._map)
            return
        yield from self._streamed_records()

    def _mapped_records(self, mapped: mmap.mmap) -> Iterator[Record]:
        size = len(mapped)
        view = memoryview(mapped)
        start = 3 if mapped[:3] == b"\xef\xbb\xbf" else 0
        line = 1
        try:
            while start < size:
                end = mapped.find(b"\n", start)
                end = size if end < 0 else end
                record = view[start:end]
                try:
                    if not _is_blank(record):
                        if end < size and not _is_complete(record):
                            yield from _values(view, start, line, self)
                            return
                        yield record, line, start
                finally:
                    record.release()
                self.bytes_read = end
                start = end + 1
                line += 1
        finally:
            view.release()
            self.bytes_read = size

    def _streamed_records(self) -> Iterator[Record]:
        pending = self._peeked.removeprefix(b"\xef\xbb\xbf")
        line, byte = 1, 0
        more = True
        while more:
            try:
                chunk = self._guarded_read(CHUNK)
            except BrokenCompressionError:
                if pending.strip():
                    yield pending, line, byte
                raise
            more = bool(chunk)
            pending += chunk
            if len(pending) > MAX_RECORD:
                raise InputError(f"{self.source.name}: a single JSON value is larger than {MAX_RECORD >> 30} GiB")
            start = 0
            while (end := pending.find(b"\n", start)) >= 0:
                record = pending[start:end]
                if record.strip():
                    if not _is_complete(record):
                        pending += self._rest()
                        view = memoryview(pending)
                        for value, at_line, at_byte in _values(view, start, line, self):
                            yield value, at_line, byte + at_byte
                        return
                    yield record, line, byte + start
                start = end + 1
                line += 1
            byte += start
            pending = pending[start:]
            self.bytes_read = byte
        if pending.strip():
            yield pending, line, byte

    def _rest(self) -> bytes:
        parts = []
        size = 0
        while chunk := self._guarded_read(CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_RECORD:
                raise InputError(f"{self.source.name}: a single JSON value is larger than {MAX_RECORD >> 30} GiB")
        return b"".join(parts)


class BrokenCompressionError(Exception):
    """A compressed stream that breaks off; what came before has been read."""


class _Rejoined:
    """A stream whose first bytes have been looked at."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._rest.read(size)
        if size < 0:
            head, self._head = self._head, b""
            return head + self._rest.read()
        head, self._head = self._head[:size], self._head[size:]
        return head

    def readable(self) -> bool:
        return True


def _zstd_stream(raw: _Rejoined, name: str) -> IO[bytes]:
    try:
        import zstandard  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SettingsError(
            f"{name}: reading .zst needs the zstd extra", hint="pip install 'trace-auditor[zstd]'"
        ) from error
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    return cast("IO[bytes]", decompressor.stream_reader(cast("IO[bytes]", raw), read_across_frames=True))


def _read_up_to(stream: IO[bytes] | _Rejoined, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _is_blank(record: memoryview) -> bool:
    return len(record) < 64 and not bytes(record).strip()


def _is_complete(record: bytes | memoryview) -> bool:
    """Say whether a line can be a whole JSON value: cheap for the usual line, exact for the others."""
    tail = bytes(record[-64:]).rstrip()
    head = bytes(record[:64]).lstrip()
    if tail.endswith((b"}", b"]")) and head.startswith((b"{", b"[")) and len(record) > 8:
        return True
    try:
        _skip.decode(record)
    except (msgspec.DecodeError, RecursionError) as error:
        return "truncated" not in str(error)
    return True


def values_in(view: memoryview, line: int, byte: int) -> Iterator[Record]:
    """Cut a record that holds several values back to back."""
    yield from ((value, at_line, byte + at_byte) for value, at_line, at_byte in _values(view, 0, line, None))


def _values(view: memoryview, start: int, line: int, opened: Opened | None) -> Iterator[Record]:
    """Cut values that follow one another, or span lines; a broken value ends before the next line that opens one."""
    size = len(view)
    while True:
        while start < size and view[start] in b" \t\r\n":
            line += view[start] == 0x0A
            start += 1
        if start >= size:
            return
        end = _end_of_value(view, start)
        record = view[start:end]
        yield record, line, start
        line += _newlines(record)
        record.release()
        start = end
        if opened is not None:
            opened.bytes_read = end


def _newlines(record: memoryview) -> int:
    return sum(bytes(record[at : at + CHUNK]).count(b"\n") for at in range(0, len(record), CHUNK))


def _end_of_value(view: memoryview, start: int) -> int:
    try:
        with view[start:] as rest:
            _skip.decode(rest)
    except msgspec.DecodeError as error:
        message = str(error)
        if "trailing characters" in message:
            # The message counts from 1 and names the first character after the value.
            return start + int(message.rpartition("byte ")[2].rstrip(")")) - 1
    except RecursionError:
        pass
    else:
        return len(view)
    return _next_opening(view, start)


def _next_opening(view: memoryview, start: int) -> int:
    at = start
    while at < len(view):
        found = bytes(view[at : at + CHUNK]).find(b"\n{")
        if found >= 0:
            return at + found + 1
        at += CHUNK - 1
    return len(view)
