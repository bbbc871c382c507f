"""One row of a gateway's log or a provider's record, in the same words whoever wrote it, and how it becomes columns.

A module of ``auditor.load.gateways`` knows one system: it turns a JSON value into a ``Row``, or says why there is
none. What may be a tenant is decided here, from tables: metadata objects and tags are opened like those of spans,
and of the system's own fields only those count that ``gateways/fields.toml`` or the user names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, text_of
from auditor.load.row_values import caller_paths, hex_id, list_of, object_of, tenant_fields
from auditor.model.lexicon import Field, Operation
from auditor.model.spans import NO_COUNT, CallerSaid, CallFacts, IdKind, Kind, Role, TenantTag

WRAPPERS = ("data", "result", "results", "logs", "value")
"""Keys under which an API's answer holds the rows."""
NOISE_TAG = "User-Agent"
"""LiteLLM adds tags with this key by itself."""
DECLARED = "settings"
"""Vocabulary of the keys that the user declared."""
END_USER = "end_user"
LEAST_NS = 1000
"""Length of a call whose end is not logged: without any it would read as a note about a call."""


class Counts(NamedTuple):
    """Token counts as the row reports them, in the order of ``TOKEN_COLUMNS``; ``None`` where it is silent."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    """Of five minutes or of unknown lifetime."""
    cache_write_1h: int | None = None
    total: int | None = None
    reasoning: int | None = None
    """Only where it is not part of output."""

    @property
    def is_usage(self) -> bool:
        """Whether any token was counted: a call of nothing at all is one whose usage was lost."""
        return bool(self.input or self.output or self.cache_read or self.cache_write or self.cache_write_1h)


NO_USAGE = Counts()


@dataclass(slots=True, kw_only=True)
class Row:
    """What one row says. Texts are empty and numbers ``None`` where it says nothing."""

    id: str
    """The log's own id of the row; the same request may have several rows."""
    start_ns: int = 0
    """Start of the call in UTC nanoseconds; 0 where it is not logged."""
    end_ns: int = 0
    trace: str = ""
    """What rows of one request share, in any form; hex of 16 bytes is a trace id that spans may share too."""
    span: str = ""
    """The row's own span id as hex, where the log has one."""
    parent: str = ""
    """The span id of the caller as hex, of the same trace."""
    attempt: str = ""
    """What tells the attempts of one request apart, where ``id`` does not."""
    provider: str = ""
    request_model: str = ""
    response_model: str = ""
    operation: Operation = Operation.CHAT
    counts: Counts = NO_USAGE
    cache_inside: bool | None = None
    """Whether input includes cached tokens; ``None`` where the source does not define it."""
    searches: int | None = None
    cost_pico: int | None = None
    """Cost as the log reports it, in pico-USD; 0 where it says so, which often stands for what it could not price."""
    streamed: bool | None = None
    first_chunk: bool = False
    """An answer had begun."""
    failed: bool = False
    cache_hit: bool = False
    """Answered from the gateway's own cache: no provider was asked."""
    partial: bool = False
    """The counts are the gateway's estimate of an answer that broke off."""
    batch: bool = False
    service_tier: str = ""
    credential: str = ""
    """The key that the gateway or the provider was called with, or its digest."""
    response_id: str = ""
    upstream_id: str = ""
    """The response id of the provider behind the gateway, where the gateway answers with one of its own."""
    call_id: str = ""
    """The id that the gateway gave the call, which its answer carries in a header."""
    request_id: str = ""
    batch_id: str = ""
    session: str = ""
    """The caller's own session id, never one that a gateway made up."""
    user: str = ""
    workflow: str = ""
    environment: str = ""
    feature: str = ""
    metadata: Sequence[tuple[str, Any]] = ()
    """Objects that the caller or the operator filled: path, and the object or its JSON text."""
    tags: Sequence[tuple[str, Any]] = ()
    """Lists of texts ``key:value``: path and list."""
    fields: Sequence[tuple[str, Any]] = ()
    """Fields of the log that may identify a tenant, for those who set them up so: path and value."""


Told = Row | list[Row] | str | None
"""A row or several, why there is none, or ``None`` for a record that is rightly no call."""
ReadRow = Callable[[dict[str, Any]], Told]


Entry = tuple[str, str, str]
"""Path of an object or a list of tags, a key in it, and the value as text."""


class Identities(NamedTuple):
    """Who a row is for."""

    tenants: tuple[TenantTag, ...]
    """Strongest namespace first."""
    placeholder: str
    """What stood where a tenant should be."""
    others: dict[Field, str]
    caller_said: CallerSaid


class Codes(NamedTuple):
    """The same in the builder's tables."""

    tenant: int
    user: int
    workflow: int
    user_text: str
    workflow_text: str
    policy: tuple[str, str, str, CallerSaid]
    """Environment, feature, placeholder and what the caller said: what call facts take from identities."""
    ids: tuple[tuple[IdKind, str], ...]


class RowWriter:
    """Turns rows of one system into spans and calls of a builder."""

    def __init__(
        self, builder: BatchBuilder, system: str, *, scope: str = "", fields: Mapping[str, str] | None = None
    ) -> None:
        """Write rows of ``system``.

        ``scope`` tells apart two logs of one system that describe the same calls. ``fields`` is path to namespace of
        the fields that name a tenant, where these are not those of ``gateways/fields.toml``.
        """
        self._builder = builder
        self._system = system
        self._scope = scope or system
        self._fields = tenant_fields(system, builder.lexicon.namespaces) if fields is None else fields
        self._callers = frozenset(caller_paths(system) if fields is None else ())
        self._resource = ResourceFacts(system, "", "", (), -1, "", "", "", "")
        self.place = builder.place_code(
            self._resource, scope or system, Kind.UNSPECIFIED, None, Role.MODEL_CALL, provider_api=False, is_row=True
        )
        self._note_place = builder.place_code(
            self._resource, scope or system, Kind.UNSPECIFIED, None, Role.OTHER, provider_api=False, is_row=True
        )

    def take(self, told: Told, line: int, byte: int) -> None:
        """Write the rows that a record tells of, or reject it with its reason."""
        match told:
            case Row():
                self.write(told, line)
            case str():
                self._builder.reject(line, byte, told)
            case list():
                for row in told:
                    self.write(row, line)

    def note(self, row: Row) -> None:
        """Add a record that is no call and knows ids and tenants of calls: a job, a request's input."""
        builder = self._builder
        who = self.identities(row)
        codes = self.codes(who, user=row.user, workflow=row.workflow)
        number = builder.next_row
        for kind, value in ((IdKind.BATCH, row.batch_id), (IdKind.REQUEST, row.request_id), *codes.ids):
            if value:
                builder.add_id(number, kind, value)
        builder.add_span(
            hex_id(row.trace or row.id, 16, self._system),
            row.span or hex_id(f"{row.id}\n{row.attempt}", 8, self._scope),
            NO_PARENT,
            self._note_place,
            codes.tenant,
            row.start_ns,
            max(row.end_ns, row.start_ns + LEAST_NS),
        )

    def write(self, row: Row, line: int) -> None:
        """Add a row as a span and a call."""
        who = self.identities(row)
        self.add(row, self.facts(row, who), who, line)

    def add(self, row: Row, facts: CallFacts, who: Identities, line: int) -> None:
        """Add a row whose facts and identities are known."""
        builder = self._builder
        number = builder.next_row
        for kind, value in (
            (IdKind.SESSION, row.session),
            (IdKind.CALL, row.call_id),
            (IdKind.RESPONSE, "" if row.cache_hit else row.response_id),
            (IdKind.RESPONSE, "" if row.cache_hit else row.upstream_id),
            (IdKind.BATCH, row.batch_id),
            (IdKind.REQUEST, row.request_id),
        ):
            if value:
                builder.add_id(number, kind, value)
        codes = self.codes(who, user=row.user, workflow=row.workflow)
        for kind, value in codes.ids:
            builder.add_id(number, kind, value)
        if facts.vocabulary:
            builder.vocabularies.add(facts.vocabulary)
        counts = row.counts if row.counts.is_usage else NO_USAGE
        builder.add_call(
            number,
            facts,
            tuple(NO_COUNT if count is None else count for count in counts),
            user=codes.user_text,
            workflow=codes.workflow_text,
            line=line,
            searches=row.searches,
            cost=row.cost_pico or None,
            log_id=row.id,
        )
        builder.add_span(
            hex_id(row.trace or row.id, 16, self._system),
            row.span or hex_id(f"{row.id}\n{row.attempt}", 8, self._scope),
            row.parent or NO_PARENT,
            self.place,
            codes.tenant,
            row.start_ns,
            max(row.end_ns, row.start_ns + LEAST_NS),
        )

    def codes(self, who: Identities, *, user: str = "", workflow: str = "") -> Codes:
        """What identities come to in the builder's tables; metadata comes before the log's own user and workflow."""
        builder = self._builder
        others = who.others
        user = others.get(Field.USER, "") or builder.identity(user)
        workflow = others.get(Field.WORKFLOW, "") or workflow
        ids = (
            (IdKind.USER, user),
            (IdKind.WORKFLOW, workflow),
            (IdKind.SESSION, others.get(Field.SESSION, "")),
            (IdKind.BATCH, others.get(Field.BATCH_ID, "")),
            (IdKind.REQUEST, others.get(Field.REQUEST_ID, "")),
        )
        return Codes(
            tenant=builder.with_resource(who.tenants, self._resource),
            user=builder.text_code(user),
            workflow=builder.text_code(workflow),
            user_text=user,
            workflow_text=workflow,
            policy=(others.get(Field.ENVIRONMENT, ""), others.get(Field.FEATURE, ""), who.placeholder, who.caller_said),
            ids=tuple((kind, value) for kind, value in ids if value),
        )

    def facts(self, row: Row, who: Identities) -> CallFacts:
        """What a row says besides numbers and ids."""
        is_batch = row.batch or row.operation is Operation.BATCH
        return CallFacts(
            provider=row.provider,
            request_model=row.request_model,
            response_model=row.response_model,
            operation=row.operation,
            vocabulary=self._system if row.counts.is_usage else "",
            disjoint=None if row.cache_inside is None else not row.cache_inside,
            streamed=row.streamed,
            first_chunk=row.first_chunk,
            finished=False,
            has_response_id=not row.failed,
            service_tier=row.service_tier or ("batch" if is_batch else ""),
            failed=row.failed,
            cache_hit=row.cache_hit,
            batch=is_batch,
            environment=row.environment or who.others.get(Field.ENVIRONMENT, ""),
            feature=row.feature or who.others.get(Field.FEATURE, ""),
            credential=self._builder.identity(row.credential),
            placeholder=who.placeholder,
            usage_in_event=False,
            partial=row.partial and row.counts.is_usage and not row.cache_hit,
            abandoned=False,
            caller_said=who.caller_said,
            logged_free=row.cost_pico == 0 and not row.failed and not row.cache_hit,
        )

    def is_declared(self, path: str) -> bool:
        """Say whether the settings name a field of the log as the tenant."""
        meaning = self._builder.lexicon.metadata_fields.get(path.lower())
        return meaning is not None and meaning.field is Field.TENANT and meaning.vocabulary == DECLARED

    def identities(self, row: Row) -> Identities:
        """Read tenants and other identities; the row's metadata comes before its tags, and these before its fields."""
        return self.open(row.metadata, row.tags, row.fields)

    def open(
        self,
        metadata: Sequence[tuple[str, Any]],
        tags: Iterable[tuple[str, Any]],
        fields: Iterable[tuple[str, Any]],
    ) -> Identities:
        """Read identities from what may hold some."""
        lexicon = self._builder.lexicon
        meanings = lexicon.metadata_fields
        tenants: dict[str, TenantTag] = {}
        others: dict[Field, str] = {}
        placeholder = ""
        for path, key, value in self.telling(metadata, tags):
            meaning = meanings[key.lower()]
            if meaning.field is not Field.TENANT:
                others.setdefault(meaning.field, value)
            elif lexicon.is_placeholder(value):
                placeholder = placeholder or value
            elif not value.startswith("{"):
                tenants.setdefault(meaning.namespace, TenantTag(meaning.namespace, value, f"{path}[{key}]"))
        for path, value in fields:
            declared = meanings.get(path.lower())
            if declared is not None and self.is_declared(path):
                namespace = declared.namespace
            else:
                namespace = self._fields.get(path, "")
                if namespace == END_USER and tenants:
                    # The last resort: beside a tenant it would only make every user a tenant of its own.
                    continue
            if namespace and (text := self._builder.identity(value)):
                tenants.setdefault(namespace, TenantTag(namespace, text, path))
        ranked = sorted(tenants.values(), key=lambda tag: lexicon.namespace_rank(tag.namespace))
        return Identities(tuple(ranked), placeholder, others, self._caller_said(metadata, ranked))

    def telling(self, metadata: Iterable[tuple[str, Any]], tags: Iterable[tuple[str, Any]]) -> list[Entry]:
        """Entries of objects and tags that mean something."""
        meanings = self._builder.lexicon.metadata_fields
        return [entry for entry in _entries(metadata, tags) if entry[2] and entry[1].lower() in meanings]

    def _caller_said(self, metadata: Iterable[tuple[str, Any]], tenants: Sequence[TenantTag]) -> CallerSaid:
        """Whether what the caller sent along is in the log, and the tenant in it."""
        sent = [path for path, value in metadata if path in self._callers and value is not None]
        if any(tag.key.partition("[")[0] in sent for tag in tenants):
            return CallerSaid.TENANT
        return CallerSaid.NOTHING if sent else CallerSaid.UNKNOWN


class RowReader:
    """Reads a format whose records are rows, lists of rows, or an API's answer around them."""

    def __init__(self, builder: BatchBuilder, system: str, read_row: ReadRow, *, scope: str = "") -> None:
        self._builder = builder
        self._read_row = read_row
        self._writer = RowWriter(builder, system, scope=scope)

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a record; raises ``msgspec.DecodeError`` when it is not JSON."""
        entries = rows_in(json_value(record))
        self._builder.mark(line, byte)
        for entry in entries:
            self._writer.take(self._read_row(entry) if isinstance(entry, dict) else NOT_A_ROW, line, byte)

    def finish(self) -> None:
        """Nothing is held back."""


json_value = msgspec.json.Decoder().decode
"""Reads one JSON value; its error tells when another one follows."""
NOT_A_ROW = "neither a row nor a list of rows"


def reader_of(system: str, read_row: ReadRow) -> Callable[[BatchBuilder], RowReader]:
    """A reader for the table of formats."""

    def reader(builder: BatchBuilder) -> RowReader:
        return RowReader(builder, system, read_row)

    return reader


def rows_in(value: Any) -> Sequence[Any]:
    """The rows of a record: of a list, of an API's answer, or the record itself."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for key in WRAPPERS:
            inner = value.get(key)
            if isinstance(inner, list) and len(value) <= MAX_WRAPPER and (not inner or isinstance(inner[0], dict)):
                return inner
            if isinstance(inner, dict) and len(value) == 1:
                return [inner]
    return [value]


MAX_WRAPPER = 8
"""An API's answer has few keys besides its rows: a row that has a list under such a key has more."""


def has_keys(value: Any, *keys: str) -> bool:
    """Say whether the first row of a record has all of these keys."""
    rows = rows_in(value)
    return bool(rows) and isinstance(rows[0], dict) and all(key in rows[0] for key in keys)


def _entries(metadata: Iterable[tuple[str, Any]], tags: Iterable[tuple[str, Any]]) -> Iterator[Entry]:
    """All entries."""
    for path, value in metadata:
        for key, inner in object_of(value).items():
            yield path, str(key), text_of(inner)
    for path, value in tags:
        for tag in list_of(value):
            key, colon, rest = text_of(tag).partition(":")
            if colon and key != NOISE_TAG:
                yield path, key.strip(), rest.strip()


# -- formats -----------------------------------------------------------------------------------------


class RowFormat(NamedTuple):
    """A format whose records are rows, for the table of formats."""

    name: str
    recognises: Callable[[Any], bool]
    reader: Callable[[BatchBuilder], Any]
    title: str
    recognised_by: str
    marks: tuple[bytes, ...] = ()
    columns: tuple[str, ...] = ()
    """For a table with a header line: columns that tell it from others."""
    shows_callers: bool = False
    """It has a place for what callers send along: headers, properties, metadata of the request."""
    cap: int = 0
    """Rows at which exports of this kind are cut off; 0 for none."""
    caution: str = ""
    """What every report on such an input should say."""
    is_splittable: bool = True
    """Its rows stand for themselves: see ``Format``."""
    refused: tuple[str, str] | None = None
    """Known, and without calls: what it is, and what to export instead."""
