"""Every ending of the command: one line and its own exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_builders import Audit, Pipeline, a_report

from auditor import __version__
from auditor.cli.exits import EXITS
from auditor.cli.main import COMMANDS
from auditor.errors import IncompleteError, InputError, RuleError, SettingsError

HEAVY = ("numpy", "networkx", "jsonschema", "pydantic", "pyarrow", "genai_prices", "msgspec", "rich")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_and_version_load_nothing_heavy(arguments: list[str], process: Audit) -> None:
    code = (
        "import sys; from auditor.cli.main import run; status = run(sys.argv[1:]); "
        f"sys.exit(status or [name for name in {HEAVY!r} if name in sys.modules] or 0)"
    )

    done = process(*arguments, code=code)

    assert (done.code, done.err) == (0, "")


def test_help_shows_the_options_of_the_default_command_and_every_command(process: Audit) -> None:
    done = process("--help")

    assert done.out.startswith("Usage: audit [OPTIONS] [FILES]...\n")
    assert "--max-unattributed SHARE" in done.out
    for command in COMMANDS.values():
        assert f"  {command.name} " in done.out
        assert command.summary in " ".join(done.out.split())


def test_version_is_one_line(process: Audit) -> None:
    assert process("--version").out == f"audit {__version__}\n"
    assert process("x.json", "--version").out == f"audit {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("no"), 2),
        (InputError("no"), 3),
        (IncompleteError("no"), 4),
        (RuleError("no"), 70),
        (KeyboardInterrupt(), 130),
        (RuntimeError("secret prompt"), 70),
        (RecursionError("secret prompt"), 70),
        (MemoryError("secret prompt"), 70),
        (AssertionError("secret prompt"), 70),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_error_has_its_exit_status(error: BaseException, code: int, audit: Audit, pipeline: Pipeline) -> None:
    pipeline.error = error

    done = audit("traces.json")

    assert done.code == code
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "secret" not in done.err
    assert code in {entry.code for entry in EXITS}


def test_an_error_is_one_line_and_its_hint_another(audit: Audit, pipeline: Pipeline) -> None:
    pipeline.error = InputError("not JSON", hint="look")

    assert audit("traces.json").err == "audit: not JSON\nhint: look\n"


def test_what_a_terminal_would_act_on_is_shown_instead(audit: Audit, pipeline: Pipeline) -> None:
    pipeline.error = InputError("no such file: \x1b[31mred\nred\u202e [bold]")

    assert audit("traces.json").err == "audit: no such file: \\x1b[31mred\\nred\\u202e [bold]\n"


def test_a_crash_says_where_and_where_to_report(audit: Audit, pipeline: Pipeline) -> None:
    pipeline.error = RuntimeError("secret prompt")

    err = audit("traces.json").err

    assert err.startswith("audit: internal error: RuntimeError in cli_builders, line ")
    assert "please report it" in err


def test_a_crash_is_shown_whole_on_request(audit: Audit, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.error = RuntimeError("detail")
    monkeypatch.setenv("AUDITOR_DEBUG", "1")

    done = audit("traces.json")

    assert done.code == 70
    assert "Traceback" in done.err
    assert "RuntimeError: detail" in done.err


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_the_verdict_is_the_exit_status(code: int, audit: Audit, pipeline: Pipeline) -> None:
    pipeline.report = a_report(exit_code=code)

    assert audit("traces.json", "-f", "json").code == code


@pytest.mark.parametrize(
    ("arguments", "err"),
    [
        ([], "audit: no input given\nhint: audit traces.json, or audit demo to see what it says\n"),
        (
            ["x.json", "--max-los", "3"],
            "audit: No such option: --max-los (Possible options: --max-lost)\nhint: audit --help\n",
        ),
        (
            ["ledgr", "x.json"],
            "audit: ledgr is neither a file nor a command\nhint: did you mean audit ledger?\n",
        ),
        (["ledger", "x.json", "--by", "day"], "audit: --by day: expected one of call, tenant\n"),
        (["--color", "red", "x.json"], "audit: --color red: expected one of auto, always, never\n"),
        (["config"], "audit: Missing command\nhint: audit config --help\n"),
        (
            ["--quiet", "ledger", "x.json"],
            "audit: the command comes first: audit ledger\nhint: audit ledger --help\n",
        ),
        (
            ["x.json", "--config", "a.toml", "--no-config"],
            "audit: --config and --no-config exclude each other\n",
        ),
    ],
)
def test_misuse_says_what_was_meant(arguments: list[str], err: str, audit: Audit, pipeline: Pipeline) -> None:
    done = audit(*arguments)

    assert (done.code, done.out, done.err) == (2, "", err)
    assert pipeline.calls == 0


def test_a_file_named_like_a_command_is_given_with_its_folder(audit: Audit, pipeline: Pipeline, home: Path) -> None:
    (home / "ledger").write_text("{}")

    assert audit("./ledger").code == 0
    assert pipeline.paths == ["./ledger"]


def test_stdin_is_passed_on(audit: Audit, pipeline: Pipeline) -> None:
    assert audit("-").code == 0
    assert pipeline.paths == ["-"]


def test_a_reader_that_goes_away_changes_nothing(home: Path) -> None:
    code = (
        "import sys; from auditor.cli import console\nfor _ in range(1000): console.write(b'x' * 10000)\nsys.exit(1)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert writer.stdout
    assert writer.stderr
    with writer:
        writer.stdout.read(1)
        writer.stdout.close()
        err = writer.stderr.read()

        assert (writer.wait(), err) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_not_a_passed_gate(home: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "auditor.cli.main", "schema", "settings"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=home,
            env={"PYTHONPATH": ":".join(sys.path)},
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr == b"audit: standard output cannot be written to: No space left on device\n"


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("2>&-", 2), ("2>/dev/full", 2), (">&-", 2), ("2>&- >&-", 2)],
)
def test_closed_streams_do_not_read_as_a_verdict(redirection: str, code: int, home: Path) -> None:
    arguments = "schema settings" if redirection == ">&-" else "--no-such-option"
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m auditor.cli.main {arguments} {redirection}', sys.executable],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )

    assert done.returncode == code


def test_what_is_to_run_at_the_end_runs_and_all_is_written(process: Audit) -> None:
    code = (
        "import atexit; from auditor.cli.main import main; atexit.register(print, 'last words', end=''); "
        "print('first ', end=''); main()"
    )

    done = process("no-such-file.json", code=code)

    assert (done.code, done.out) == (3, "first last words")
    assert done.err.startswith("audit: no-such-file.json: ")


def test_exit_statuses_are_told_apart() -> None:
    codes = [entry.code for entry in EXITS]

    assert codes == sorted(set(codes))
    assert codes == [0, 1, 2, 3, 4, 5, 6, 70, 130]
