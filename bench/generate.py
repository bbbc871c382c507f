"""Write an export for the benchmark, and its truth beside it; the same arguments give the same bytes.

python bench/generate.py --spans 1000000 --out spans.jsonl
    one request a line, as the Collector's file exporter writes them
python bench/generate.py --spans 100000 --form document --out spans.json
    the same requests as one JSON document
python bench/generate.py --spans 100000 --form litellm --out rows.jsonl
    gateway log rows in the shape of LiteLLM's payload
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

from delivery import Source, requests
from gateway_rows import rows
from story import Tally, Truth

SEED = 20261101


def write_lines(spans: int, seed: int, out: Path) -> dict[str, object]:
    """Write one export request a line."""
    source = Source(seed, spans)
    size = lines = 0
    with out.open("wb", buffering=1 << 20) as file:
        for request in requests(source):
            size += file.write(f'{{"resourceSpans":[{request}]}}\n'.encode())
            lines += 1
    return truth_of(source.truth, records=spans, size=size, lines=lines)


def write_document(spans: int, seed: int, out: Path) -> dict[str, object]:
    """Write the same requests as one JSON value."""
    source = Source(seed, spans)
    size = 0
    with out.open("wb", buffering=1 << 20) as file:
        size += file.write(b'{"resourceSpans":[')
        for number, request in enumerate(requests(source)):
            size += file.write(f"{',' if number else ''}{request}".encode())
        size += file.write(b"]}\n")
    return truth_of(source.truth, records=spans, size=size, lines=1)


def write_rows(spans: int, seed: int, out: Path) -> dict[str, object]:
    """Write gateway log rows instead of spans."""
    truth = Truth()
    size = 0
    with out.open("wb", buffering=1 << 20) as file:
        for row in rows(seed, spans, truth):
            size += file.write(row.encode())
    return truth_of(truth, records=spans, size=size, lines=spans)


def truth_of(truth: Truth, *, records: int, size: int, lines: int) -> dict[str, object]:
    """Flatten the truth: totals over all families first, then each family."""
    totals = {part.name: sum(getattr(tally, part.name) for tally in truth.families.values()) for part in fields(Tally)}
    told = asdict(truth)
    families = told.pop("families")
    return {
        "bytes": size,
        "lines": lines,
        "records": records,
        **told,
        "totals": totals,
        "families": dict(sorted(families.items())),
    }


FORMS: dict[str, Callable[[int, int, Path], dict[str, object]]] = {
    "lines": write_lines,
    "document": write_document,
    "litellm": write_rows,
}


def main() -> None:
    """Read the arguments, write the export and its truth."""
    parser = argparse.ArgumentParser(description="Write a deterministic export for the benchmark.")
    parser.add_argument("--spans", type=int, default=100_000, help="span records (rows with --form litellm)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--form", choices=sorted(FORMS), default="lines")
    parser.add_argument("--out", type=Path, required=True, help="the export; OUT.truth.json is written beside it")
    given = parser.parse_args()
    gc.disable()  # nothing here is cyclic; the collector would only walk the open traces
    given.out.parent.mkdir(parents=True, exist_ok=True)
    truth = FORMS[given.form](given.spans, given.seed, given.out)
    beside = given.out.with_name(given.out.name + ".truth.json")
    beside.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
