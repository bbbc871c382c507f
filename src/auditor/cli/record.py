"""``audit record -- COMMAND…``: run a command, receive its traces, audit them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from auditor.cli import console
from auditor.cli.exits import INCOMPLETE
from auditor.errors import AuditorError, InputError, SettingsError
from auditor.report.wording import count

if TYPE_CHECKING:
    from auditor.receive.receiver import Receiver

NAME = "<recorded>"
"""The input's name in reports, where it is not saved."""
_LONGEST = 60.0
"""Seconds that late spans are waited for, whatever still comes."""


class _BeforeDashes(TyperCommand):
    """Leaves everything after ``--`` to the command that is run, and what is unknown before it to ``audit``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        mine, command = args, []
        if "--" in args:
            at = args.index("--")
            mine, command = args[:at], args[at + 1 :]
        ctx.meta["command"] = command
        rest: list[str] = super().parse_args(ctx, mine)
        return rest

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # the signature is click's
        with formatter.section("Before --"):
            formatter.write_text(
                "Every option of audit too: audit record --max-unattributed 5% -f sarif=audit.sarif -- pytest tests/"
            )


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(
    cls=_BeforeDashes,
    options_metavar="[OPTIONS] -- COMMAND...",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def record(
    context: typer.Context,
    *,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Keep what was received: audit reads it.", show_default=False),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(
            "--grace",
            metavar="SECONDS",
            min=0,
            max=_LONGEST,
            help="When the command has ended, listen until nothing has come for so long.",
        ),
    ] = 1,
) -> int:
    """Run COMMAND with its OpenTelemetry SDK set up to send traces here, audit them, and judge.

    Listens on loopback only, for OTLP over HTTP (protobuf or JSON). The exit status is that of COMMAND if it failed,
    else that of the gate.
    """
    from auditor.cli import judging, output  # noqa: PLC0415  # not for --help
    from auditor.receive.command import StoppedError, run  # noqa: PLC0415  # as above
    from auditor.receive.environment import environment_for  # noqa: PLC0415  # as above
    from auditor.receive.receiver import Receiver  # noqa: PLC0415  # as above

    command: list[str] = context.meta["command"]
    if not command:
        raise SettingsError("no command given", hint="audit record -- pytest tests/")
    if save is not None:
        output.check_places([save])
    with tempfile.TemporaryDirectory(prefix="audit-record-") as place:
        path = Path(place) / "traces.bin"
        # Whatever can be refused is refused before a command runs that may take an hour.
        prepared = judging.prepare([str(path)], _options_of_audit(context.args, path))
        output.check_places([to.path for to in prepared.outputs if to.path] + ([save] if save else []))
        receiver = Receiver(path)
        receiver.start()
        try:
            code = run(command, environment_for(receiver.endpoint, os.environ))
            receiver.wait_until_quiet(grace, _LONGEST)
        except StoppedError as stopped:
            return stopped.exit_code
        finally:
            receiver.stop()
            if save is not None and receiver.requests:
                _keep(path, save)
        if code and not prepared.quiet:
            console.note(f"{command[0]} ended with status {code}")
        try:
            _require_traces(receiver)
            verdict = judging.judge(prepared, [str(path)], names={str(path): str(save) if save else NAME})
        except AuditorError as error:
            if not code:
                raise
            console.refuse_error(error)
            verdict = error.exit_code
        if receiver.refused:
            console.say(f"audit: {_refused(receiver)}: these traces are in no figure")
            if prepared.settings.strict and not prepared.settings.exit_zero:
                verdict = verdict or INCOMPLETE
    return code or verdict


def _options_of_audit(rest: list[str], path: Path) -> dict[str, Any]:
    """Read the options that are not ours as ``audit`` does; they name no files."""
    from auditor.cli import audit  # noqa: PLC0415  # not for --help

    main: Any = typer.main.get_command(audit.app)
    with main.make_context("audit record", [*rest, "--", str(path)]) as context:
        params: dict[str, Any] = dict(context.params)
    if params["files"] != [str(path)]:
        raise SettingsError(
            f"{params['files'][0]} is neither an option nor a command", hint="the command comes after --"
        )
    return params


def _require_traces(receiver: Receiver) -> None:
    if receiver.problem:
        raise SettingsError(f"the traces could not be written: {receiver.problem}")
    if not receiver.requests:
        refused = f" ({_refused(receiver)})" if receiver.refused else ""
        raise InputError(
            f"the command sent no traces{refused}",
            hint="it has to set up an OpenTelemetry SDK whose OTLP/HTTP exporter obeys OTEL_EXPORTER_OTLP_ENDPOINT",
        )


def _refused(receiver: Receiver) -> str:
    return f"{count(receiver.refused, 'request')} with traces refused, too large or no OTLP"


def _keep(path: Path, save: Path) -> None:
    try:
        shutil.copyfile(path, save)
    except OSError as error:
        raise SettingsError(f"{save} cannot be written: {error.strerror or error}") from error
