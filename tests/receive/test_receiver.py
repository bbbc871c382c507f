"""The OTLP/HTTP receiver: what SDKs send is kept as it came, everything else is answered with an error."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from auditor.pipeline import audit
from auditor.receive import receiver as module
from auditor.receive.environment import environment_for
from auditor.receive.receiver import Receiver
from auditor.settings import Settings
from builders import call, request

PROTOBUF, JSON = "application/x-protobuf", "application/json"
Send = Callable[..., tuple[int, str, bytes]]


def message() -> bytes:
    """One call as protobuf, with the ids of the specification's example."""
    document = request(call(id="b7ad6b7169203331", trace="0af7651916cd43dd8448eb211c80319c"))
    for part in document["resourceSpans"]:
        for scope in part["scopeSpans"]:
            for span in scope["spans"]:
                span.pop("parentSpanId")
                span["traceId"], span["spanId"] = "CvdlGRbNQ92ESOshHIAxnA==", "t61rcWkgMzE="
    return json_format.ParseDict(document, TracesData()).SerializeToString()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "traces.bin")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def send(receiver: Receiver) -> Send:
    def sent(
        body: bytes, kind: str = PROTOBUF, path: str = "/v1/traces", *, method: str = "POST", **headers: str
    ) -> tuple[int, str, bytes]:
        address = urlsplit(receiver.endpoint)
        connection = HTTPConnection(str(address.hostname), address.port or 0, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, address.path + path, body, {"Content-Type": kind, **named})
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type", ""), response.read()
        finally:
            connection.close()

    return sent


def calls(receiver: Receiver) -> int:
    receiver.stop()
    return audit([str(receiver.path)], Settings()).report.totals.calls


def test_protobuf_is_kept_and_answered_in_protobuf(receiver: Receiver, send: Send) -> None:
    assert send(message()) == (200, PROTOBUF, b"")

    assert receiver.path.read_bytes() == len(message()).to_bytes(4, "big") + message()
    assert calls(receiver) == 1


def test_json_is_kept_and_answered_in_json(receiver: Receiver, send: Send) -> None:
    body = json.dumps(request(call())).encode()

    assert send(body, f"{JSON}; charset=utf-8") == (200, JSON, b"{}")

    assert calls(receiver) == 1


def test_both_may_come_mixed(receiver: Receiver, send: Send) -> None:
    send(json.dumps(request(call())).encode(), JSON)
    send(message())
    send(json.dumps(request(call(trace="third"))).encode(), JSON)

    assert receiver.requests == 3
    assert calls(receiver) == 3


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_gzip_is_undone(receiver: Receiver, send: Send, kind: str) -> None:
    body = message() if kind == PROTOBUF else json.dumps(request(call())).encode()

    assert send(gzip.compress(body), kind, Content_Encoding="gzip")[0] == 200

    assert receiver.path.read_bytes()[4:] == body
    assert calls(receiver) == 1


def test_chunks_are_put_together(receiver: Receiver) -> None:
    address = urlsplit(receiver.endpoint)
    body = gzip.compress(message())
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        head = (
            f"POST {address.path}/v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n"
            "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode())
        for piece in (body[:7], body[7:]):
            connection.sendall(f"{len(piece):x};note=1\r\n".encode() + piece + b"\r\n")
        connection.sendall(b"0\r\nTrailer: x\r\n\r\n")
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert calls(receiver) == 1


def test_one_connection_serves_many_requests(receiver: Receiver) -> None:
    address = urlsplit(receiver.endpoint)
    connection = HTTPConnection(str(address.hostname), address.port or 0, timeout=10)
    for _ in range(5):
        connection.request("POST", f"{address.path}/v1/traces", message(), {"Content-Type": PROTOBUF})
        assert connection.getresponse().read() == b""
    connection.close()

    assert receiver.requests == 5


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs"])
def test_other_signals_are_accepted_and_left_out(receiver: Receiver, send: Send, path: str) -> None:
    assert send(b"\x0a\x00", path=path)[0] == 200
    assert (receiver.requests, receiver.refused) == (0, 0)
    assert receiver.path.read_bytes() == b""


@pytest.mark.parametrize("body", [b"", TracesData().SerializeToString()])
def test_an_empty_request_is_accepted_and_leaves_nothing(receiver: Receiver, send: Send, body: bytes) -> None:
    assert send(body)[0] == 200
    assert receiver.path.read_bytes() == b""


@pytest.mark.parametrize(
    ("body", "kind", "headers", "status"),
    [
        (b"\xff\xff", PROTOBUF, {}, 400),
        (b"{", JSON, {}, 400),
        (b"[1]", JSON, {}, 400),
        (b"[" * 100_000, JSON, {}, 400),
        (b"x", "text/plain", {}, 415),
        (b"x", PROTOBUF, {"Content_Encoding": "br"}, 415),
        (b"no gzip", PROTOBUF, {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(b"\x0a\x00", mtime=0)[:-9], PROTOBUF, {"Content_Encoding": "gzip"}, 400),
        (b"", PROTOBUF, {"Content_Length": "-1"}, 411),
        (b"", PROTOBUF, {"Content_Length": str(1 << 40)}, 413),
        (b"zz\r\n", PROTOBUF, {"Transfer_Encoding": "chunked"}, 400),
        (b"fffffffff\r\n", PROTOBUF, {"Transfer_Encoding": "chunked"}, 413),
        (b"1" * 300, PROTOBUF, {"Transfer_Encoding": "chunked"}, 400),
    ],
)
def test_what_is_no_request_is_refused_and_not_kept(
    receiver: Receiver, send: Send, body: bytes, kind: str, headers: dict[str, str], status: int
) -> None:
    assert send(body, kind, **headers)[0] == status
    assert (receiver.requests, receiver.refused) == (0, 1)
    assert receiver.path.read_bytes() == b""
    assert send(message())[0] == 200


def test_a_small_request_cannot_become_a_large_one(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1 << 16)
    bomb = gzip.compress(b"\0" * (1 << 24))

    assert len(bomb) < 1 << 16
    assert send(bomb, Content_Encoding="gzip")[0] == 413


def test_only_who_knows_the_address_can_send(receiver: Receiver) -> None:
    address = urlsplit(receiver.endpoint)
    connection = HTTPConnection(str(address.hostname), address.port or 0, timeout=10)
    connection.request("POST", "/v1/traces", message(), {"Content-Type": PROTOBUF})

    assert connection.getresponse().status == 404
    assert receiver.requests == 0
    assert address.hostname == "127.0.0.1"
    assert len(address.path) == 17
    connection.close()


def test_two_receivers_have_addresses_of_their_own(receiver: Receiver, tmp_path: Path) -> None:
    other = Receiver(tmp_path / "other.bin")

    assert urlsplit(other.endpoint).port != urlsplit(receiver.endpoint).port
    assert urlsplit(other.endpoint).path != urlsplit(receiver.endpoint).path
    other.stop()


def test_requests_at_the_same_time_do_not_mix(receiver: Receiver, send: Send) -> None:
    bodies = [json.dumps(request(call(trace=f"trace {number}"))).encode() for number in range(24)]
    threads = [threading.Thread(target=send, args=(body, JSON)) for body in bodies]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert receiver.requests == 24
    assert calls(receiver) == 24


def test_nothing_answers_after_the_end(receiver: Receiver, send: Send) -> None:
    receiver.stop()

    with pytest.raises(ConnectionRefusedError):
        send(message())


def test_a_connection_that_stays_open_holds_nobody_up(receiver: Receiver) -> None:
    address = urlsplit(receiver.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\n")
        time.sleep(0.1)

        begun = time.monotonic()
        receiver.stop()

    assert time.monotonic() - begun < 5


def test_waiting_ends_when_nothing_comes(receiver: Receiver, send: Send) -> None:
    later = threading.Timer(0.3, send, (message(),))
    begun = time.monotonic()
    later.start()

    receiver.wait_until_quiet(0.6, 10)

    assert receiver.requests == 1
    assert 0.8 < time.monotonic() - begun < 5


def test_waiting_ends_at_last(receiver: Receiver) -> None:
    begun = time.monotonic()

    receiver.wait_until_quiet(30, 0.3)

    assert time.monotonic() - begun < 3


def test_a_file_that_cannot_be_written_is_said(receiver: Receiver, send: Send) -> None:
    class Full:
        closed = False

        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    receiver._file.close()
    receiver._file = Full()  # type: ignore[assignment]  # a disk that is full

    assert send(message())[0] == 503
    assert receiver.problem == "No space left on device"
    assert receiver.requests == 0


def test_the_command_sends_here_and_nowhere_else() -> None:
    made = environment_for(
        "http://127.0.0.1:4/s",
        {
            "PATH": "/bin",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.test",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector.example.test/v1/traces",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=secret",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_SDK_DISABLED": "true",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_BSP_SCHEDULE_DELAY": "77",
            "NO_PROXY": "example.test",
        },
    )

    assert made == {
        "PATH": "/bin",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4/s",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4/s/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_SDK_DISABLED": "false",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_BSP_SCHEDULE_DELAY": "77",
        "NO_PROXY": "example.test,127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def test_json_stays_where_the_user_wants_it() -> None:
    made = environment_for("http://127.0.0.1:4/s", {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})

    assert made["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/json"
    assert made["OTEL_BSP_SCHEDULE_DELAY"] == "500"
