"""``audit ledger``: who spent what, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli import console, options
from auditor.cli.tables import FORMATS, Row, aligned

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

ROWS = ("call", "tenant")
_SHOWN_OF_A_CALL = (
    "time",
    "service",
    "model_executed",
    "operation",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "status",
    "tenant_id",
    "recovered_by",
    "rule",
)
"""The columns of a call that fit a terminal; the other formats have all of them."""


@app.command()
def ledger(
    *,
    files: options.Files = None,
    by: Annotated[str, typer.Option("--by", metavar="|".join(ROWS), help="What a row is.")] = "call",
    row_format: Annotated[
        str, typer.Option("--format", "-f", metavar="|".join(FORMATS), help="How rows are written.")
    ] = "terminal",
    path: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="Write here instead of stdout.", show_default=False),
    ] = None,
    tenant_key: options.TenantKey = None,
    mapping: options.UseMapping = None,
    rollup: options.Rollup = None,
    pricing: options.Pricing = None,
    cost_source: options.CostSource = None,
    rules: options.RulesPath = None,
    strict: options.Strict = None,
    hash_ids: options.HashIds = None,
    config: options.ConfigFile = None,
    no_config: options.NoConfig = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.", show_default=False)] = False,
) -> int:
    """Write one row for every call in FILES, failed attempts included, or one for every tenant.

    No gate is applied: the exit status is 0, 2, 3 or 4.
    """
    from auditor.cli import output  # noqa: PLC0415  # not for --help
    from auditor.cli.progress import Progress  # noqa: PLC0415  # as above

    paths = options.given(files)
    options.choice("--by", by, ROWS)
    options.choice("--format", row_format, tuple(FORMATS))
    if path:
        output.check_places([path], paths)
    settings = options.settings_from(
        {
            "tenant_keys": tenant_key,
            "use_mappings": mapping,
            "rollup": rollup,
            "pricing": pricing,
            "cost_source": cost_source,
            "rules_paths": rules,
            "strict": strict,
            "hash_ids": hash_ids,
        },
        config=config,
        no_config=no_config,
        quiet=quiet,
    )

    from auditor import pipeline  # noqa: PLC0415  # brings numpy

    with Progress(quiet=quiet) as progress:
        result = pipeline.audit(paths, settings.without_gate(), progress=progress)
    write = (
        partial(aligned, columns=_SHOWN_OF_A_CALL) if (row_format, by) == ("terminal", "call") else FORMATS[row_format]
    )
    chunks = _gathered(write(_rows(by, result.calls)))
    if path:
        output.write_files({path: b"".join(chunks)})
    else:
        for chunk in chunks:
            console.write(chunk)
    return result.report.gate.exit_code


def _rows(by: str, calls: Any) -> Iterable[Row]:
    if by == "tenant":
        from auditor.ledger.tenants import tenant_rows  # noqa: PLC0415  # only the one asked for

        return tenant_rows(calls)
    from auditor.ledger.calls import call_rows  # noqa: PLC0415  # only the one asked for

    return call_rows(calls)


def _gathered(lines: Iterable[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """Join lines to pieces of about a megabyte: one write per line would cost more than the line."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= size:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
