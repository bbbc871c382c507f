"""``audit record``: with a real OpenTelemetry SDK in a child process."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_builders import Done

SHOP = Path(__file__).parents[1] / "receive" / "shop.py"
CALL = "0.00021"
"""USD of one call: 1000 tokens in at 0.15 and 100 out at 0.60 a million."""


class Recording:
    """Runs ``audit record`` in a process of its own, as a CI does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.temporary = home / "tmp"
        self.temporary.mkdir()

    def start(self, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.temporary),
            **variables,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "auditor.cli.main", "record", "--grace=0.2", *map(str, arguments)],
            cwd=self.home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def __call__(self, *arguments: object, **variables: str) -> Done:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=60)
        assert list(self.temporary.iterdir()) == []
        return Done(process.returncode, out, err)

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "audit.json").read_text())
        return found


@pytest.fixture
def record(home: Path) -> Recording:
    return Recording(home)


def shop(*arguments: object) -> list[str]:
    return [sys.executable, str(SHOP), *map(str, arguments)]


def test_what_a_real_sdk_sends_is_audited(record: Recording) -> None:
    done = record("-f", "json=audit.json", "--", *shop(0, 3))

    totals = record.report["totals"]
    (finding,) = record.report["findings"]
    assert done.code == 1, done.err
    assert done.out.startswith("shop is done\n")
    assert "75.0 %" in done.out
    assert (totals["spans"], totals["calls"]) == (5, 4)
    assert totals["direct"] == {"calls": 1, "cost": CALL, "share": 0.25}
    assert totals["unattributed"] == {"calls": 3, "cost": "0.00063", "share": 0.75}
    assert (finding["rule"], finding["calls"]) == ("tenant-not-copied", 3)
    assert finding["samples"][0]["input"] == "<recorded>"
    assert finding["samples"][0]["code"] == {"file": str(SHOP), "line": 46}


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
def test_compression_is_the_sdks_choice(record: Recording, compression: str) -> None:
    done = record("-q", "-f", "json=audit.json", "--", *shop(0, 0), OTEL_EXPORTER_OTLP_COMPRESSION=compression)

    if compression == "deflate":  # which OTLP does not have
        assert done.code == 3
    else:
        assert (done.code, record.report["totals"]["calls"]) == (0, 1)


@pytest.mark.parametrize(("status", "leaks", "code"), [(0, 0, 0), (0, 1, 1), (7, 0, 7), (7, 1, 7)], ids=str)
def test_the_status_is_the_commands_if_it_failed_else_the_gates(
    record: Recording, status: int, leaks: int, code: int
) -> None:
    done = record("-f", "json=audit.json", "--", *shop(status, leaks))

    assert done.code == code
    assert record.report["gate"]["exit_code"] == (1 if leaks else 0)
    assert ("ended with status 7" in done.err) is (status == 7)


def test_the_command_gets_no_limit_of_threads_that_is_ours(record: Recording) -> None:
    done = record("--", sys.executable, "-c", "import os; print([n for n in os.environ if n.endswith('_THREADS')])")

    assert done.out.startswith("[]\n")


def test_options_of_audit_count(record: Recording) -> None:
    assert record("--max-unattributed", "none", "--", *shop(0, 3)).code == 0
    assert record("--max-unattributed=50%", "--exit-zero", "--", *shop(0, 3)).code == 0


def test_what_came_can_be_kept_and_audited_again(record: Recording, home: Path) -> None:
    first = record("--save", "traces.bin", "-q", "-f", "json=audit.json", "--", *shop(0, 3))

    again = subprocess.run(
        [sys.executable, "-m", "auditor.cli.main", "traces.bin", "-q", "-f", "json=again.json"],
        cwd=home, check=False, timeout=60,
    )  # fmt: skip

    assert (first.code, again.returncode) == (1, 1)
    assert record.report["digest"] == json.loads((home / "again.json").read_text())["digest"]
    assert record.report["inputs"][0]["path"] == "traces.bin"


def test_spans_that_come_late_count(record: Recording) -> None:
    begun = time.monotonic()

    done = record("--grace", "5", "-q", "-f", "json=audit.json", "--", *shop(0, 1, "late"))

    assert done.code == 1
    assert record.report["totals"]["calls"] == 2
    assert time.monotonic() - begun > 5


def test_json_over_http_counts(record: Recording, home: Path) -> None:
    (home / "send.py").write_text(
        "import os, urllib.request\n"
        "body = open('otlp.json', 'rb').read()\n"
        "url = os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] + '/v1/traces'\n"
        "urllib.request.urlopen(urllib.request.Request(url, body, {'Content-Type': 'application/json'}))\n"
    )
    sample = Path(__file__).parents[2] / "fixtures/exports/samples/otlp-baggage-thread-drop.json"
    (home / "otlp.json").write_bytes(sample.read_bytes())

    done = record("-q", "-f", "json=audit.json", "--", sys.executable, "send.py")

    # Three calls, of which the one from a bare thread has no tenant; the environment is staging, which asks for none.
    totals = record.report["totals"]
    assert done.code == 0, done.err
    assert (totals["calls"], totals["direct"]["calls"], totals["internal"]["calls"]) == (3, 2, 1)


@pytest.mark.parametrize(("variables", "code"), [({"CI": "true"}, 4), ({}, 0)], ids=["CI", "elsewhere"])
def test_traces_that_could_not_be_taken_do_not_pass_in_ci(
    record: Recording, home: Path, variables: dict[str, str], code: int
) -> None:
    (home / "send.py").write_text(
        "import os, urllib.error, urllib.request\n"
        "url = os.environ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']\n"
        "try:\n"
        "    urllib.request.urlopen(urllib.request.Request(url, b'{', {'Content-Type': 'application/json'}))\n"
        "except urllib.error.HTTPError as error:\n"
        "    assert error.code == 400\n"
    )

    done = record(
        "-q", "--", "sh", "-c", f"{shlex.quote(sys.executable)} send.py; {shlex.join(shop(0, 0))}", **variables
    )

    assert done.code == code
    assert done.err == ("audit: 1 request with traces refused, too large or no OTLP: these traces are in no figure\n")


def test_a_command_that_sends_nothing_passes_nothing(record: Recording) -> None:
    done = record("--", "true")

    assert done.code == 3
    assert done.err.startswith("audit: the command sent no traces\nhint: ")


def test_a_failing_command_that_sends_nothing_keeps_its_status(record: Recording) -> None:
    done = record("--", "sh", "-c", "exit 9")

    assert done.code == 9
    assert "the command sent no traces" in done.err


def test_a_command_that_is_killed_has_the_status_that_shells_give(record: Recording) -> None:
    assert record("--", "sh", "-c", "kill -9 $$").code == 137


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no command given"),
        (("--",), "no command given"),
        (("pytest",), "no command given"),
        (("pytest", "--", "true"), "pytest is neither an option nor a command"),
        (("--no-such-option", "--", "touch", "ran"), "No such option: --no-such-option"),
        (("--max-unattributed", "lots", "--", "touch", "ran"), "--max-unattributed is"),
        (("-f", "nothing", "--", "touch", "ran"), "no report format is called 'nothing'"),
        (("--save", "no/such/place", "--", "touch", "ran"), "no/such/place: there is no directory"),
        (("--save", "a", "-f", "json=a", "--", "touch", "ran"), "two formats are to be written to a"),
        (("--", "no-such-command-here"), "no-such-command-here cannot be run: No such file or directory"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_command_runs(
    record: Recording, home: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = record(*arguments)

    assert done.code == 2
    assert done.err.startswith(f"audit: {said}")
    assert not (home / "ran").exists()


def test_arguments_of_the_command_are_its_own(record: Recording, home: Path) -> None:
    (home / "show.py").write_text("import sys; print(sys.argv[1:])")

    done = record("--", sys.executable, "show.py", "--save", "x", "-f", "--", "$HOME", "a b")

    assert done.out == "['--save', 'x', '-f', '--', '$HOME', 'a b']\n"


def test_the_key_of_the_real_collector_does_not_reach_the_command(record: Recording, home: Path) -> None:
    (home / "show.py").write_text("import os; print({k: v for k, v in os.environ.items() if 'OTLP' in k})")

    done = record("--", sys.executable, "show.py", OTEL_EXPORTER_OTLP_HEADERS="api-key=s3cret")

    assert "s3cret" not in done.out
    assert "'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:" in done.out


def wait_for(path: Path) -> None:
    for _ in range(400):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_command_too(record: Recording, home: Path, number: int, code: int) -> None:
    command = "trap 'echo cleaned > cleaned; exit 0' TERM; touch started; while :; do sleep 0.1; done"
    process = record.start("--", "sh", "-c", command)
    wait_for(home / "started")

    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode == code
    assert (home / "cleaned").read_text() == "cleaned\n"
    assert list(record.temporary.iterdir()) == []


def test_nobody_who_stays_behind_holds_us_up(record: Recording, home: Path) -> None:
    """A server that the command leaves running has a connection to us open."""
    (home / "stay.py").write_text(
        "import os, socket, time\n"
        "from urllib.parse import urlsplit\n"
        "address = urlsplit(os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'])\n"
        "connection = socket.create_connection((address.hostname, address.port))\n"
        "connection.sendall(b'POST / HTTP/1.1')\n"
        "open('connected', 'w').close()\n"
        "time.sleep(15)\n"
    )
    stay = f"{shlex.quote(sys.executable)} stay.py > /dev/null 2>&1 & while [ ! -e connected ]; do sleep 0.1; done"
    begun = time.monotonic()

    done = record("-q", "--", "sh", "-c", f"{stay}; {shlex.join(shop(0, 0))}")

    assert done.code == 0, done.err
    assert time.monotonic() - begun < 14
