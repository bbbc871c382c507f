"""Finds inputs, opens and decompresses them, and cuts them into records.

A record is one JSON value with its line and byte in the decompressed input. Three framings are read alike: one
value, one value a line, several values back to back.
"""

from __future__ import annotations

import bz2
import contextlib
import glob
import importlib
import mmap
import re
import stat
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import numpy as np

from auditor.errors import InputError, SettingsError

HEAD = 64 << 10
"""Bytes that are looked at to recognise a format."""
CHUNK = 8 << 20
STEP = 4 << 10
"""Compressed bytes that are inflated at a time: even at the best ratio that zstd reaches, about 130 MB come out."""
MAX_RECORD = 2 << 30
"""A single JSON value above this many bytes is refused rather than held in memory."""
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
BZIP2 = b"BZh"
ZIP = b"PK\x03\x04"
BOM = b"\xef\xbb\xbf"
SPACE = 0x20
STDIN = "-"
DUCKDB = "duckdb:"
"""Scheme of a table in a database: ``duckdb:///file.db?table=otel_traces``, with four slashes for an absolute path."""
DUCKDB_TABLE = "otel_traces"
DUCKDB_MAGIC = b"DUCK"
DUCKDB_AT = 8

Record = tuple[bytes | memoryview, int, int]
"""Bytes of one JSON value, its 1-based line, its byte offset."""

LINES = 1 << 18
"""Bytes of lines that are read at once: few enough to stay in the processor's cache."""
SHORT = 8
"""A line of so few bytes is looked at closely."""

_skip = msgspec.json.Decoder(msgspec.Raw)
_BLANK = re.compile(rb"[ \t\r\n]*")
_LONE_SURROGATE = re.compile(rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F])")
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


class Lines(NamedTuple):
    """Lines that follow each other, each of which begins and ends like one JSON object.

    If they are JSON, no line end lies inside of a value: what closes an object is never followed by what opens one.
    So it is with objects that are printed over many lines, which come like this too to readers that take them.
    """

    data: memoryview
    ends: list[int]
    """Where each line ends in the data, behind its line end."""
    line: int
    """1-based number of the first one."""
    byte: int
    """Its byte offset in the input: readers of spans say where each one comes from."""
    numbers: Sequence[int]
    """Of each one the number of its line, or of the first of its lines."""


TakeLines = Callable[[Lines], Collection[int]]
"""Reads lines at once; says by number, in order, which of them have to come one by one."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input: a file, or standard input."""

    name: str
    """As the user gave it; shown in reports."""
    path: Path | None
    is_found: bool = False
    """Found in a directory or by a pattern, and not named by the user."""
    table: str = ""
    """Of a database, the table that the user named."""

    @property
    def size(self) -> int:
        """Bytes on disk; 0 for standard input."""
        return self.path.stat().st_size if self.path else 0


def find(paths: Sequence[str]) -> list[Source]:
    """Expand files, directories, globs, ``-`` and tables, sorted by name within each argument, each file once.

    Raises ``InputError`` for an argument that leads to no readable file.
    """
    sources: list[Source] = []
    seen: set[Path] = set()
    for text in paths:
        if text == STDIN:
            if Path(STDIN) not in seen:
                seen.add(Path(STDIN))
                sources.append(Source("<stdin>", None))
            continue
        if text.startswith(DUCKDB):
            sources.append(_table(text))
            continue
        for path in _expand(text):
            resolved = path.resolve()
            if resolved not in seen:
                seen.add(resolved)
                sources.append(Source(str(path), path, is_found=str(path) != str(Path(text))))
    return sources


def _table(text: str) -> Source:
    """A table of a database; raises ``InputError`` when there is no such database."""
    parts = urlsplit(text)
    options = parse_qs(parts.query)
    unknown = sorted(options.keys() - {"table"})
    if parts.netloc or not parts.path.startswith("/") or unknown:
        raise InputError(f"{text[:200]}: not of the form {DUCKDB}///FILE?table=TABLE")
    name = unquote(parts.path)
    path = Path(name[1:])
    if not path.is_file() and Path(name).is_file():
        path = Path(name)
    try:
        with path.open("rb") as file:
            is_database = file.read(DUCKDB_AT + len(DUCKDB_MAGIC))[DUCKDB_AT:] == DUCKDB_MAGIC
    except OSError as error:
        raise InputError(f"{text[:200]}: {error.strerror}") from error
    if not is_database:
        raise InputError(f"{text[:200]}: not a DuckDB database")
    return Source(text, path, table=options.get("table", [DUCKDB_TABLE])[-1])


def _expand(text: str) -> list[Path]:
    path = Path(text)
    try:
        if path.is_dir():
            # The walk has to fail on a directory that cannot be listed, which rglob would pass over.
            found = sorted(_walk(path, set()))
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
        matches = glob.glob(text, recursive=True)  # noqa: PTH207  # a pattern may be absolute
        found = sorted(Path(match) for match in matches if Path(match).is_file())
        if found:
            return found
        raise InputError(f"{text}: no file matches")
    raise InputError(f"{text}: no such file or directory")


def _walk(directory: Path, seen: set[Path]) -> Iterator[Path]:
    """Files below a directory without hidden ones; each directory once, whatever links lead to it."""
    resolved = directory.resolve()
    if resolved in seen:
        return
    seen.add(resolved)
    for inner in directory.iterdir():
        if inner.name.startswith("."):
            continue
        if inner.is_dir():
            yield from _walk(inner, seen)
        elif inner.is_file():
            yield inner


class ByteStream(Protocol):
    """Bytes in order; empty at the end."""

    def read(self, size: int = ..., /) -> bytes:
        """Read up to so many bytes."""


class Opened:
    """An input that is open for reading, decompressed on the way.

    Of a plain file a range can be asked for. It owns the lines that begin in it, so that ranges side by side have
    each line once.
    """

    def __init__(self, source: Source, keys: Collection[str] = (), *, start: int = 0, end: int | None = None) -> None:
        """Open an input, or what of it begins at byte ``start`` or later and before ``end``."""
        self.source = source
        self.keys = keys
        """Attribute keys that somebody asks for: a store can leave the others where they are."""
        self.start = start
        self.end = end
        self.lines = 0
        """Line ends of a range, once it has been read."""
        self.bytes_read = 0
        self.line = 1
        """Line of the record that was read last."""
        self.take_lines: TakeLines | None = None
        """Gets lines before they are yielded as records; may be set while records are read."""
        self.take_printed: TakeLines | None = None
        """The same for objects that are printed over many lines."""
        self._stream: ByteStream | None = None
        self._map: mmap.mmap | None = None
        self._peeked = b""
        self._broken: BrokenCompressionError | None = None
        self._searched = 0
        try:
            self._open()
        except PermissionError as error:
            raise InputError(f"{source.name}: no permission to read it") from error
        except OSError as error:
            raise InputError(f"{source.name}: {error.strerror or error}") from error

    def _open(self) -> None:
        raw: IO[bytes] = self.source.path.open("rb") if self.source.path else sys.stdin.buffer
        self._raw = raw
        # A pipe (``<(zcat traces.gz)``) can be read once only.
        is_file = self.source.path is not None and stat.S_ISREG(self.source.path.stat().st_mode)
        head = _read_up_to(raw, HEAD)
        if head.startswith(GZIP):
            self._stream = _Inflated(_Rejoined(head, raw), _gzip_member)
        elif head.startswith(ZSTD):
            self._stream = _Inflated(_Rejoined(head, raw), _zstd_frame())
        elif head.startswith(BZIP2):
            self._stream = _Inflated(_Rejoined(head, raw), bz2.BZ2Decompressor)
        elif head.startswith(ZIP):
            self.close()
            raise InputError(f"{self.source.name}: a zip archive", hint="unpack it, then audit the directory")
        elif head and is_file:
            self._map = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        else:
            self._stream = _Rejoined(head, raw)
        if self._stream is not None:
            self._peeked = self._read(HEAD)

    @property
    def is_plain_file(self) -> bool:
        """Whether the input is a file that lies there as it is read."""
        return self._map is not None

    def head(self) -> bytes:
        """First bytes of the decompressed input."""
        return self._map[:HEAD] if self._map is not None else self._peeked

    def first_record(self, limit: int) -> tuple[bytes, int] | None:
        """The first record of a plain file that is more than an empty object, and its byte.

        ``None`` unless it is a line by itself, as all before it, and ends within ``limit`` bytes.
        """
        if self._map is None:
            return None
        at = len(BOM) if self._map[: len(BOM)] == BOM else 0
        is_first = True
        while True:
            with memoryview(self._map) as view:
                at = _end_of_blank(view, at)
            end = self._map.find(b"\n", at, limit)
            if end < 0:
                return None
            record = self._map[at:end]
            if not _is_complete(record, is_first):
                return None
            if not is_empty(record):
                return record, at
            at, is_first = end + 1, False

    def close(self) -> None:
        """Release the file; standard input stays open."""
        if self._map is not None:
            # A record that is still referenced keeps the map open until it goes.
            with contextlib.suppress(BufferError):
                self._map.close()
        if self.source.path is not None:
            self._raw.close()

    def _read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; where the data breaks off, what came before, and then nothing."""
        stream = self._stream
        parts = []
        while size > 0 and stream is not None and self._broken is None:
            try:
                part = stream.read(size)
            except BrokenCompressionError as error:
                self._broken = error
                break
            except OSError as error:
                self._broken = BrokenCompressionError(f"reading breaks off: {error.strerror or error}")
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def read(self, size: int) -> bytes:
        """Read on from where the last call ended, up to ``size`` bytes, fewer at the end.

        For formats that cut their records themselves; not to be mixed with ``records``. Raises
        ``BrokenCompressionError`` at the end of compressed data that breaks off.
        """
        if self._map is not None:
            part = self._map[self.bytes_read : self.bytes_read + size]
            start = self.bytes_read
            self.bytes_read += len(part)
            if start // CHUNK != self.bytes_read // CHUNK:
                _give_back(self._map, start // CHUNK * CHUNK, self.bytes_read)
            return part
        part, self._peeked = self._peeked[:size], self._peeked[size:]
        if len(part) < size:
            part += self._read(size - len(part))
        self.bytes_read += len(part)
        if len(part) < size and self._broken is not None:
            raise self._broken
        return part

    def records(self) -> Iterator[Record]:
        """Yield every JSON value; a value that breaks off comes as it is, for the reader to reject.

        Lines of a range count from its first. Raises ``BrokenCompressionError`` at the end of compressed data that
        breaks off, ``CrossingError`` where a value of a range goes on in the next one.
        """
        try:
            if self._map is not None:
                yield from self._mapped_records(self._map)
            else:
                yield from self._streamed_records()
        except MemoryError as error:
            raise InputError(
                f"{self.source.name}: a single JSON value near byte {self.bytes_read} does not fit into memory"
            ) from error

    def _mapped_records(self, mapped: mmap.mmap) -> Iterator[Record]:
        size = len(mapped)
        view = memoryview(mapped)
        first = len(BOM) if mapped[: len(BOM)] == BOM else 0
        start = _line_from(mapped, self.start)
        stop = size if self.end is None else _line_from(mapped, self.end)
        line = 1
        given_back = start // mmap.PAGESIZE * mmap.PAGESIZE
        is_first = start <= _end_of_blank(view, first)
        start = max(start, first)
        try:
            while start < stop:
                if mapped[start] <= SPACE:
                    blank = min(_end_of_blank(view, start), stop)
                    if blank > start:
                        line += _newlines(view[start:blank])
                        start = blank
                        continue
                if not is_first and (cut := self._cut(mapped, view, start, stop, line)) is not None:
                    for at, end, number in _refused(cut, view, start, start):
                        with view[at:end] as record:
                            yield from values_in(record, number, at) if cut.are_printed else [(record, number, at)]
                    line = cut.numbers[-1]
                    self.bytes_read = start = cut.ends[-1]
                    if start - given_back >= CHUNK:
                        given_back = _give_back(mapped, given_back, start)
                    continue
                is_line = mapped[start : start + 2] != PRINTED
                if is_line:
                    end = mapped.find(b"\n", start)
                    end = size if end < 0 else end
                    record = view[start:end]
                    # Alone in the file, or on the last line, a value needs no second look.
                    is_line = end + 1 >= size or _is_complete(record, is_first)
                    if not is_line:
                        record.release()
                if not is_line:
                    end = _end_of_value(view, start)
                    if end > stop:
                        raise CrossingError
                    record = view[start:end]
                is_first = False
                yield record, line, start
                line += 1 if is_line else _newlines(record)
                record.release()
                self.bytes_read = end
                start = end + 1 if is_line else end
                if start - given_back >= CHUNK:
                    given_back = _give_back(mapped, given_back, start)
        finally:
            # A reader that is interrupted still looks at its record; the view goes with it.
            with contextlib.suppress(BufferError):
                view.release()
            self.bytes_read = stop
            self.lines = line - 1

    def _streamed_records(self) -> Iterator[Record]:
        window: bytes | bytearray = self._peeked.removeprefix(BOM)
        line, dropped = 1, len(self._peeked) - len(window)
        self._peeked = b""
        start = searched = 0
        is_first, at_end = True, False
        while True:
            if start < len(window) and window[start] <= SPACE:
                blank = _end_of_blank(window, start)
                line += window.count(b"\n", start, blank)
                start = blank
            with memoryview(window) as view:
                cut = None if is_first else self._cut(window, view, start, len(window), line)
                refused = [] if cut is None else _refused(cut, view, start, dropped + start)
            if cut is not None:
                for at, end, number in refused:
                    self.line = number
                    value = bytes(window[at:end])
                    whole = [(value, number, dropped + at)]
                    yield from values_in(memoryview(value), number, dropped + at) if cut.are_printed else whole
                line = cut.numbers[-1]
                start = searched = cut.ends[-1]
                continue
            end = window.find(b"\n", max(start, searched))
            if end < 0 and not at_end:
                start = min(start, len(window))
                dropped += start
                window, start = self._more(window[start:] if start else window), 0
                searched = self._searched
                at_end = searched == len(window)
                self.bytes_read = dropped
                if len(window) > CHUNK and window[0] not in b"{[" and window.find(b"\n") < 0:
                    yield bytes(window[:HEAD]), line, dropped
                    window, lost = self._without_line(window)
                    dropped += lost
                    searched = 0
                    is_first = at_end = False
                continue
            if start >= len(window):
                break
            end = len(window) if end < 0 else end
            record = window[start:end] if start or end < len(window) else window
            is_line = end == len(window) or _is_complete(record, is_first)
            while not is_line:
                # The value goes on, or breaks off; reading on tells which.
                found = _try_end(window, start)
                if found is None and not at_end:
                    window = self._more(window)
                    at_end = self._searched == len(window)
                    continue
                end = _next_opening(window, start) if found is None else found
                record = window[start:end]
                break
            is_first = False
            self.line = line
            yield memoryview(record) if isinstance(record, bytearray) else record, line, dropped + start
            line += 1 if is_line else record.count(b"\n")
            start = searched = end + 1 if is_line else end
        self.bytes_read = dropped + len(window)
        if self._broken is not None:
            raise self._broken

    def _cut(
        self, data: bytes | bytearray | mmap.mmap, view: memoryview, start: int, stop: int, line: int
    ) -> Cut | None:
        """Values from ``start`` on that are to be taken at once; ``None`` when the next one is to come by itself."""
        if self.take_lines is not None and (ends := _ends_of_lines(data, start, stop)):
            return Cut(self.take_lines, ends, range(line, line + len(ends) + 1))
        if self.take_printed is not None and data[start : start + len(PRINTED)] == PRINTED:
            ends, numbers = _printed(view[start : min(start + LINES, stop)], start, line)
            return Cut(self.take_printed, ends, numbers, are_printed=True) if ends else None
        return None

    def _more(self, window: bytes | bytearray) -> bytes | bytearray:
        """Read on, twice as much each time that a value does not end; nothing is added at the end of the input.

        A window with whole lines comes as bytes, of which lines are cut at least cost; a growing one as it grows.
        """
        self._searched = before = len(window)
        grown = window if isinstance(window, bytearray) else bytearray(window)
        wanted = max(CHUNK, before)
        while wanted > 0 and (part := self._read(min(wanted, CHUNK))):
            grown += part
            wanted -= len(part)
            if len(grown) > MAX_RECORD:
                raise InputError(f"{self.source.name}: a single JSON value is larger than {MAX_RECORD >> 30} GiB")
        return bytes(grown) if grown.find(b"\n", before) >= 0 else grown

    def _without_line(self, window: bytes | bytearray) -> tuple[bytes, int]:
        """Leave out the rest of a line that cannot be JSON; says how many bytes that was."""
        lost = 0
        while (end := window.find(b"\n")) < 0:
            lost += len(window)
            window = self._read(CHUNK)
            if not window:
                return b"", lost
        return bytes(window[end:]), lost + end


class CrossingError(Exception):
    """A value begins in one range of a file and ends in another: the file has to be read as a whole."""


class BrokenCompressionError(Exception):
    """A compressed stream that breaks off; what came before has been read."""


class BrokenFrameError(BrokenCompressionError):
    """A binary input that breaks off, or whose framing leads nowhere; what came before has been read."""


class _Rejoined:
    """A stream whose first bytes have been looked at."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._rest.read(size)
        head, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
        return head


class _Inflated:
    """Decompresses one member after the other and keeps what came before a break."""

    def __init__(self, raw: ByteStream, member: Any) -> None:
        self._raw = raw
        self._new_member = member
        self._member = member()
        self._has_begun = False
        self._waiting = b""
        self._ready = b""
        self._taken = 0

    def read(self, size: int = -1, /) -> bytes:
        while self._taken == len(self._ready):
            self._taken = 0
            self._ready = b""
            if not self._waiting:
                self._waiting = self._raw.read(STEP)
                if not self._waiting:
                    if self._has_begun:
                        raise BrokenCompressionError("the compressed data ends before its end mark")
                    return b""
            self._inflate()
        end = len(self._ready) if size < 0 else self._taken + size
        part = self._ready[self._taken : end]
        self._taken += len(part)
        return part

    def _inflate(self) -> None:
        data, self._waiting = self._waiting, b""
        if not self._has_begun:
            # Zeros between and after members are padding.
            data = data.lstrip(b"\0")
            if not data:
                return
            self._has_begun = True
        try:
            self._ready = self._member.decompress(data)
        except Exception as error:
            if not isinstance(error, zlib.error | OSError) and type(error).__name__ != "ZstdError":
                raise
            raise BrokenCompressionError(f"the compressed data breaks off: {error}") from error
        if self._member.eof:
            self._waiting = self._member.unused_data
            self._member = self._new_member()
            self._has_begun = False


def _gzip_member() -> Any:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _zstd_frame() -> Callable[[], Any]:
    import zstandard  # noqa: PLC0415  # only for what is compressed so

    make: Callable[[], Any] = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj
    return make


def extra(module: str, name: str, source: str, what: str) -> Any:
    """Import a module that an extra of the package brings; raises ``SettingsError`` naming the extra without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f"{source}: reading {what} needs the {name} extra", hint=f"pip install 'trace-auditor[{name}]'"
        ) from error


def _read_up_to(stream: ByteStream, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


_BRACKET_OF_LINE = re.compile(rb"\n[{}\[\]]")
_BETWEEN = re.compile(rb"\}\s*+(?=\{|\Z)")
OPENING = ord("{")
PRINTED = b"{\n"
"""How an object begins that is printed over many lines."""
CLOSING = ord("}")
LINE_END = ord("\n")


def _end_of_blank(data: bytes | bytearray | memoryview, start: int) -> int:
    found = _BLANK.match(data, start)
    return found.end() if found else start


def is_empty(record: bytes | memoryview) -> bool:
    """Say whether a record is a request without content, which says nothing about the format of the others."""
    return bytes(record[:3]).strip() in {b"{}", b"[]"}


class Cut(NamedTuple):
    """Values that are to be taken at once."""

    take: TakeLines
    ends: list[int]
    numbers: Sequence[int]
    """The line of each, and the one behind the last."""
    are_printed: bool = False


def _refused(cut: Cut, view: memoryview, start: int, byte: int) -> list[tuple[int, int, int]]:
    """Have values read at once; begin and end in the view, and line, of those that were not.

    The first one begins at ``start`` in the view, and at ``byte`` in the input.
    """
    ends, numbers = cut.ends, cut.numbers
    data = view[start : ends[-1]]
    refused = cut.take(Lines(data, [end - start for end in ends], numbers[0], byte, numbers[:-1]))
    # Not so when the reader is interrupted: it still looks at its lines, and the view goes with it.
    data.release()
    return [(ends[number - 1] if number else start, ends[number] - 1, numbers[number]) for number in refused]


def _ends_of_lines(data: bytes | bytearray | mmap.mmap, start: int, stop: int) -> list[int]:
    """Where lines end, behind their line ends, that each begin and end like an object; up to one that does not.

    None of them begins at ``stop`` or later.
    """
    ends: list[int] = []
    find = data.find
    at, stop = start, min(start + LINES, stop)
    while at < stop and data[at] == OPENING:
        end = find(b"\n", at)
        if end - at <= SHORT or data[end - 1] != CLOSING:
            break
        at = end + 1
        ends.append(at)
    return ends


def _printed(text: memoryview, start: int, line: int) -> tuple[list[int], list[int]]:
    """Where objects end that are printed over many lines, behind the line end, each followed by another one.

    The first one begins with the text, at ``start`` and in this line. With the line of each, and the one behind the
    last. A broken object may come together with the next.
    """
    letters = np.frombuffer(text, dtype=np.uint8)
    line_ends = np.flatnonzero(letters == LINE_END)
    brackets = np.flatnonzero(np.diff(line_ends) == len(PRINTED))
    # Lines of one letter, counted behind the first line.
    letter = letters[line_ends[brackets] + 1]
    is_last = (letter[:-1] == CLOSING) & (letter[1:] == OPENING) & (np.diff(brackets) == 1)
    last = brackets[:-1][is_last] + 1
    return (line_ends[last] + start + 1).tolist(), [line, *(last + line + 1).tolist()]


def _is_complete(record: bytes | bytearray | memoryview, exactly: bool) -> bool:
    """Say whether a line can be a whole JSON value: cheap for the usual line, exact where it matters."""
    head = bytes(record[:64])
    if head in {b"{", b"["}:
        # The first line of a value that was printed over many.
        return False
    tail = bytes(record[-64:]).rstrip()
    if not exactly and tail.endswith((b"}", b"]")) and head.startswith((b"{", b"[")) and len(record) > 8:
        return True
    try:
        _skip.decode(record)
    except (msgspec.DecodeError, RecursionError) as error:
        return "truncated" not in str(error)
    return True


def values_in(view: memoryview, line: int, byte: int) -> Iterator[Record]:
    """Cut a record that holds several values back to back; a broken one ends before a line that opens the next."""
    start = 0
    while True:
        blank = _end_of_blank(view, start)
        line += _newlines(view[start:blank])
        start = blank
        if start >= len(view):
            return
        end = _end_of_value(view, start)
        record = view[start:end]
        yield record, line, byte + start
        line += _newlines(record)
        record.release()
        start = end


def _line_from(mapped: mmap.mmap, byte: int) -> int:
    """Where the first line begins that begins at a byte or later."""
    if byte <= 0:
        return 0
    found = mapped.find(b"\n", byte - 1)
    return len(mapped) if found < 0 else found + 1


def _give_back(mapped: mmap.mmap, start: int, end: int) -> int:
    """Let go of mapped pages that have been read: a file is not to count as memory of the process."""
    end = min(end, len(mapped)) // mmap.PAGESIZE * mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED, start, end - start)
    return end


def _newlines(record: memoryview) -> int:
    if len(record) <= CHUNK:
        return bytes(record).count(b"\n")
    return sum(bytes(record[at : at + CHUNK]).count(b"\n") for at in range(0, len(record), CHUNK))


def _end_of_value(view: memoryview, start: int) -> int:
    # Of an object printed over many lines, the end is the first bracket at the begin of a line, if an object follows:
    # inside of a value nothing else than a comma or a bracket does.
    bracket = _BRACKET_OF_LINE.search(view, start)
    if bracket and view[start] == OPENING and (between := _BETWEEN.match(view, bracket.start() + 1)):
        return between.end()
    end = _try_end(view, start)
    return _next_opening(view, start) if end is None else end


def _try_end(data: bytes | bytearray | memoryview, start: int) -> int | None:
    """Where the value that begins at ``start`` ends; ``None`` when the data ends before it does."""
    with memoryview(data) as whole, whole[start:] as rest:
        try:
            _skip.decode(rest)
        except RecursionError:
            return _next_opening(whole, start)
        except msgspec.DecodeError as error:
            message = str(error)
        else:
            return len(whole)
        if "trailing characters" in message:
            # The message counts from 1 and names the first character after the value.
            return start + int(message.rpartition("byte ")[2].rstrip(")")) - 1
        if ("truncated" in message or "surrogate" in message) and _LONE_SURROGATE.search(rest):
            # Half an emoji, as JavaScript cuts texts, reads like the end of the data; the value goes on after it.
            end = _end_by_brackets(rest)
            return None if end is None else start + end
        return None if "truncated" in message else _next_opening(whole, start)


def _end_by_brackets(rest: memoryview) -> int | None:
    depth = 0
    for found in _TEXT_OR_BRACKET.finditer(rest):
        match rest[found.start()]:
            case 0x5B | 0x7B:
                depth += 1
            case 0x5D | 0x7D:
                depth -= 1
                if depth <= 0:
                    return found.end()
    return None


def _next_opening(view: bytes | bytearray | memoryview, start: int) -> int:
    """The next line that opens an object: a broken value goes up to there."""
    at = start
    while at < len(view):
        found = bytes(view[at : at + CHUNK]).find(b"\n{")
        if found >= 0:
            return at + found + 1
        at += CHUNK - 1
    return len(view)
