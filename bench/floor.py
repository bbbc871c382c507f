"""The audit against ``orjson.loads`` of the same bytes: lines, one document, gateway rows, a compressed file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from inputs import Bench, generated
from measure import Case, Figures, environment
from results import Result, Told, cpu, told

HEADING = "## Against orjson"
DOCUMENT_SPANS = ROWS = 100_000
LOADS_LINES = "import sys, orjson\nfor line in open(sys.argv[1], 'rb'):\n    orjson.loads(line)"
LOADS_DOCUMENT = "import sys, orjson\norjson.loads(open(sys.argv[1], 'rb').read())"


def cases(bench: Bench) -> list[Case]:
    """Give the commands to be measured; the audit runs in one process, as what it is compared with."""
    document = generated(bench.folder, "document.json", "document", DOCUMENT_SPANS)
    rows = generated(bench.folder, "rows.jsonl", "litellm", ROWS)

    def loads(program: str, path: Path) -> tuple[str, ...]:
        return (sys.executable, "-c", program, str(path))

    return [
        Case("audit lines", bench.audited(bench.lines(), options="--jobs 1")),
        Case("orjson lines", loads(LOADS_LINES, bench.lines())),
        Case("audit zstd", bench.audited(bench.compressed(), options="--jobs 1")),
        Case("audit document", bench.audited(document, options="--jobs 1")),
        Case("orjson document", loads(LOADS_DOCUMENT, document)),
        Case("audit rows", bench.audited(rows, options="--jobs 1")),
        Case("orjson rows", loads(LOADS_LINES, rows)),
        Case("audit few lines", bench.audited(bench.lines(1000), options="--jobs 1")),
        Case("import orjson", (sys.executable, "-c", "import orjson")),
    ]


def measured(bench: Bench, figures: Figures) -> Told:
    """Say what the audit costs beside the parsing alone."""
    document, parsed = figures.peak("audit document"), figures.peak("orjson document")
    base, floor = figures.peak("audit few lines"), figures.peak("import orjson")
    prose = [
        "`orjson.loads` of every line of the file (of the whole document), with Python's defaults, and nothing else;",
        f"the audit with `--jobs 1`. The document has {DOCUMENT_SPANS:,} spans, the gateway log {ROWS:,} rows.",
    ]
    results = [
        cpu(
            figures,
            "CPU: full audit ÷ `orjson.loads` of the same lines",
            lambda of: of("audit lines") / of("orjson lines"),
            1.25,
        ),
        Result("memory: the same, whole processes", figures.peak("audit lines") / figures.peak("orjson lines")),
        *_columns(bench.lines()),
        cpu(
            figures,
            "CPU: what zstd adds ÷ `orjson.loads` of the lines",
            lambda of: (of("audit zstd") - of("audit lines")) / of("orjson lines"),
            0.15,
        ),
        cpu(
            figures,
            "CPU: audit of one 100 MB document ÷ `orjson.loads` of it",
            lambda of: of("audit document") / of("orjson document"),
            0.25,
        ),
        Result("memory: the same, whole processes", document / parsed, 0.3),
        Result("memory: the same above what the imports take", (document - base) / (parsed - floor)),
        cpu(
            figures,
            "CPU: gateway log (LiteLLM rows) audit ÷ `orjson.loads` of the same rows",
            lambda of: of("audit rows") / of("orjson rows"),
            0.9,
        ),
    ]
    return told(HEADING, prose, results)


def column_bytes_per_span(path: Path) -> tuple[float, float]:
    """Bytes a span that one loaded export holds: in arrays, and in arrays and interned strings together.

    One of the two places that know how the auditor is called as a library.
    It runs in a process of its own, so that the harness stays small.
    """
    from auditor.load import load  # noqa: PLC0415  the harness itself must not import the auditor
    from auditor.normalise.vocabulary import compile_lexicon  # noqa: PLC0415  as above

    loaded = load([str(path)], compile_lexicon())
    arrays = sum(batch.column_bytes for batch in loaded.batches)
    strings = sum(sys.getsizeof(text) + 8 for batch in loaded.batches for text in batch.texts)
    return arrays / loaded.spans_read, (arrays + strings) / loaded.spans_read


def _columns(path: Path) -> list[Result]:
    """Ask a process of its own how many bytes a span the auditor holds."""
    done = subprocess.run(
        [sys.executable, __file__, str(path)], check=False, capture_output=True, text=True, env=environment()
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return [Result("bytes a span held in columns", None, 56, problem=last[0])]
    arrays, everything = json.loads(done.stdout)
    return [
        Result("bytes a span held in columns", arrays, 56),
        Result("the same with interned ids and strings", everything),
    ]


if __name__ == "__main__":
    print(json.dumps(column_bytes_per_span(Path(sys.argv[1]))))
