"""``audit formats``: what is read, how it is recognised, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import console, options
from auditor.cli.exits import PASSED

if TYPE_CHECKING:
    from auditor.rule import Rule

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

WRITTEN_AS = ("terminal", "json")
_WIDTH = 100
"""Columns where nobody looks."""
_WHOLE = "nothing: an export can hold all that the audit asks for"
REFUSED = "refused"
"""In the title of a format that is known and not read."""

Row = Mapping[str, object]


@app.command()
def formats(
    *,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="|".join(WRITTEN_AS), help="How the table is written.")
    ] = "terminal",
    rules: options.RulesPath = None,
    config: options.ConfigFile = None,
    no_config: options.NoConfig = False,
    color: options.Color = "auto",
) -> int:
    """List the formats that are read: how each is recognised, what it cannot tell, which rules it cannot answer.

    A format is recognised by what is in a file, never by its name; any of them may be compressed.
    """
    options.choice("--format", form, WRITTEN_AS)
    options.choice("--color", color, options.COLORS)
    settings = options.settings_from({"rules_paths": rules}, config=config, no_config=no_config)

    from auditor.registry import load_rules  # noqa: PLC0415  # brings the rule packages

    found = list(rows(load_rules(settings.rules_paths)))
    if form == "json":
        import orjson  # noqa: PLC0415  # only the one asked for

        console.write(orjson.dumps({"formats": found, "refused": refused()}, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        screen = console.screen(color)
        console.write(table(found, width=screen.width or _WIDTH, color=bool(screen.color)))
    return PASSED


def rows(rules: Sequence[Rule]) -> Iterator[Row]:
    """One row for each format, in the order in which they are tried."""
    from auditor.load.formats import FORMATS  # noqa: PLC0415  # brings numpy
    from auditor.load.gaps import survey_with  # noqa: PLC0415  # as above

    for entry in FORMATS:
        survey = survey_with(frozenset(entry.cannot_tell))
        yield {
            "name": entry.name,
            "title": entry.title,
            "recognised_by": entry.recognised_by,
            "cannot_tell": [{"id": gap.name.lower(), "what": str(gap)} for gap in entry.cannot_tell],
            "not_checked": [
                {"rule": rule.id, "reason": reason} for rule in rules if (reason := rule.unchecked(survey)) is not None
            ],
        }


def refused() -> list[Row]:
    """What is recognised and holds no calls, with what to export instead."""
    from auditor.load.formats import REFUSED  # noqa: PLC0415  # brings numpy

    return [{"keys": sorted(keys), "what": what, "instead": hint} for keys, what, hint in REFUSED]


def table(found: Sequence[Row], *, width: int, color: bool) -> str:
    """Lay the formats out for a person."""
    from rich import box  # noqa: PLC0415  # only people need it
    from rich.console import Console  # noqa: PLC0415  # as above
    from rich.table import Table  # noqa: PLC0415  # as above

    page = StringIO()
    screen = Console(
        file=page, width=width, color_system="standard" if color else None, no_color=not color, markup=False,
        emoji=False, highlight=False, force_terminal=color, force_interactive=False, force_jupyter=False,
        legacy_windows=False, _environ={},
    )  # fmt: skip
    grid = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_lines=False, padding=(0, 1, 1, 0))
    grid.add_column("Format", ratio=3, overflow="fold")
    grid.add_column("Recognised by", ratio=4)
    grid.add_column("Cannot tell", ratio=5)
    grid.add_column("Not checked", min_width=24)
    for row in found:
        grid.add_row(
            f"{row['name']}\n{row['title']}",
            str(row["recognised_by"]),
            "\n".join(_named(row["cannot_tell"], "what")) or ("" if REFUSED in str(row["title"]) else _WHOLE),
            "\n".join(_named(row["not_checked"], "rule")),
        )
    screen.print(grid)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()).strip("\n") + "\n"


def _named(entries: object, key: str) -> list[str]:
    return [entry[key] for entry in entries] if isinstance(entries, list) else []
