"""Where reports go: ``-f FORMAT[=PATH]``, checked before the work and written after it, all or nothing."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.cli import console
from auditor.errors import SettingsError
from auditor.model.report import Report
from auditor.report import WITH_PLACES, Renderer, Screen, renderer

STDOUT = "-"
BESIDE = frozenset({"github"})
"""Formats whose lines go to stdout after another report: the CI picks them out of its log."""
SUMMARY = "github-summary"
SUMMARY_FILE = "GITHUB_STEP_SUMMARY"
"""Variable with the file that GitHub shows on a job's page; steps add to it."""


@dataclass(frozen=True, slots=True)
class Output:
    """One rendering of the report; no path means stdout."""

    render: Renderer
    path: Path | None
    name: str = ""
    is_added: bool = False
    """What the file holds already stays."""


def plan(formats: Sequence[str], inputs: Sequence[str] = (), *, quiet: bool = False) -> tuple[Output, ...]:
    """Read the ``-f`` options; the terminal report goes to stdout unless another format does, or ``quiet``.

    Raises ``SettingsError`` for an unknown format, two formats for one place, or a place of no use.
    """
    outputs = tuple(sorted(map(_output, formats), key=lambda output: output.path is None and output.name in BESIDE))
    on_stdout = sum(output.path is None and output.name not in BESIDE for output in outputs)
    if on_stdout > 1:
        raise SettingsError("only one format can go to stdout", hint="give the others a path: -f json=audit.json")
    check_places((output.path for output in outputs if output.path), inputs)
    if not on_stdout and not quiet:
        return (Output(renderer("terminal"), None, "terminal"), *outputs)
    return outputs


def wants_places(outputs: Iterable[Output]) -> bool:
    """Say whether an output names lines of inputs and of code, for which inputs are looked at again."""
    return any(output.name in WITH_PLACES for output in outputs)


def _output(text: str) -> Output:
    name, equals, path = text.partition("=")
    if equals and not path:
        raise SettingsError(f"-f {text} names no file", hint=f"-f {name}=PATH, or -f {name} for stdout")
    if name == SUMMARY and not equals:
        path = os.environ.get(SUMMARY_FILE, "")
        if not path:
            raise SettingsError(f"{SUMMARY_FILE} is not set", hint=f"on GitHub it is; elsewhere -f {name}=PATH")
        return Output(renderer(name), Path(path), name, is_added=True)
    return Output(renderer(name), Path(path) if path and path != STDOUT else None, name)


def check_places(paths: Iterable[Path], inputs: Sequence[str] = ()) -> None:
    """Refuse, before any work is done, what could not be written after it or would overwrite an input."""
    sources = {os.path.realpath(name) for name in inputs if name != STDOUT}
    taken: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in sources:
            raise SettingsError(f"{path} is an input; writing there would destroy it")
        if real in taken:
            raise SettingsError(f"two formats are to be written to {path}")
        taken.add(real)
        folder = Path(real).parent
        if Path(real).is_dir():
            raise SettingsError(f"{path} is a directory", hint=f"name a file: {path / 'report'}")
        if not folder.is_dir():
            raise SettingsError(f"{path}: there is no directory {folder}")


def deliver(report: Report, outputs: Sequence[Output], screen: Screen) -> None:
    """Render everything, then write the files, then stdout. A failure leaves no file of this run behind."""
    files: dict[Path, bytes] = {}
    added: dict[Path, bytes] = {}
    for_stdout: list[bytes] = []
    for output in outputs:
        if output.path is None:
            for_stdout.append(output.render(report, screen))
        else:
            (added if output.is_added else files)[output.path] = output.render(report, Screen())
    write_files(files)
    for path, content in added.items():
        with _named(path), path.open("ab") as stream:
            stream.write(content)
    for content in for_stdout:
        console.write(content)


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files so that each is seen whole or not at all; raises ``SettingsError`` with path and reason."""
    with contextlib.ExitStack() as stack:
        staged: list[tuple[Path, Path]] = []
        for path, content in files.items():
            with _named(path):
                target = Path(os.path.realpath(path))
                if target.exists() and not stat.S_ISREG(target.stat().st_mode):
                    target.write_bytes(content)  # a pipe or a device cannot be replaced
                    continue
                temporary = _stage(target, content)
                stack.callback(temporary.unlink, missing_ok=True)
                staged.append((temporary, target))
        for temporary, target in staged:
            with _named(target):
                temporary.replace(target)


def _stage(target: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.chmod(stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from error
