"""Renderers: each turns a finished ``Report`` into bytes, the same bytes for the same report.

A new format is a module beside these with a ``render`` function, a function below that imports it, and a line
in ``RENDERERS``. Nothing else of the program knows the formats by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Protocol

from auditor.errors import SettingsError
from auditor.model.report import Report


@dataclass(frozen=True, slots=True)
class Screen:
    """What a renderer may know of where its text goes; files have no colour and the default width."""

    width: int | None = None
    color: bool | None = None


class Renderer(Protocol):
    """Writes a report in one format; opens no file, reads no clock, no environment and no setting."""

    def __call__(self, report: Report, screen: Screen, /) -> bytes:
        """Return the report as UTF-8 text."""
        ...


def _terminal(report: Report, screen: Screen) -> bytes:
    from auditor.report import terminal  # noqa: PLC0415  # rich takes a tenth of a second to import

    return terminal.render(report, width=screen.width, color=screen.color).encode()


def _markdown(report: Report, _: Screen) -> bytes:
    from auditor.report import markdown  # noqa: PLC0415  # only the format asked for is imported

    return markdown.render(report).encode()


def _json(report: Report, _: Screen) -> bytes:
    from auditor.report import json_v1  # noqa: PLC0415  # only the format asked for is imported

    return json_v1.render(report)


def _sarif(report: Report, _: Screen) -> bytes:
    from auditor.report import sarif  # noqa: PLC0415  # only the format asked for is imported

    return sarif.render(report)


def _junit(report: Report, _: Screen) -> bytes:
    from auditor.report import junit  # noqa: PLC0415  # only the format asked for is imported

    return junit.render(report)


def _github(report: Report, _: Screen) -> bytes:
    from auditor.report import github  # noqa: PLC0415  # only the format asked for is imported

    return github.render(report)


def _gitlab(report: Report, _: Screen) -> bytes:
    from auditor.report import gitlab  # noqa: PLC0415  # only the format asked for is imported

    return gitlab.render(report)


def _openmetrics(report: Report, _: Screen) -> bytes:
    from auditor.report import openmetrics  # noqa: PLC0415  # only the format asked for is imported

    return openmetrics.render(report)


def _otlp(report: Report, _: Screen) -> bytes:
    from auditor.report import otlp  # noqa: PLC0415  # only the format asked for is imported

    return otlp.render(report)


RENDERERS: Mapping[str, Renderer] = MappingProxyType(
    {
        "terminal": _terminal,
        "markdown": _markdown,
        "json": _json,
        "json-v1": _json,
        "sarif": _sarif,
        "junit": _junit,
        "github": _github,
        "github-summary": _markdown,
        "gitlab": _gitlab,
        "openmetrics": _openmetrics,
        "otlp": _otlp,
    }
)
"""Every format by the names that ``-f`` takes."""

WITH_PLACES = frozenset({"json", "json-v1", "markdown", "github-summary", "sarif", "junit", "github", "gitlab"})
"""Formats that say on which line a span is, and which line of code made a call."""


def renderer(name: str) -> Renderer:
    """Find the renderer of a format; raises ``SettingsError`` for a name that is none."""
    if name in RENDERERS:
        return RENDERERS[name]
    close = get_close_matches(name, RENDERERS, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise SettingsError(f"no report format is called {name!r}", hint=f"{meant}formats: {', '.join(RENDERERS)}")
