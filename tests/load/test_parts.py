"""Inputs read in parts: whatever they are cut into, the same comes out as of reading them in one go."""

from __future__ import annotations

import gzip
import json
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor.errors import InputError
from auditor.load import (
    Loaded,
    Part,
    PartRead,
    PartReader,
    builder,
    join_parts,
    joined,
    load,
    plan_parts,
    read_part,
    unread,
)
from auditor.load.formats import FORMATS
from auditor.load.sources import CrossingError, Opened, Source
from auditor.model.mapping import SourceMapping
from auditor.model.report import Recognition
from auditor.model.spans import Batch, mix
from auditor.normalise.vocabulary import compile_lexicon
from auditor.pipeline import audit
from auditor.settings import Settings
from builders import MODEL, call, request, span
from load_documents import LLMOBS

LEXICON = compile_lexicon()
SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
TRACE = "ab" * 16


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@contextmanager
def small_limits(*, warm_texts: int = 2) -> Iterator[None]:
    """Reach every limit with a few spans, and hand a batch on after every other one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "FLUSH_SPANS", 2)
        patch.setattr("auditor.load.parts.WARM_TEXTS", warm_texts)
        for name in ("KEPT_REJECTIONS", "KEPT_VERSIONS", "SAMPLE_SIZE"):
            patch.setattr(builder, name, 2)
            patch.setattr(joined, name, 2)
        yield


def looked_up(table: Sequence[Any], codes: np.ndarray) -> list[Any]:
    return [table[code] if code >= 0 else None for code in codes.tolist()]


def said(batches: Sequence[Batch], position: Callable[[int, int], tuple[str, int]]) -> dict[str, list[Any]]:
    """What batches say, whatever their codes and the order of their rows are and wherever one ends."""
    found: dict[str, list[Any]] = {name: [] for name in ("spans", "calls", "links", "ids")}
    names: dict[int, str] = {}
    for batch in batches:
        spans = [
            (*ids, tuple(trace), *rest)
            for ids, trace, *rest in zip(
                zip(batch.key.tolist(), batch.parent.tolist(), strict=True),
                batch.trace_ids[batch.trace].tolist(),
                looked_up(batch.places, batch.place),
                looked_up(batch.tenants, batch.tenant),
                batch.start_ns.tolist(),
                map(str, batch.duration_ms.tolist()),
                strict=True,
            )
        ]
        calls = zip(
            [spans[row] for row in batch.call_row.tolist()],
            looked_up(batch.facts, batch.call_facts),
            batch.tokens.tolist(),
            looked_up(batch.texts, batch.call_user),
            looked_up(batch.texts, batch.call_workflow),
            [
                position(part, line)
                for part, line in zip(batch.call_part.tolist(), batch.call_line.tolist(), strict=True)
            ],
            strict=True,
        )
        extras = {
            number: extra
            for number, *extra in zip(
                batch.extra_call.tolist(),
                batch.extra_searches.tolist(),
                batch.extra_cost_pico.tolist(),
                looked_up(batch.texts, batch.extra_log_id),
                strict=True,
            )
        }
        found["spans"] += spans
        found["calls"] += [(*call, extras.get(number)) for number, call in enumerate(calls)]
        found["links"] += [
            (spans[row], *link)
            for row, *link in zip(
                batch.link_row.tolist(), batch.link_key.tolist(), batch.link_trace.tolist(), strict=True
            )
        ]
        found["ids"] += [
            (spans[row], *shared)
            for row, *shared in zip(batch.id_row.tolist(), batch.id_kind.tolist(), batch.id_hash.tolist(), strict=True)
        ]
        names |= batch.names
    return {**{name: sorted(entries, key=repr) for name, entries in found.items()}, "names": sorted(names.items())}


def told(loaded: Loaded) -> dict[str, Any]:
    """All that a run has read."""
    return {
        "inputs": loaded.inputs,
        "sample": loaded.sample,
        "corrupt": loaded.corrupt_counts,
        "dropped": loaded.dropped_copies,
        "versions": loaded.service_versions,
        "sdks": loaded.service_sdks,
        **said(loaded.batches, loaded.position),
    }


def outcome(paths: Sequence[str], **options: Any) -> Any:
    """All that a run has read, or why it could not."""
    try:
        return told(load(paths, LEXICON, explain_trace=TRACE, **options))
    except InputError as error:
        return str(error), error.hint


# -- ranges of any bytes -----------------------------------------------------------------------------


def records() -> Iterator[dict[str, Any]]:
    """Requests that between them have something of everything that is kept of an input."""
    for number in range(12):
        version = f"{number % 5}.0"
        spans = [
            {
                "traceId": TRACE if number % 3 else f"{number + 1:032x}",
                "spanId": f"{1000 - number // 2:016x}",
                "parentSpanId": f"{999 - number:016x}" if number % 2 else "",
                "name": f"span {number}",
                "kind": number % 6,
                "startTimeUnixNano": str(1_790_000_000_000_000_000 - number) if number % 4 else "0",
                "endTimeUnixNano": str(1_790_000_000_001_000_000 + number),
                "attributes": [
                    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                    {"key": "gen_ai.request.model", "value": {"stringValue": MODEL}},
                    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(number - 2)}},
                    {"key": "gen_ai.usage.new_tokens", "value": {"intValue": "5"}},
                    {"key": "gen_ai.response.id", "value": {"stringValue": f"r-{number}"}},
                    {"key": "shop.client", "value": {"stringValue": f"client {number % 3}"}},
                    *([{"key": "tenant.id", "value": {"stringValue": "acme"}}] if number % 2 else []),
                ],
                "links": [{"traceId": f"{number + 7:032x}", "spanId": "cd" * 8}] if number % 5 == 0 else [],
            },
            *([{"traceId": "no trace", "spanId": f"{number + 1:016x}"}] if number % 4 == 1 else []),
        ]
        resource = {"service.name": f"web {number % 2}", "service.version": version, "telemetry.sdk.version": version}
        yield {
            "resourceSpans": [
                {
                    "resource": {
                        "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in resource.items()]
                    },
                    "scopeSpans": [{"scope": {"name": f"sdk {number % 2}", "version": version}, "spans": spans}],
                }
            ]
        }
    yield {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "gen_ai"}}]}]}]}
    yield {"resourceMetrics": []}
    yield {"resource_spans": [{"scope_spans": [{"spans": [{"trace_id": TRACE, "span_id": "12" * 8}]}]}]}
    yield {"resourceSpans": 7}
    yield {"other": {"a": [{"b": 1}]}}


RECORDS = [json.dumps(record).encode() for record in records()]
PRINTED = [json.dumps(record, indent=1).encode() for record in records()]
record = st.sampled_from(RECORDS)
printed = st.sampled_from(PRINTED)
line = st.one_of(
    record,
    record,
    record,
    printed,
    printed.map(lambda text: text.replace(b"\n", b"\r\n")),
    st.lists(record, min_size=2, max_size=3).map(b"".join),
    st.tuples(record, printed).map(b" ".join),
    st.tuples(printed, record).map(b"".join),
    st.tuples(record | printed, st.integers(1, 400)).map(lambda cut: cut[0][: cut[1]]),
    st.tuples(record | printed, st.integers(1, 400)).map(lambda cut: cut[0][cut[1] :]),
    st.tuples(st.sampled_from((b" ", b"\t ", b"  \r")), record).map(b"".join),
    st.sampled_from(
        (b"", b"", b" ", b"\t\r", b"{}", b"[]", b"{} ", b"{", b"[", b"}", b"]", b'"a": 1,', b'"a', b"7", b"text",
         b'{"a": {"b": 1}', b'{"a": ["\\ud83d"]}', b"\xff", b"\0", b"\xef\xbb\xbf{}", b"]\n}", b'{"a":[1,')
    ),
)  # fmt: skip
ends = st.sampled_from((b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b" \n \n", b""))
documents = st.tuples(
    st.sampled_from((b"", b"", b"\xef\xbb\xbf")),
    st.lists(st.tuples(line, ends).map(b"".join), max_size=8).map(b"".join),
    st.sampled_from((b"", b"", b"\n", b"\r\n \n")),
).map(lambda parts: parts[0] + (parts[1].rstrip() if len(parts[1]) % 2 else parts[1]) + parts[2])
shares = st.integers(0, 1000)
"""Size of a range as a share of the file; of none, as small as is allowed here."""


@settings(max_examples=200, deadline=None)
@given(data=documents, share=shares)
@example(data=RECORDS[0] + b"\n" + PRINTED[1] + b"\n" + RECORDS[2] + b"\n", share=150)
@example(data=b'{"resourceSpans":[]}\n{"a":[1,\n' + RECORDS[0] + b"\n" + RECORDS[1], share=0)
@example(data=b"\xef\xbb\xbf\n\n\n{}\n[]\n" + RECORDS[1] + b"\n{}\n" + RECORDS[2], share=0)
def test_ranges_read_what_one_reader_reads(home: Path, data: bytes, share: int) -> None:
    path = home / "ranges.jsonl"
    path.write_bytes(data)
    size = max(len(data) * share // 1000, len(data) // 20, 1)

    with small_limits():
        in_ranges = outcome([str(path)], part_bytes=size)
        in_one = outcome([str(path)])

    assert in_ranges == in_one


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60), size=st.integers(3, 40))
def test_ranges_read_what_one_reader_reads_of_any_bytes(home: Path, data: bytes, size: int) -> None:
    path = home / "bytes"
    path.write_bytes(RECORDS[-2] + b"\n" + data + b"\n" + RECORDS[-3])

    assert outcome([str(path)], part_bytes=size) == outcome([str(path)])


@given(
    lines=st.lists(st.sampled_from((b"{}", b'{"a":1}', b"  [1]", b"", b"   ", b"\r")), min_size=1, max_size=12),
    size=st.integers(1, 12),
    ends=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_each_line_belongs_to_the_range_in_which_it_begins(
    home: Path, lines: list[bytes], size: int, *, ends: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    path = home / "lines"
    path.write_bytes(data)
    starts = [0, *(at + 1 for at, byte in enumerate(data) if byte == ord("\n"))]

    before = 0
    found = []
    for start in range(0, len(data), size):
        opened = Opened(Source("lines", path), start=start, end=start + size)
        values = [(bytes(value).strip(), number, byte) for value, number, byte in opened.records()]
        opened.close()
        owned = [at for at in starts if start <= at < start + size]
        assert all(owned[number - 1] <= byte < start + size + 3 for _, number, byte in values)
        found += [(value, before + number) for value, number, _ in values]
        before += opened.lines

    assert found == [(text.strip(), number + 1) for number, text in enumerate(lines) if text.strip()]


def test_a_range_ends_on_its_line_wherever_the_cut_falls(tmp_path: Path) -> None:
    data = b"".join(text + b"\n" for text in RECORDS[:4])
    path = tmp_path / "lines"
    path.write_bytes(data)
    begins = [0]
    for text in RECORDS[:3]:
        begins.append(begins[-1] + len(text) + 1)

    for cut in range(1, len(data)):
        both = [
            Opened(Source("lines", path), start=0, end=cut),
            Opened(Source("lines", path), start=cut, end=len(data)),
        ]
        assert [[byte for _, _, byte in opened.records()] for opened in both] == [
            [byte for byte in begins if byte < cut],
            [byte for byte in begins if byte >= cut],
        ]
        for opened in both:
            opened.close()


@pytest.mark.parametrize(
    "data",
    [
        b'\n\n  \n{"a": {"b": 1}\n{"a":2}\n',
        b'{"a":1}\n{"a": {"b": 1}\n{"a":2}\n{"a": {"b": 1}\n{"a":3}',
        b'\xef\xbb\xbf\n{"a": {"b": 1}\n{"a":[1,\n{"a":2}\n\n',
    ],
    ids=["the first one", "others", "after a BOM"],
)
def test_only_the_first_record_of_a_file_is_looked_at_closely_wherever_it_is_cut(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(data)

    def values(start: int, end: int | None) -> list[tuple[bytes, int]]:
        opened = Opened(Source("lines", path), start=start, end=end)
        try:
            return [(bytes(value), byte) for value, _, byte in opened.records()]
        finally:
            opened.close()

    whole = values(0, None)
    crossed = 0
    for cut in range(1, len(data)):
        try:
            first = values(0, cut)
        except CrossingError:
            crossed += 1
            continue
        assert first + values(cut, len(data)) == whole
    assert crossed < len(data) - 2


def test_a_broken_line_is_rejected_in_its_range_and_costs_no_second_reading(tmp_path: Path) -> None:
    path = tmp_path / "crashed.jsonl"
    path.write_bytes(RECORDS[0] + b"\n" + RECORDS[1][:200] + b"\n" + RECORDS[2] + b"\n")
    parts = plan_parts([str(path)], part_bytes=400)

    reads = [read_part(part, LEXICON, lambda _: None) for part in parts]

    assert [entry.records for entry in reads if entry.records] == [1, 1, 1]
    assert not any(entry.must_be_whole for entry in reads)
    (summary,) = join_parts(reads).inputs
    assert [(entry.line, entry.byte) for entry in summary.rejections] == [(2, len(RECORDS[0]) + 1)]


def test_a_value_that_goes_on_in_the_next_range_is_read_with_the_whole_input(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(RECORDS[2] + b"\n" + PRINTED[3] + b"\n" + RECORDS[4] + b"\n")
    parts = plan_parts([str(path)], part_bytes=len(RECORDS[2]) + 50)

    reads = [read_part(part, LEXICON, lambda _: None) for part in parts]

    assert [entry.must_be_whole for entry in reads][:2] == [False, True]
    with pytest.raises(ValueError, match="as a whole"):
        join_parts(reads)
    whole = join_parts([read_part(parts[1].whole(), LEXICON, lambda _: None)])
    assert (whole.inputs, whole.sample) == (load([str(path)], LEXICON).inputs, load([str(path)], LEXICON).sample)


# -- formats -----------------------------------------------------------------------------------------


def values_of(path: Path) -> list[Any]:
    """The JSON values of a file, those of a list one by one."""
    opened = Opened(Source(str(path), path))
    try:
        values = [json.loads(bytes(value)) for value, _, _ in opened.records()]
    finally:
        opened.close()
    return [inner for value in values for inner in (value if isinstance(value, list) else [value])]


def exports() -> Iterator[list[Any]]:
    """Records of the samples, and of what there is no sample of."""
    for path in sorted(SAMPLES.rglob("*.json*")):
        if path.suffix in {".json", ".jsonl"}:
            with suppress(ValueError):
                yield values_of(path)
    otlp = values_of(SAMPLES / "otlp-celery-span-links.json")
    yield [LLMOBS]
    yield [{"result": value} for value in otlp]
    yield [{"batches": value["resourceSpans"]} for value in otlp]


EXPORTS = list(exports())


@pytest.mark.parametrize("form", [form.name for form in FORMATS if form.is_splittable])
def test_records_of_a_splittable_format_stand_for_themselves(home: Path, form: str) -> None:
    chance = random.Random(form)
    path = home / "export.jsonl"
    read = 0
    for values in EXPORTS:
        path.write_bytes(b"".join(json.dumps(value).encode() + b"\n" for value in values * 3))
        try:
            loaded = load([str(path)], LEXICON)
        except InputError:
            continue
        if loaded.inputs[0].format != form:
            continue
        for pieces in (2, 3, chance.randrange(4, 40)):
            size = max(path.stat().st_size // pieces, 1)
            parts = plan_parts([str(path)], part_bytes=size)
            assert len(parts) >= pieces
            read += loaded.spans_read
            assert told(load([str(path)], LEXICON, part_bytes=size)) == told(loaded)

    assert read, f"no sample of {form} was read in ranges"


def test_rows_that_a_mapping_reads_are_read_in_ranges(tmp_path: Path) -> None:
    path = tmp_path / "calls.log"
    rows = [{"n": number, "m": MODEL, "t": 7, "who": f"tenant {number % 3}"} for number in range(50)]
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    mapping = SourceMapping(
        name="own", fields={"id": ("n",), "model": ("m",), "input_tokens": ("t",), "tenant": ("who",)}
    )

    parts = plan_parts([str(path)], [mapping], part_bytes=500)
    in_ranges = outcome([str(path)], mappings=[mapping], part_bytes=500)

    assert {part.format for part in parts} == {"mapping:own"}
    assert len(parts) > 3
    assert len(in_ranges["calls"]) == 50
    assert in_ranges == outcome([str(path)], mappings=[mapping])


OPENAI_BATCH = [
    {"id": "batch_1", "object": "batch", "input_file_id": "f", "metadata": {"tenant": "acme"}},
    *(
        {
            "id": f"r{number}",
            "custom_id": f"c{number}",
            "response": {"status_code": 200, "body": {"id": f"x{number}", "model": MODEL}},
            "error": None,
        }
        for number in range(20)
    ),
]


SEGMENT = {
    "trace_id": "1-58406520-a006649127e371903a2de979",
    "id": "70de5b6f19ff9a0a",
    "name": "web",
    "start_time": 1.0,
}


@pytest.mark.parametrize(
    "data",
    [
        b"".join(json.dumps(row).encode() + b"\n" for row in OPENAI_BATCH),
        (b'{"format": "json", "version": 1}\n' + json.dumps(SEGMENT).encode() + b"\n") * 20,
        gzip.compress(b"".join(text + b"\n" for text in RECORDS)),
        b"id,model,tokens\n" + b"1,gpt-4o,7\n" * 200,
        json.dumps(json.loads(RECORDS[0])).encode() * 20,
        PRINTED[0],
        b"[" + b",\n".join(RECORDS) + b"]",
        b"\n".join([b"no JSON"] * 100),
    ],
    ids=["lines after a batch", "segments", "gzip", "a table", "one line", "printed", "a list", "no format"],
)
def test_what_does_not_come_apart_is_one_part(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "export"
    path.write_bytes(data)

    (part,) = plan_parts([str(path)], part_bytes=100)

    assert part.is_whole
    assert part.format == ""


def test_inputs_in_one_piece_are_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(RECORDS[0] + b"\n")
    monkeypatch.setattr("auditor.load.parts.Opened", None)

    parts = plan_parts([str(tmp_path), "-"], part_bytes=1 << 20)

    assert [(part.input, part.number, part.is_whole, part.pieces) for part in parts] == [
        (0, 0, True, 1), (1, 1, True, 1), (2, 2, True, 1),
    ]  # fmt: skip


# -- parts of a run ----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """A run of three inputs, of which the second cannot be read."""
    directory = tmp_path / "found"
    directory.mkdir()
    (directory / "a.jsonl").write_bytes(b"".join(text + b"\n" for text in RECORDS))
    (directory / "b.txt").write_bytes(b"no JSON\n")
    others = b"\n".join([RECORDS[5], b"broken", *reversed(RECORDS)])
    (directory / "c.jsonl").write_bytes(others.replace(b"usage.input_tokens", b"usage.prompt_tokens"))
    return [str(directory)]


def reads_of(parts: Sequence[Part], reader: PartReader | None = None) -> list[tuple[PartRead, list[Batch]]]:
    """Read parts each by itself, or by a reader that remembers."""
    found = []
    for part in parts:
        batches: list[Batch] = []
        try:
            read = (reader or PartReader(LEXICON)).read(part, batches.append)
            found.append((read, batches))
        except InputError as error:
            found.append((unread(part, error), []))
    return found


def test_parts_are_numbered_by_input_and_then_by_byte(run: list[str]) -> None:
    parts = plan_parts(run, part_bytes=1000)

    assert [part.number for part in parts] == list(range(len(parts)))
    assert [(part.input, part.start) for part in parts] == sorted((part.input, part.start) for part in parts)
    assert {part.input for part in parts} == {0, 1, 2}
    for number in (0, 2):
        of_input = [part for part in parts if part.input == number]
        assert [part.pieces for part in of_input] == [len(of_input)] * len(of_input)
        assert [part.end for part in of_input][:-1] == [part.start for part in of_input][1:]
        assert of_input[-1].end == of_input[-1].source.size


@pytest.mark.parametrize("readers", [1, 2, 100])
@pytest.mark.parametrize("seed", range(3))
def test_parts_may_come_in_any_order_and_from_other_processes(run: list[str], seed: int, readers: int) -> None:
    with small_limits(warm_texts=1 << 17):
        whole = load(run, LEXICON)
        parts = pickle.loads(pickle.dumps(plan_parts(run, part_bytes=700)))
        random.Random(seed).shuffle(parts)
        found = [
            read
            for number in range(readers)
            for read in pickle.loads(pickle.dumps(reads_of(parts[number::readers], PartReader(LEXICON))))
        ]

        loaded = join_parts(read for read, _ in found)

    assert whole.inputs[0].keys != whole.inputs[2].keys
    loaded.batches = [
        batch for _, batches in sorted(found, key=lambda entry: entry[0].part.number) for batch in batches
    ]
    assert told(loaded) == told(whole)


@pytest.mark.parametrize(
    "change", [lambda reads: reads[:-1], lambda reads: reads[1:], lambda reads: [*reads, reads[0]]]
)
def test_a_part_that_is_missing_or_came_twice_is_no_result(
    run: list[str], change: Callable[[list[PartRead]], list[PartRead]]
) -> None:
    reads = [read for read, _ in reads_of(plan_parts(run, part_bytes=700))]

    with pytest.raises(ValueError, match="has not been read"):
        join_parts(change(reads))


def test_an_input_of_which_a_part_cannot_be_read_counts_for_nothing(run: list[str]) -> None:
    parts = plan_parts(run, part_bytes=700)
    reads = [read for read, _ in reads_of(parts)]
    reads[1] = unread(parts[1], InputError(f"{parts[1].source.name}: gone"))

    loaded = join_parts(reads)

    assert [entry.format for entry in loaded.inputs] == ["unread", "unread", "otlp-json"]
    assert loaded.inputs[0].rejections[0].reason == "gone"
    assert loaded.inputs[0].bytes == parts[0].source.size
    assert loaded.spans_read == loaded.inputs[2].spans > 0
    assert [loaded.part_inputs[part.number] for part in parts] == [part.input for part in parts]


def test_when_no_input_can_be_read_the_first_error_is_raised(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"no JSON\n")
    found = [read for read, _ in reads_of(plan_parts([str(tmp_path)]))]

    with pytest.raises(InputError, match="a:1: not JSON"):
        join_parts(reversed(found))
    assert [entry.recognition for entry in join_parts(found, may_all_fail=True).inputs] == [Recognition.NOTHING] * 2


def test_batches_are_handed_on_while_a_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "FLUSH_SPANS", 2)
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(RECORDS[2 + number % 2] + b"\n" for number in range(100)))
    seen: list[tuple[int, int]] = []
    taken: list[int] = []

    (part,) = plan_parts([str(path)])
    found = read_part(
        part,
        LEXICON,
        lambda batch: taken.append(len(batch.key)),
        progress=lambda *done: seen.append((len(taken), *done)),
    )

    assert taken == [2] * 50
    assert found.spans == 100
    assert [(batches, spans) for batches, _, spans in seen] == [(number, 2 * number) for number in range(1, 51)]


def test_the_next_range_is_read_with_what_was_learned_in_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[int] = []
    describe = builder.BatchBuilder.describe

    def noted(self: builder.BatchBuilder, *arguments: Any, **options: Any) -> Any:
        described.append(1)
        return describe(self, *arguments, **options)

    monkeypatch.setattr(builder.BatchBuilder, "describe", noted)
    path = tmp_path / "alike.jsonl"
    path.write_bytes(b"".join(json.dumps(request(call(response=f"r{n}"))).encode() + b"\n" for n in range(30)))
    parts = plan_parts([str(path)], part_bytes=1000)
    assert len(parts) > 10

    counts = []
    for limit in (1 << 17, -1):
        monkeypatch.setattr("auditor.load.parts.WARM_TEXTS", limit)
        described.clear()
        reads_of(parts, PartReader(LEXICON))
        counts.append(len(described))

    assert counts[0] <= 2
    assert counts[1] > 10


def test_a_part_number_takes_no_more_bytes_than_it_has_to(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(json.dumps(request(call())).encode())
    source = Source(str(path), path)

    for number, width in ((0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 4)):
        batches: list[Batch] = []
        read_part(Part(source, 0, number), LEXICON, batches.append)
        (batch,) = batches
        assert batch.call_part.tolist() == [number]
        assert batch.call_part.itemsize == width


def test_progress_of_ranges_adds_up_over_inputs(run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "FLUSH_SPANS", 1)
    seen: list[tuple[int, int]] = []

    loaded = load(run, LEXICON, part_bytes=700, progress=lambda *done: seen.append(done))

    assert seen == sorted(seen)
    assert seen[-1][0] <= sum(entry.bytes for entry in loaded.inputs)
    assert seen[-1][1] == loaded.spans_read


def test_samples_name_the_line_of_the_input_that_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(
        b"\n\n".join(json.dumps(request(call(f"c{number}", id=f"s{number}"))).encode() for number in range(40))
    )
    whole = audit([str(path)], Settings(exit_zero=True)).report
    monkeypatch.setattr("auditor.load.plan_parts", lambda *inputs, **_: plan_parts(*inputs, part_bytes=900))

    cut = audit([str(path)], Settings(exit_zero=True)).report

    samples = [sample.line for finding in cut.findings for sample in finding.samples]
    assert max(samples) > 1
    assert all(line % 2 for line in samples)
    assert cut == whole


# -- what is kept of many ----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.integers(1, 4), max_size=12),
    keys=st.randoms(use_true_random=False),
    size=st.integers(200, 4000),
)
def test_the_sample_for_unknown_keys_has_no_order(
    home: Path, numbers: list[int], keys: random.Random, size: int
) -> None:
    spans = [
        request(call(f"c{n}", trace=f"t{n % 2}", id=f"s{n}", attributes={"shop.client": keys.choice("ab")}))
        for n in numbers
    ]
    entries = [json.dumps(entry).encode() for entry in [*spans, request(span("root"))]]
    path, other = home / "sample", home / "shuffled"
    path.write_bytes(b"\n".join(entries))
    keys.shuffle(entries)
    other.write_bytes(b"\n".join(entries))

    with small_limits():
        one = load([str(path)], LEXICON).sample
        found = [load([str(name)], LEXICON, part_bytes=size).sample for name in (path, other)]

    assert found == [one, one]
    assert len(one) <= 2


def test_rejections_are_the_first_by_position_whenever_they_were_found() -> None:
    made = builder.BatchBuilder(LEXICON)
    made.mark(1, 0)
    made.add_span("no id", "no id", "", 0, -1, 0, 0)
    made.reject(2, 50, "second")
    made.mark(3, 90)
    made.add_span("no id", "no id", "", 0, -1, 0, 0)
    made.flush()
    made.reject(3, 90, "third")

    unreadable = "a span has no readable trace id or span id"
    assert [(entry.line, entry.byte, entry.reason) for entry in made.rejections] == [
        (1, 0, unreadable), (2, 50, "second"), (3, 90, "third"), (3, 90, unreadable),
    ]  # fmt: skip
    assert made.rejected == 4


def test_a_link_names_the_trace_that_it_leads_to(tmp_path: Path) -> None:
    path = tmp_path / "linked.json"
    other = (0x0123456789ABCDEF, 0xFEDCBA9876543210)
    linked = json.loads(RECORDS[0])
    linked["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["links"] = [
        {"traceId": f"{other[0]:016x}{other[1]:016x}", "spanId": f"{5:016x}"}
    ]
    path.write_bytes(json.dumps(linked).encode())

    (batch,) = load([str(path)], LEXICON).batches

    mixed = mix(np.array(other[:1], dtype=np.uint64), np.array(other[1:], dtype=np.uint64))
    assert batch.link_trace.tolist() == mixed.tolist()
    assert (batch.link_key ^ batch.link_trace).tolist() == [5]
