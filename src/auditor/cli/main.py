"""The ``audit`` command: picks the command, and turns every ending into one line and an exit status."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, cast

import typer

from auditor import __version__
from auditor.cli import exits
from auditor.errors import AuditorError

PROGRAM = "audit"
YOUNG_OBJECTS = 50_000
"""New objects after which Python looks for garbage."""
NO_THREADS = ("OPENBLAS_NUM_THREADS", "1")
"""Keeps numpy from starting threads for linear algebra, of which there is none here: they cost more than its import."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the module whose ``app`` runs it; only the one that is called is imported."""

    name: str
    summary: str
    runs_programs: bool = False
    """Starts programs of the user's, which get its environment."""

    @property
    def module(self) -> str:
        """Where it is: one file per command."""
        return f"auditor.cli.{self.name}"


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        command.name: command
        for command in (
            Command("demo", "Audit a small export with every failure mode planted."),
            Command("explain", "Print a rule's page, or one trace as a tree."),
            Command("record", "Run a command, receive its traces on loopback, and audit them.", runs_programs=True),
            Command("doctor", "Say what your files are, what was read in them, and what to change first."),
            Command("formats", "List the formats that are read, and what each cannot tell."),
            Command("rules", "List the rules, with what each needs to be checked."),
            Command("ledger", "Write what every call or tenant spent."),
            Command("convert", "Write a saved JSON report in other formats."),
            Command("comment", "Post a saved report on a pull or merge request, or update it there."),
            Command("diff", "Say what got worse or better between two exports or saved reports, and with what."),
            Command("init", "Write a commented auditor.toml, drafted from your traces if given."),
            Command("config", "Show each setting and where it came from."),
            Command("schema", "Print a published JSON Schema."),
        )
    }
)
"""Every command by its name, in the order in which help lists them. The default one has no name."""

_USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What every misuse of an option raises; it has no public name that all versions of typer share."""


def main() -> None:
    """Run the command; errors we foresaw become one line and their own exit status."""
    # Importing makes many objects that stay: with Python's own threshold a tenth of the start-up goes to looking for
    # garbage among them.
    gc.set_threshold(YOUNG_OBJECTS)
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> None:
    """End the process, and leave it to the system to free its memory: object by object, that takes a while."""
    atexit._run_exitfuncs()  # noqa: SLF001  # nothing else runs them, and rules of the user may have some
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        # Python's own end says what is wrong with the streams.
        sys.exit(code)
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit status, whatever happens."""
    try:
        return _dispatch(list(arguments))
    except AuditorError as error:
        _refuse(str(error), error.hint)
        return error.exit_code
    except _USAGE_ERROR as error:
        _refuse(_message_of(error), f"{_called(error)} --help")
        return exits.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last line of defence: a crash must not read as a verdict
        return _crashed(error)


def _dispatch(arguments: list[str]) -> int:
    if arguments == ["--version"]:  # typer imports pydantic to read even one option
        typer.echo(f"{PROGRAM} {__version__}")
        return exits.PASSED
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None or not command.runs_programs:
        os.environ.setdefault(*NO_THREADS)
    module = command.module if command else "auditor.cli.audit"
    app: typer.Typer = import_module(module).app
    runner: Any = typer.main.get_command(app)
    name = f"{PROGRAM} {command.name}" if command else PROGRAM
    code = runner.main(args=arguments[1:] if command else arguments, prog_name=name, standalone_mode=False)
    return cast("int | None", code) or exits.PASSED


def _refuse(message: str, hint: str | None) -> None:
    from auditor.cli.console import refuse  # noqa: PLC0415  # --help needs none of it

    refuse(message, hint)


def _message_of(error: Exception) -> str:
    words: Any = error
    return str(words.format_message()).rstrip(".")


def _called(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context else PROGRAM


def _crashed(error: Exception) -> int:
    """Say where it broke, not what was in the way: a message may quote the input."""
    if os.environ.get("AUDITOR_DEBUG"):
        import traceback  # noqa: PLC0415  # only after a crash

        traceback.print_exception(error)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" in {place.tb_frame.f_globals.get('__name__')}, line {place.tb_lineno}" if place else ""
    _refuse(
        f"internal error: {type(error).__name__}{where}",
        f"this is a defect of the auditor, not a verdict; please report it {_report_to()}, "
        "with what AUDITOR_DEBUG=1 prints",
    )
    return exits.INTERNAL


def _report_to() -> str:
    """Where the installed package says that defects are reported."""
    from importlib import metadata  # noqa: PLC0415  # only after a crash

    try:
        urls = metadata.metadata("trace-auditor").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        urls = []
    for url in urls:
        label, _, address = str(url).partition(", ")
        if label.lower() in {"issues", "bug tracker", "tracker"}:
            return f"at {address}"
    return "where you got trace-auditor from"


if __name__ == "__main__":
    main()
