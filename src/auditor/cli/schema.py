"""``audit schema``: the contracts with other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated

import typer

from auditor.cli import console, options
from auditor.cli.exits import PASSED

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _report() -> Mapping[str, object]:
    from auditor.report.schema import report_schema  # noqa: PLC0415  # only the one asked for

    return report_schema()


def _settings() -> Mapping[str, object]:
    from auditor.settings import schema as settings_schema  # noqa: PLC0415  # only the one asked for

    return settings_schema()


def _pricing() -> Mapping[str, object]:
    from auditor.price.pricing_file import pricing_schema  # noqa: PLC0415  # only the one asked for

    return pricing_schema()


def _vocabulary() -> Mapping[str, object]:
    from auditor.normalise.vocabulary import vocabulary_schema  # noqa: PLC0415  # only the one asked for

    return vocabulary_schema()


def _baseline() -> Mapping[str, object]:
    from auditor.baseline import baseline_schema  # noqa: PLC0415  # only the one asked for

    return baseline_schema()


def _diff() -> Mapping[str, object]:
    from auditor.report.schema import diff_schema  # noqa: PLC0415  # only the one asked for

    return diff_schema()


SCHEMAS: Mapping[str, Callable[[], Mapping[str, object]]] = MappingProxyType(
    {
        "report": _report,
        "settings": _settings,
        "pricing": _pricing,
        "vocabulary": _vocabulary,
        "baseline": _baseline,
        "diff": _diff,
    }
)


@app.command()
def schema(
    name: Annotated[str, typer.Argument(metavar="|".join(SCHEMAS), help="Which schema.", show_default=False)],
) -> int:
    """Print the JSON Schema of a file that is read or written: what another program can rely on."""
    import json  # noqa: PLC0415  # keeps the keys in the order of the shipped file

    found = SCHEMAS[options.choice("schema", name, tuple(SCHEMAS))]()
    console.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return PASSED
