"""An OTLP/HTTP receiver on loopback: protobuf and JSON, gzip; requests go to a file as they come.

Protocol: OTLP specification, section "OTLP/HTTP". The file has the framing of the Collector's file exporter, four
bytes of length before each request, which ``auditor.load`` reads. Only traces are kept; metrics and logs are
accepted, so that their exporters do not complain, and left out. In memory are at most ``AT_ONCE`` requests.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from auditor.load.otlp_proto import LENGTH, MAX_MESSAGE

AT_ONCE = 2
"""Requests that are read at a time; others wait their turn."""
LARGEST = min(32 << 20, MAX_MESSAGE)
"""Bytes of a request, decompressed: SDKs send a few hundred spans at a time, the Collector takes 20 MiB."""
IDLE = 30.0
"""Seconds after which a connection without a request is closed."""
_PIECE = 64 << 10
_LONGEST_LINE = 256
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_TRACES, _OTHERS = "/v1/traces", frozenset({"/v1/metrics", "/v1/logs"})


class Receiver:
    """Where a command's spans go while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests = 0
        """Requests with spans that are in the file."""
        self.refused = 0
        """Requests for traces that were no OTLP, too large, or could not be written."""
        self.problem = ""
        """Why the file could not be written, if so."""
        self._secret = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._turn = threading.BoundedSemaphore(AT_ONCE)
        self._last = time.monotonic()
        self._busy = 0
        self._file: BinaryIO = path.open("wb")
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """The base address. Its path is a secret, so that other programs on this machine do not add spans."""
        return f"http://127.0.0.1:{self._server.server_port}/{self._secret}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def wait_until_quiet(self, quiet: float, longest: float) -> None:
        """Wait until nothing has come for ``quiet`` seconds, ``longest`` at most."""
        begun = time.monotonic()
        while True:
            with self._lock:
                now = time.monotonic()
                rest = 0.0 if self._busy else max(self._last, begun) + quiet - now
                is_over = not self._busy and rest <= 0
            if is_over or now - begun >= longest:
                return
            time.sleep(min(max(rest, 0.01), 0.1))

    def stop(self) -> None:
        """Answer no more, and close the file."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        with self._lock:
            self._file.close()

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Hold one of the places for a request."""
        with self._lock:
            self._busy += 1
        try:
            with self._turn:
                yield
        finally:
            with self._lock:
                self._busy -= 1
                self._last = time.monotonic()

    def keep(self, message: bytes) -> bool:
        """Write one request to the file; ``False`` where that is not possible."""
        with self._lock:
            if self._file.closed or self.problem:
                return False
            try:
                self._file.write(len(message).to_bytes(LENGTH, "big") + message)
                self._file.flush()
            except OSError as error:
                self.problem = error.strerror or str(error)
                return False
            self.requests += 1
            return True

    def refuse(self) -> None:
        """Count a request that is not kept."""
        with self._lock:
            self.refused += 1

    def is_path(self, path: str, signal: str) -> bool:
        """Say whether a request's path is that of a signal below our secret."""
        return secrets.compare_digest(path.encode("utf-8", "replace"), f"/{self._secret}{signal}".encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    """A connection that somebody keeps open does not keep us."""
    block_on_close = False
    request_queue_size = 64
    receiver: Receiver

    def handle_error(self, request: Any, client_address: Any) -> None:  # the signature is the library's
        """A client that goes away in the middle is no news."""


class _RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the signature is the library's
        """Stay silent: the terminal is the command's."""

    def do_POST(self) -> None:  # the name that the library looks for
        """Take one export request."""
        try:
            kind = self._taken()
        except _RefusedError as refusal:
            if self.server.receiver.is_path(self.path, _TRACES):
                self.server.receiver.refuse()
            self.close_connection = True  # the rest of the request was not read
            self._answer(refusal.status, "text/plain", str(refusal).encode())
            return
        # An empty message is an ExportTraceServiceResponse without rejected spans.
        self._answer(200, kind, b"{}" if kind == _JSON else b"")

    def _taken(self) -> str:
        """Keep a request; returns its media type, raises ``_RefusedError`` for what is no request."""
        receiver = self.server.receiver
        is_traces = receiver.is_path(self.path, _TRACES)
        if not is_traces and not any(receiver.is_path(self.path, signal) for signal in _OTHERS):
            raise _RefusedError(404, "no such path")
        kind = (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if kind not in {_PROTOBUF, _JSON}:
            raise _RefusedError(415, "neither protobuf nor JSON")
        with receiver.taking():
            message = self._body()
            if is_traces and _checked(message, kind) and not receiver.keep(message):
                raise _RefusedError(503, "the file cannot be written")
        return kind

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        coding = (self.headers.get("Content-Encoding") or "identity").strip().lower()
        if coding not in {"identity", "gzip"}:
            raise _RefusedError(415, "no such compression here")
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None
        found = bytearray()
        for piece in self._pieces():
            try:
                found += inflate.decompress(piece, LARGEST + 1 - len(found)) if inflate else piece
            except zlib.error as error:
                raise _RefusedError(400, "damaged gzip") from error
            if len(found) > LARGEST or (inflate and inflate.unconsumed_tail):
                raise _RefusedError(413, "too large")
        if inflate and not inflate.eof:
            raise _RefusedError(400, "the gzip breaks off")
        return bytes(found)

    def _pieces(self) -> Iterator[bytes]:
        if (self.headers.get("Transfer-Encoding") or "").strip().lower() == "chunked":
            yield from self._chunks()
            return
        length = self.headers.get("Content-Length") or ""
        if not length.isdecimal():
            raise _RefusedError(411, "no length")
        if int(length) > LARGEST:
            raise _RefusedError(413, "too large")
        yield from self._read(int(length))

    def _chunks(self) -> Iterator[bytes]:
        """Undo the chunked coding (RFC 9112, section 7.1); extensions and trailers are passed over."""
        while True:
            size = self._line().partition(b";")[0].strip()
            try:
                number = int(size, 16)
            except ValueError as error:
                raise _RefusedError(400, "a chunk without its size") from error
            if not 0 <= number <= LARGEST:
                raise _RefusedError(413, "too large")
            if number == 0:
                while self._line().strip():
                    pass
                return
            yield from self._read(number)
            self._line()

    def _line(self) -> bytes:
        line = self.rfile.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise _RefusedError(400, "the request breaks off")
        return line

    def _read(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read(min(size, _PIECE))
            if not piece:
                raise _RefusedError(400, "the request breaks off")
            size -= len(piece)
            yield piece


def _checked(message: bytes, kind: str) -> bool:
    """Say whether a request has spans to keep; raises ``_RefusedError`` when it is none."""
    if kind == _JSON:
        try:
            document = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise _RefusedError(400, "not JSON") from error
        if not isinstance(document, dict):
            raise _RefusedError(400, "not an export request")
        return bool(document.get("resourceSpans") or document.get("resource_spans"))

    from google.protobuf.message import DecodeError  # noqa: PLC0415  # heavy, and only for protobuf
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData  # noqa: PLC0415  # as above

    try:
        return bool(TracesData.FromString(message).resource_spans)
    except DecodeError as error:
        raise _RefusedError(400, "not an export request") from error
