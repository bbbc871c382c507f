"""Rows of a table that say what rows before them said: they are taken over as columns, none of them looked at.

Most spans carry neither ids nor counts, and nothing is kept of them but their own ids, times, a place and tenants,
and of calls the facts. Where a span stands, and what call it is, follows from what its row says in all columns but
those of tenants; its tenants follow from these and from the resource. Both are learned from rows that were read one
by one, and looked up for all others: by the numbers of their values, so that nothing becomes a Python value that was
seen before.

Left to be read one by one are rows with an id, a count, or an object that may hold either, rows of the sample for
unknown keys, and all that is odd.
"""

from __future__ import annotations

import binascii
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from auditor.load.builder import ID_FIELDS, PRESENCE_BELOW, TOKEN_FIELDS, KnownCall, Pack, ResourceFacts, text_of
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import Span
from auditor.load.plans import ENTRIES
from auditor.load.span_writer import SpanWriter
from auditor.model.lexicon import RANKS, Field
from auditor.model.spans import I32, I64, U64

if TYPE_CHECKING:
    import pyarrow as pa

Bools = npt.NDArray[np.bool_]
Asked = tuple[bytes, bytes]
"""What the place of a span depends on, and what its tenants depend on."""
Left = tuple[int, Asked | None, ResourceFacts, str, Span]
"""A row that is to be read by itself: its number, what to remember it by, resource, scope and span."""

TELLING = frozenset(
    {
        *ID_FIELDS, *TOKEN_FIELDS, Field.METADATA, Field.TAGS, Field.PARAMETERS, Field.USAGE_DETAILS, Field.SEARCHES,
        Field.REPORTED_COST, Field.FIRST_CHUNK,
    }
)  # fmt: skip
"""What is hardly ever the same twice, or holds several things: a row that has it is read by itself."""
CACHED_MARKS = 1 << 15
CACHED_VALUES = 1 << 15
"""Values of a column that are worth a number."""
FIRST_STEP = 1 << 8
"""Rows that are looked at before anything is known."""
WIDTH = 32
"""Columns that are added to a mark at a time."""
UNKNOWN = -2
"""No code of tenants: -1 is the one of none."""
NO_NUMBER = -1
LAST_ID = (1 << 64) - 1


class Rest(NamedTuple):
    """Rows that are to be read one by one."""

    rows: I64
    asked: list[Asked | None]
    """What to remember each of them by; ``None`` where that is no use."""


class Column(NamedTuple):
    """What some rows say in a column."""

    position: int
    """In marks."""
    rows: Any
    """Their numbers, or a slice."""
    numbers: I32 | int
    """Of their values."""


class Meant(NamedTuple):
    """What rows with the same mark of their place came to."""

    place: int
    is_looked_at: bool
    """Of the sample for unknown keys, all attributes are looked at: a request comes in there, or it is a call."""
    call: KnownCall | None


class Said:
    """What the rows of a piece say, column by column."""

    def __init__(self, count: int, known: KnownRows) -> None:
        self.count = count
        self.place: list[Column] = []
        self.tenants: list[Column] = []
        self.is_usual: Bools = np.ones(count, bool)
        self._known = known

    def leave(self, rows: Any) -> None:
        """Have rows read one by one."""
        self.is_usual[rows] = False

    def add(self, name: str, values: pa.Array) -> None:
        """Note what all rows say in a column that is no attribute."""
        self.place.append(self._known.of_place.column(f" {name}", slice(None), values.fill_null("")))

    def add_resources(self, resources: Sequence[ResourceFacts], of_rows: I64) -> None:
        """Note the resource of each row: the place depends on it, and the tenants on its tenants."""
        known = self._known
        numbers = np.fromiter(map(known.number_of, resources), np.int32, len(resources))
        self.place.append(Column(known.of_place.position(" resource"), slice(None), numbers[of_rows]))
        # From 1, as the numbers of values.
        tenants = np.fromiter([resource.tenant_code + 2 for resource in resources], np.int32, len(resources))
        self.tenants.append(Column(known.of_tenants.position(" resource"), slice(None), tenants[of_rows]))

    def add_attribute(self, key: str, rows: Any, values: pa.Array) -> None:
        """Note the values of an attribute that is asked for, of the rows in which it is not absent."""
        known = self._known
        code = known.codes.get(key)
        if code is None or code // RANKS in TELLING or not _is_plain(values.type):
            self.leave(rows)
        elif code // RANKS == Field.TENANT:
            # Of a call it is kept what stands where a tenant should be.
            self.tenants.append(known.of_tenants.column(key, rows, values, known.is_placeholder))
        elif code < PRESENCE_BELOW:
            self.place.append(Column(known.of_place.position(key), rows, 1))
        else:
            self.place.append(known.of_place.column(key, rows, values))


class Marks:
    """Numbers what columns say, and makes one mark of all that a row says."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._numbers: dict[str, dict[Any, int]] = {}

    def position(self, name: str) -> int:
        """Place of a column in a mark."""
        return self._positions.setdefault(name, len(self._positions))

    def column(self, name: str, rows: Any, values: pa.Array, is_odd: Callable[[str], bool] | None = None) -> Column:
        """Number the values of a column, from 1; odd ones and those beyond what is remembered have ``NO_NUMBER``."""
        known = self._numbers.setdefault(name, {})
        encoded = values.dictionary_encode()
        numbers = []
        for value in encoded.dictionary.to_pylist():
            number = known.get(value, NO_NUMBER)
            if number == NO_NUMBER and len(known) < CACHED_VALUES and not (is_odd and is_odd(text_of(value))):
                number = known[value] = len(known) + 1
            numbers.append(number)
        return Column(self.position(name), rows, np.array(numbers, np.int32)[encoded.indices.to_numpy()])

    def table(self, columns: Sequence[Column], count: int) -> I32:
        """What rows say, by number."""
        found = np.zeros((count, WIDTH * (len(self._positions) // WIDTH + 1)), np.int32)
        for position, rows, numbers in columns:
            found[rows, position] = numbers
        return found


class KnownRows:
    """Takes over the rows of a table that say nothing new."""

    def __init__(self, writer: SpanWriter) -> None:
        self.codes = writer.builder.lexicon.span_codes
        self.of_place = Marks()
        self.of_tenants = Marks()
        self._writer = writer
        self.is_placeholder = writer.builder.lexicon.is_placeholder
        self._meant: dict[bytes, Meant] = {}
        self._tenants: dict[bytes, int] = {}
        self._resources: dict[int, tuple[int, ResourceFacts]] = {}
        self._step = FIRST_STEP

    def steps(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Cut rows into pieces, and say where each begins: small ones first, so that much is known of most."""
        start = 0
        while start < batch.num_rows:
            yield start, batch.slice(start, self._step)
            start += self._step
            self._step *= 2

    def number_of(self, resource: ResourceFacts) -> int:
        """Number of a resource, which is held so that none gets that of another; from 1, as those of values."""
        known = self._resources
        number, _ = known.get(id(resource), (NO_NUMBER, None))
        if number == NO_NUMBER and len(known) < CACHED_VALUES:
            number = len(known) + 1
            known[id(resource)] = number, resource
        return number

    def take(self, said: Said, ids: Sequence[pa.Array], times: tuple[I64, I64], line: int) -> Rest:
        """Take over the rows that say nothing new; ids are those of traces, spans and parents.

        ``line`` is that of the first row.
        """
        builder = self._writer.builder
        if builder.explain_trace is not None or not all(map(_is_text, ids)):
            # Of a trace that is explained, the names of its spans are asked for.
            return Rest(np.arange(said.count), [None] * said.count)
        (traces, are_traces), (spans, are_spans), (parents, are_parents) = map(hex_column, ids, (16, 8, 8))
        places = self.of_place.table(said.place, said.count)
        tenants = self.of_tenants.table(said.tenants, said.count)
        usual = said.is_usual & are_traces & are_spans & are_parents & traces.any(axis=1) & spans.any(axis=1)
        usual &= (places != NO_NUMBER).all(axis=1) & (tenants != NO_NUMBER).all(axis=1)
        rows = np.flatnonzero(usual)
        asked = list(zip(_marks(places[rows]), _marks(tenants[rows]), strict=True))
        meant_of, tenant_of = self._meant.get, self._tenants.get
        meant = [meant_of(mark) for mark, _ in asked]
        tenant = np.fromiter([tenant_of(mark, UNKNOWN) for _, mark in asked], np.int64, len(asked))
        is_known = np.fromiter([found is not None for found in meant], bool, len(meant)) & (tenant != UNKNOWN)
        # What a row of the sample comes to is the same, but all of its attributes are looked at.
        is_new = ~is_known
        is_sampled = spans[rows, 0] <= np.uint64(min(builder.sample_to, LAST_ID))
        is_known[is_sampled] &= np.array(
            [found is not None and not found.is_looked_at for found in itertools.compress(meant, is_sampled)], bool
        )
        taken = rows[is_known]
        known = [found for found in itertools.compress(meant, is_known) if found is not None]
        if known:
            pack = Pack(
                traces[taken],
                spans[taken, 0],
                parents[taken, 0],
                np.fromiter([found.place for found in known], np.uint32, len(known)),
                tenant[is_known].astype(np.int32),
                times[0][taken],
                times[1][taken],
            )
            builder.add_pack(pack)
            builder.records += len(known)
            first = builder.packed - len(known)
            for number, found in enumerate(known):
                if found.call is not None:
                    builder.add_known_call(first + number, found.call, line_of(line, int(taken[number])))
        is_left = np.ones(said.count, bool)
        is_left[taken] = False
        new = dict(zip(rows[is_new].tolist(), itertools.compress(asked, is_new), strict=True))
        left = np.flatnonzero(is_left)
        return Rest(left, list(map(new.get, left.tolist())))

    def read(self, spans: Iterable[Left], line: int, byte: int) -> None:
        """Read the rows that were left, and remember what they come to; ``line`` is that of the first of all rows."""
        self._writer.walk_rows(self._learned(spans, line, byte))

    def _learned(self, spans: Iterable[Left], line: int, byte: int) -> Iterator[tuple[int, int, Group]]:
        builder = self._writer.builder
        for row, asked, resource, scope, span in spans:
            group = resource, scope, (span,)
            if asked is None:
                yield line_of(line, row), byte, group
                continue
            rows, calls, behind = builder.next_row, len(builder.call_row), self._behind()
            yield line_of(line, row), byte, group
            calls = len(builder.call_row) - calls
            if builder.next_row == rows or self._behind() != behind or calls > 1:
                continue
            call = builder.last_call() if calls else None
            if calls and call is None:
                continue
            by_place, by_tenants = asked
            if len(self._meant) < CACHED_MARKS:
                place = builder.place[-1]
                is_looked_at = bool(calls) or builder.places[place].shape.role in ENTRIES
                self._meant[by_place] = Meant(place, is_looked_at, call)
            if len(self._tenants) < CACHED_MARKS:
                self._tenants[by_tenants] = builder.tenant[-1]

    def _behind(self) -> tuple[int, int, int]:
        """How much there is besides rows and calls."""
        builder = self._writer.builder
        return len(builder.id_row), len(builder.link_row), builder.unread_usage.total()


def line_of(first: int, row: int) -> int:
    """Line of a row behind that of a first one; 0 where rows come without places."""
    return first + row if first else 0


def hex_column(column: pa.Array, width: int) -> tuple[U64, Bools]:
    """Ids of ``width`` bytes as big-endian 64-bit columns, and which of them can be read.

    That are those in hex of that length, and those that are absent or empty, which read as 0.
    """
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a table is

    column = column.fill_null("") if column.null_count else column
    _, ends, data = column.buffers()
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    ends = np.frombuffer(ends, kind)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(ends)
    is_whole = lengths == 2 * width
    found = np.zeros((len(column), width // 8), np.uint64)
    digits = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    if lengths.sum() != 2 * width * is_whole.sum():
        digits = digits[np.repeat(is_whole, lengths)]
    try:
        found[is_whole] = np.frombuffer(binascii.unhexlify(digits.data), ">u8").reshape(-1, width // 8)
    except binascii.Error:
        is_whole[:] = False
    return found, is_whole | (lengths == 0)


def nothing(count: int) -> pa.Array:
    """A column of texts that is not there."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.nulls(count, pa.string())


def _marks(table: I32) -> list[bytes]:
    data, step = table.tobytes(), table.itemsize * table.shape[1]
    return [data[at : at + step] for at in range(0, len(data), step)]


def _is_text(column: pa.Array) -> bool:
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a table is

    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _is_plain(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
    )
