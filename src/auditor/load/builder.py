"""Turns what a reader finds on spans into the columns of a ``Batch``.

A reader knows a format and hands over attributes by code; what the codes mean for roles, tenants and calls is
decided here, once for all formats.
"""

from __future__ import annotations

import ast
import base64
import binascii
import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from auditor.model.apis import ApiCall
from auditor.model.lexicon import (
    CALL_FIELDS_FROM,
    CONTAINERS,
    RANKS,
    USAGE_FIELDS,
    Field,
    KeyMeaning,
    Lexicon,
    Operation,
)
from auditor.model.report import Rejection
from auditor.model.spans import (
    I32,
    I64,
    MAX_COUNT,
    NO_COUNT,
    TOKEN_COLUMNS,
    U32,
    U64,
    Batch,
    CallFacts,
    IdKind,
    Kind,
    Place,
    Role,
    SampledSpan,
    Shape,
    TenantTag,
    mix,
)

PRESENCE_BELOW = Field.TENANT * RANKS
"""Codes below tell by their presence; their values are not read."""
CALL_FROM = CALL_FIELDS_FROM * RANKS

FLUSH_SPANS = 1 << 16
"""Spans of a batch: what a range of about 64 MB holds."""
PACK_SPANS = 1 << 10
"""Spans that are held as text and numbers until these are packed: few enough to stay in the processor's cache."""
NO_PARENT = "0" * 16
NO_COUNTS = (NO_COUNT,) * len(TOKEN_COLUMNS)
HASHED_BYTES = 64
"""Longer ids are brought to this size before they are hashed."""
HASHED_TEXTS = 1 << 12
"""Texts that are hashed at a time: few enough to stay in the processor's cache."""
SAMPLE_SIZE = 512
"""Spans kept to look for unknown tenant keys: those with the smallest ids, so that the choice has no order."""
KEPT_REJECTIONS = 20
KEPT_VERSIONS = 8
UNKNOWN_SERVICE = "unknown_service"
"""What SDKs say by default where nobody names the service (OpenTelemetry resource conventions)."""
MAX_SAMPLED_TEXT = 128
COUNTED_DIGITS = 16
"""Ids of fewer digits are counted up; those of more are drawn, or hold the time."""
UNKNOWN_MODEL = "unknown"
"""What frameworks write where they do not know the model: another key may."""
MAX_PYTHON_OBJECT = 4096
"""Longer texts are not read as a printed dict: usage and metadata objects are short."""

T = TypeVar("T", bound=Hashable)

Hit = tuple[int, Any]
"""Code of a known attribute key, and the value."""

ID_FIELDS = {
    Field.BATCH_ID: IdKind.BATCH,
    Field.RESPONSE_ID: IdKind.RESPONSE,
    Field.MESSAGE_ID: IdKind.MESSAGE,
    Field.REQUEST_ID: IdKind.REQUEST,
    Field.WORKFLOW: IdKind.WORKFLOW,
    Field.SESSION: IdKind.SESSION,
    Field.USER: IdKind.USER,
    Field.CALL_ID: IdKind.CALL,
}
_TOLD = frozenset(
    {
        *USAGE_FIELDS, Field.CACHE_READ, Field.CACHE_WRITE, Field.CACHE_WRITE_1H, Field.TOTAL_TOKENS,
        Field.REASONING_TOKENS, Field.PROVIDER, Field.REQUEST_MODEL, Field.RESPONSE_MODEL, Field.SERVICE_TIER,
        Field.REPORTED_COST, Field.BATCH_ID,
    }
)  # fmt: skip
"""What amounts are made of: ``audit doctor`` says under which keys it was found."""
_KIND_ROLES = {
    Kind.SERVER: Role.SERVER,
    Kind.CLIENT: Role.CLIENT,
    Kind.PRODUCER: Role.PRODUCER,
    Kind.CONSUMER: Role.CONSUMER,
}
_OPERATION_ROLES = {
    Operation.AGENT: Role.AGENT,
    Operation.TOOL: Role.TOOL,
    Operation.CHAIN: Role.CHAIN,
    Operation.RETRIEVER: Role.RETRIEVER,
}


@dataclass(slots=True)
class ResourceFacts:
    """What a resource says about all its spans."""

    service: str
    instance: str
    language: str
    tenants: tuple[TenantTag, ...]
    tenant_code: int
    environment: str
    feature: str
    user: str
    workflow: str
    policy: int = -1
    """Number of the combination of tenants, environment, feature, user and workflow: few per system."""
    scopes: dict[str, Any] = field(default_factory=dict)
    """For the reader: what it remembers of each scope."""


class SpanFacts(NamedTuple):
    """What the attributes of one span say, for the caller that has the ids and times."""

    role: Role
    provider_api: bool
    tenant_code: int
    is_call: bool
    is_request: bool = False
    """A request to a provider's API: a call, unless another span turns out to describe it."""


class KnownCall(NamedTuple):
    """What a call without counts came to: codes in the tables of the builder."""

    facts: int
    user: int
    workflow: int


class Pack(NamedTuple):
    """Some rows of a batch as columns."""

    traces: U64
    """Two columns: the high and the low half."""
    spans: U64
    parents: U64
    places: U32
    tenants: I32
    starts: I64
    ends: I64


class BatchBuilder:
    """Collects the spans of one part of the inputs and hands on one ``Batch`` after another.

    Strings are interned on the way. The tables of the batches are one and the same and grow from batch to batch,
    so that what a reader has looked up once stays good, also for further parts of the same input.
    """

    def __init__(self, lexicon: Lexicon, *, part: int = 0, explain_trace: str | None = None) -> None:
        """Collect spans of the part with this number; until ``begin`` says otherwise, ``batches`` keeps them."""
        self.lexicon = lexicon
        self.explain_trace = explain_trace
        self.rejected = 0
        self._rejections: list[tuple[tuple[int, int, bool], Rejection]] = []
        self.vocabularies: set[str] = set()
        self.keys_taken: set[int] = set()
        """Codes of the keys that usage and prices of calls were read from."""
        self.unread_usage: Counter[str] = Counter()
        """Keys that tell of usage and that no vocabulary knows, and the spans that have them."""
        self.scope_versions: dict[str, set[str]] = {}
        """By scope, the first few versions in the order in which they came."""
        self.service_versions: dict[str, set[str]] = {}
        self.service_sdks: dict[str, set[str]] = {}
        self.corrupt_counts = 0
        self.dropped_copies = 0
        self.records = 0
        self.log_requests = 0
        """Records that are OTLP logs, of which only those are read that tell of a model call."""
        self.names: dict[int, str] = {}
        self.marks: list[tuple[int, int, int]] = []
        self.sample: list[SampledSpan] = []
        """In their order, each once."""
        self.sample_to = 1 << 64
        """Largest id that still belongs into the sample, as far as is known now."""
        self.sample_mark = "g"
        """An id of 16 digits above this is above ``sample_to``, which is quicker to see."""
        self.batches: list[Batch] = []
        self.spans_done = 0
        self._take = self.batches.append
        self._part = _number(part)

        self.packed = 0
        """Rows of this batch that are packed already; the lists below hold those that follow."""
        self._packs: list[Pack] = []
        self.trace_hex: list[str] = []
        self.span_hex: list[str] = []
        self.parent_hex: list[str] = []
        self.place: list[int] = []
        self.tenant: list[int] = []
        self.start: list[int] = []
        self.end: list[int] = []

        self.call_row: list[int] = []
        self.call_facts: list[int] = []
        self.tokens: list[Sequence[int]] = []
        self.call_user: list[int] = []
        self.call_workflow: list[int] = []
        self.call_line: list[int] = []

        self.link_row: list[int] = []
        self.link_trace: list[str] = []
        self.link_span: list[str] = []
        self.id_row: list[int] = []
        self.id_kind: list[IdKind] = []
        self.id_text: list[str] = []
        self.extra_call: list[int] = []
        self.extra_searches: list[int] = []
        self.extra_cost: list[int] = []
        self.extra_log_id: list[int] = []

        self._places: Table[Place] = Table()
        self._tenants: Table[tuple[TenantTag, ...]] = Table()
        self._facts: Table[CallFacts] = Table()
        self.text_codes: Table[str] = Table()
        """Codes of texts; -1 for an empty one."""
        self.text_codes[""] = -1
        self._policies: Table[tuple[Any, ...]] = Table()

    def begin(self, part: int, take: Callable[[Batch], None]) -> None:
        """Go on with another part of the same input, whose batches are for ``take``.

        Counts begin anew. What a reader asks the builder once and remembers stays, and so does what that told: which
        keys, vocabularies, scopes, services and smallest spans there are is a matter of the whole input.
        """
        self._take = take
        self._part = _number(part)
        self.rejected = self.corrupt_counts = self.dropped_copies = self.records = self.log_requests = 0
        self.spans_done = 0
        self._rejections.clear()
        self.unread_usage.clear()
        self.marks.clear()

    # -- what readers call ---------------------------------------------------------------------------

    @property
    def texts(self) -> int:
        """Texts that are interned: those of a log have an entry for each of its rows."""
        return len(self.text_codes.entries)

    @property
    def next_row(self) -> int:
        """Row of the batch that the next span becomes."""
        return self.packed + len(self.span_hex)

    @property
    def rejections(self) -> list[Rejection]:
        """The first few rejections by position, those of one record in the order in which they were found."""
        return [entry for _, entry in self._rejections]

    def reject(self, line: int, byte: int, reason: str) -> None:
        """Count a record that cannot be read, or a part of it; the first few are kept with their position."""
        self._reject((line, byte, False), reason)

    def _reject(self, at: tuple[int, int, bool], reason: str) -> None:
        """Note a rejection; of one record, what is found while rows are packed comes last, whenever that is."""
        self.rejected += 1
        kept = self._rejections
        if len(kept) < KEPT_REJECTIONS or at < kept[-1][0]:
            insort(kept, (at, Rejection(at[0], at[1], reason)), key=_FIRST)
            del kept[KEPT_REJECTIONS:]

    def resource(self, attributes: Iterable[tuple[str, Any]]) -> ResourceFacts:
        """Read the attributes of a resource."""
        codes = self.lexicon.resource_codes
        service = instance = language = version = sdk = ""
        hits: list[Hit] = []
        for key, value in attributes:
            if key == "service.name":
                service = text_of(value)
            elif key == "service.instance.id":
                instance = text_of(value)
            elif key == "telemetry.sdk.language":
                language = text_of(value)
            elif key == "service.version":
                version = text_of(value)
            elif key == "telemetry.sdk.version":
                sdk = text_of(value)
            elif key in codes:
                hits.append((codes[key], value))
        found = self._first_values(hits)
        tenants, _ = self.tenant_tags(hits)
        if version:
            self.service_versions.setdefault(service or UNKNOWN_SERVICE, set()).add(version)
        if sdk:
            self.service_sdks.setdefault(service or UNKNOWN_SERVICE, set()).add(f"{language} {sdk}".lstrip())
        facts = ResourceFacts(
            service=service or UNKNOWN_SERVICE,
            instance=instance,
            language=language,
            tenants=tenants,
            tenant_code=self._intern_tenants(tenants),
            environment=text_of(found.get(Field.ENVIRONMENT)),
            feature=text_of(found.get(Field.FEATURE)),
            user=self.identity(found.get(Field.USER)),
            workflow=self.identity(found.get(Field.WORKFLOW)),
        )
        facts.policy = self._policies[facts.tenants, facts.environment, facts.feature, facts.user, facts.workflow]
        return facts

    def place_code(
        self,
        resource: ResourceFacts,
        scope: str,
        kind: Kind,
        remote: bool | None,
        role: Role,
        provider_api: bool,
        *,
        is_row: bool = False,
    ) -> int:
        """Intern where a span stands."""
        shape = Shape(resource.service, kind, role, remote, scope, provider_api, resource.language, is_row)
        return self._places[Place(shape, resource.instance)]

    def note_scope(self, name: str, version: str) -> None:
        """Note the version of an instrumentation scope, for who asks what made these spans."""
        if version:
            versions = self.scope_versions.setdefault(name, set())
            versions.add(version)
            if len(versions) > KEPT_VERSIONS:
                # Those that stay are the same in any order.
                versions.remove(max(versions))

    def is_dropped_copy(self, hits: Sequence[Hit]) -> bool:
        """Say whether the span is an unfinished copy of another one."""
        for code, value in hits:
            if code // RANKS == Field.STATE and text_of(value) in self.lexicon.dropped_states:
                self.dropped_copies += 1
                return True
        return False

    def describe(
        self,
        resource: ResourceFacts,
        kind: Kind,
        presence: int,
        hits: list[Hit],
        *,
        failed: bool,
        line: int,
        event_hits: Sequence[Hit] = (),
        chunk_events: bool = False,
        api_call: ApiCall | None = None,
    ) -> SpanFacts:
        """Read the known attributes of the span that is about to be added as the next row.

        ``presence`` has bit ``field`` set for each concept that tells by presence. ``api_call`` is what the address
        of a request says, if it is a provider's API.
        Ids and, for a model call, its facts go into the side tables.
        """
        row = self.next_row
        found = self._first_values(hits)
        tags, placeholder = self.tenant_tags(hits)
        if Field.METADATA in found or Field.TAGS in found or Field.PARAMETERS in found:
            tags, placeholder = self.open_blobs(hits, found, tags, placeholder)
        tenant_code = self.with_resource(tags, resource)

        operation = self._operation(hits) if Field.OPERATION in found else None
        usage_in_event = False
        if event_hits and not USAGE_FIELDS & found.keys():
            of_events = self._first_values(list(event_hits))
            if USAGE_FIELDS & of_events.keys():
                usage_in_event = True
                hits = [*hits, *event_hits]
                found = of_events | found
        for concept, kind_of_id in ID_FIELDS.items():
            if concept in found and (value := self.identity(found[concept])):
                if kind_of_id is IdKind.MESSAGE and is_counted(value):
                    value = f"{text_of(found.get(Field.QUEUE))}\n{value}"
                self.add_id(row, kind_of_id, value)
        has_usage = bool(USAGE_FIELDS & found.keys())
        is_call = operation not in CONTAINERS and (
            (operation is not None and operation.is_billable) or (operation is None and has_usage)
        )
        is_request = api_call is not None and operation is None and not has_usage
        if is_call or is_request:
            self._add_call(
                row,
                resource,
                found,
                hits,
                operation,
                placeholder,
                api_call=api_call if is_request else None,
                failed=failed,
                line=line,
                usage_in_event=usage_in_event,
                chunk_events=chunk_events,
            )
        role = self._role(kind, presence, found, operation, is_call=is_call)
        provider_api = is_call and kind is Kind.SERVER
        if role is Role.SERVER and Field.ROUTE in found:
            provider_api = self.is_provider_route(found[Field.ROUTE])
        return SpanFacts(role, provider_api, tenant_code, is_call, is_request)

    def is_provider_route(self, value: Any) -> bool:
        """Say whether a route or path is one of a provider's API."""
        return text_of(value).partition("?")[0].endswith(self.lexicon.provider_paths)

    def add_span(self, trace: str, span: str, parent: str, place: int, tenant: int, start_ns: int, end_ns: int) -> None:
        """Append one row; ids as text in any of the known spellings."""
        self.trace_hex.append(trace)
        self.span_hex.append(span)
        self.parent_hex.append(parent)
        self.place.append(place)
        self.tenant.append(tenant)
        self.start.append(start_ns)
        self.end.append(end_ns)

    def add_link(self, row: int, trace: str, span: str) -> None:
        """Note that the span of ``row`` links to another span."""
        self.link_row.append(row)
        self.link_trace.append(trace)
        self.link_span.append(span)

    def add_id(self, row: int, kind: IdKind, value: str) -> None:
        """Note that the span of ``row`` carries an id that others may share."""
        self.id_row.append(row)
        self.id_kind.append(kind)
        self.id_text.append(value)

    def wants_sample(self, span: str) -> bool:
        """Say whether a span belongs to the sample for unknown keys, as far as is known now."""
        try:
            return int(span, 16) <= self.sample_to
        except ValueError:
            return False

    def add_sample(self, span: str, sampled: Sequence[tuple[str, str]], *, is_call: bool, has_tenant: bool) -> None:
        """Keep the unknown attributes of a span. One that comes again in the same words is kept once.

        So the smallest of several parts are the smallest of the whole, however it was cut.
        """
        entry = SampledSpan(int(span, 16), is_call, has_tenant, tuple(sampled))
        at = bisect_left(self.sample, entry)
        if self.sample[at : at + 1] == [entry]:
            return
        self.sample.insert(at, entry)
        del self.sample[SAMPLE_SIZE:]
        if len(self.sample) == SAMPLE_SIZE:
            self.sample_to = self.sample[-1].key
            self.sample_mark = f"{self.sample_to:016x}"

    # -- meaning of attributes -----------------------------------------------------------------------

    def _first_values(self, hits: list[Hit]) -> dict[Field, Any]:
        """Keep the first non-empty value of each field, by precedence of its key."""
        found: dict[Field, Any] = {}
        for code, value in sorted(hits, key=_CODE):
            if value is None or value == "":
                continue
            field = _FIELDS[code // RANKS]
            if field in _MODELS and text_of(value).lower() == UNKNOWN_MODEL:
                continue
            if field not in found:
                found[field] = value
        return found

    def tenant_tags(self, hits: list[Hit]) -> tuple[tuple[TenantTag, ...], str]:
        """Tenants among the hits, strongest first, and the placeholder that stood in for one."""
        tags: dict[str, TenantTag] = {}
        placeholder = ""
        for code, value in sorted(hits, key=_CODE):
            if code // RANKS != Field.TENANT:
                continue
            meaning = self.lexicon.meaning_of_code[code]
            text = text_of(value)
            if self.lexicon.is_placeholder(text):
                placeholder = placeholder or text
            elif meaning.namespace not in tags:
                tags[meaning.namespace] = TenantTag(meaning.namespace, text, meaning.key)
        return tuple(tags.values()), placeholder

    def open_blobs(
        self, hits: list[Hit], found: dict[Field, Any], tags: tuple[TenantTag, ...], placeholder: str
    ) -> tuple[tuple[TenantTag, ...], str]:
        """Look for identities inside metadata objects and tags; what the span says itself comes first."""
        known = {tag.namespace: tag for tag in tags}
        for code, value in sorted(hits, key=_CODE):
            field = code // RANKS
            if field == Field.METADATA:
                entries = _entries_of_object(value)
            elif field == Field.TAGS:
                entries = _entries_of_tags(value)
            elif field == Field.PARAMETERS:
                self._open_parameters(value, found)
                continue
            else:
                continue
            for key, text, meaning in self._meanings_of(entries):
                if meaning.field is not Field.TENANT:
                    found.setdefault(meaning.field, text)
                elif self.lexicon.is_placeholder(text):
                    placeholder = placeholder or text
                else:
                    source = self.lexicon.meaning_of_code[code].key
                    known.setdefault(meaning.namespace, TenantTag(meaning.namespace, text, f"{source}[{key}]"))
        return tuple(known.values()), placeholder

    def _meanings_of(self, entries: Iterable[tuple[str, Any]]) -> list[tuple[str, str, KeyMeaning]]:
        fields = self.lexicon.metadata_fields
        return [
            (key, text, fields[key.lower()])
            for key, value in entries
            if key.lower() in fields and (text := text_of(value))
        ]

    @staticmethod
    def _open_parameters(value: Any, found: dict[Field, Any]) -> None:
        for key, inner in _entries_of_object(value):
            if key == "stream":
                found.setdefault(Field.STREAMED, inner)
            elif key == "service_tier" and inner:
                found.setdefault(Field.SERVICE_TIER, inner)
            elif key == "model" and inner:
                found.setdefault(Field.REQUEST_MODEL, inner)
            elif key == "user" and inner:
                found.setdefault(Field.USER, inner)

    def with_resource(self, tags: tuple[TenantTag, ...], resource: ResourceFacts) -> int:
        """Intern the tenants of a span; those of its resource fill the namespaces that it leaves open."""
        if not tags:
            return resource.tenant_code
        if resource.tenants:
            known = {tag.namespace for tag in tags}
            tags += tuple(tag for tag in resource.tenants if tag.namespace not in known)
        return self._intern_tenants(tags)

    def _intern_tenants(self, tags: tuple[TenantTag, ...]) -> int:
        if not tags:
            return -1
        return self._tenants[tags]

    def _operation(self, hits: list[Hit]) -> Operation | None:
        for code, value in sorted(hits, key=_CODE):
            if code // RANKS != Field.OPERATION:
                continue
            key = self.lexicon.meaning_of_code[code].key
            text = text_of(value).lower()
            operation = self.lexicon.operations_by_key.get((key, text)) or self.lexicon.operations.get(text)
            if operation is not None:
                return operation
        return None

    def _role(
        self, kind: Kind, presence: int, found: dict[Field, Any], operation: Operation | None, *, is_call: bool
    ) -> Role:
        if is_call:
            return Role.MODEL_CALL
        if operation in _OPERATION_ROLES:
            return _OPERATION_ROLES[operation]
        queue = self.lexicon.queue_operations.get(text_of(found.get(Field.QUEUE_OPERATION)).lower())
        if _is_job(kind, presence, has_route=Field.ROUTE in found):
            return Role.CONSUMER
        if kind in {Kind.SERVER, Kind.PRODUCER, Kind.CONSUMER}:
            return _KIND_ROLES[kind]
        if queue is not None:
            return Role(queue)
        if kind is Kind.CLIENT:
            return Role.CLIENT
        return role_of_presence(presence, found)

    def identity(self, value: Any) -> str:
        """Read an id; a placeholder or a JSON object in its place is none."""
        text = text_of(value)
        return "" if self.lexicon.is_placeholder(text) or text.startswith("{") else text

    def text_code(self, value: str) -> int:
        """Intern a text; -1 for an empty one."""
        return self.text_codes[value]

    def _add_call(
        self,
        row: int,
        resource: ResourceFacts,
        found: dict[Field, Any],
        hits: list[Hit],
        operation: Operation | None,
        placeholder: str,
        *,
        api_call: ApiCall | None,
        failed: bool,
        line: int,
        usage_in_event: bool,
        chunk_events: bool,
    ) -> None:
        if api_call is not None:
            operation = api_call.operation
        vocabulary = ""
        taken: set[int] = set()
        for code, value in sorted(hits, key=_CODE):
            field = code // RANKS
            if field in _TOLD and field not in taken and value not in (None, ""):
                taken.add(field)
                self.keys_taken.add(code)
            if field in {Field.INPUT_TOKENS, Field.OUTPUT_TOKENS, Field.USAGE_DETAILS, Field.OPERATION}:
                name = self.lexicon.meaning_of_code[code].vocabulary
                self.vocabularies.add(name)
                if field != Field.OPERATION and not vocabulary:
                    vocabulary = name
        counts = self._counts(found)
        tier = text_of(found.get(Field.SERVICE_TIER)).lower()
        finished = found.get(Field.FINISH_REASON)
        facts = CallFacts(
            provider=text_of(found.get(Field.PROVIDER)) or (api_call.provider if api_call else ""),
            request_model=text_of(found.get(Field.REQUEST_MODEL)) or (api_call.model if api_call else ""),
            response_model=text_of(found.get(Field.RESPONSE_MODEL)),
            operation=operation,
            vocabulary=vocabulary,
            disjoint=True if self._is_disjoint(vocabulary, found) else None,
            streamed=flag_of(found.get(Field.STREAMED)),
            first_chunk=chunk_events or Field.FIRST_CHUNK in found,
            finished=finished not in (None, "", [], "[]", [""]),
            has_response_id=Field.RESPONSE_ID in found,
            service_tier=tier,
            failed=failed or Field.FAILED in found,
            cache_hit=bool(flag_of(found.get(Field.CACHE_HIT))),
            batch=operation is Operation.BATCH or tier == "batch" or Field.BATCH_ID in found,
            environment=text_of(found.get(Field.ENVIRONMENT)) or resource.environment,
            feature=text_of(found.get(Field.FEATURE)) or resource.feature,
            credential=self.identity(found.get(Field.CREDENTIAL)),
            placeholder=placeholder,
            usage_in_event=usage_in_event,
            partial=False,
            abandoned=text_of(found.get(Field.FAILED)).lower() in self.lexicon.abandonments,
            is_request=api_call is not None,
        )
        self.add_call(
            row,
            facts,
            counts,
            user=self.identity(found.get(Field.USER)) or resource.user,
            workflow=self.identity(found.get(Field.WORKFLOW)) or resource.workflow,
            line=line,
            searches=count_of(found.get(Field.SEARCHES)),
            cost=pico_of(found.get(Field.REPORTED_COST)),
        )

    def add_call(
        self,
        row: int,
        facts: CallFacts,
        counts: tuple[int, ...],
        *,
        user: str,
        workflow: str,
        line: int,
        searches: int | None,
        cost: int | None,
        log_id: str = "",
    ) -> None:
        """Append a candidate call that the span of ``row`` describes; ``counts`` as in ``TOKEN_COLUMNS``."""
        self.add_extra(searches=searches, cost=cost, log_id=log_id)
        self.call_row.append(row)
        self.call_facts.append(self._facts[facts])
        self.tokens.append(counts)
        self.call_user.append(self.text_code(user))
        self.call_workflow.append(self.text_code(workflow))
        self.call_line.append(line)

    def add_known_call(self, row: int, call: KnownCall, line: int) -> None:
        """Append a candidate call without counts that says what another one said."""
        self.call_row.append(row)
        self.call_facts.append(call.facts)
        self.tokens.append(NO_COUNTS)
        self.call_user.append(call.user)
        self.call_workflow.append(call.workflow)
        self.call_line.append(line)

    def add_extra(self, *, searches: int | None, cost: int | None, log_id: str = "") -> None:
        """Note what few calls have, for the call that is added next."""
        if searches is not None or cost is not None or log_id:
            self.extra_call.append(len(self.call_row))
            self.extra_searches.append(NO_COUNT if searches is None else searches)
            self.extra_cost.append(-1 if cost is None else cost)
            self.extra_log_id.append(self.text_code(log_id))

    def _is_disjoint(self, vocabulary: str, found: dict[Field, Any]) -> bool:
        """Whether input leaves cached tokens out, by what the source is."""
        if vocabulary not in self.lexicon.disjoint_usage:
            return _is_anthropic_usage(found)
        # A source of disjoint buckets may pass a provider's own object on, whose input holds everything.
        return "prompt_tokens" not in dict(_entries_of_object(found.get(Field.USAGE_DETAILS)))

    def _counts(self, found: dict[Field, Any]) -> tuple[int, ...]:
        """Token counts in the order of ``TOKEN_COLUMNS``; a missing or corrupt count is ``NO_COUNT``."""
        if Field.USAGE_DETAILS in found:
            for key, value in _entries_of_object(found[Field.USAGE_DETAILS]):
                for name, count in [(key, value), *_entries_of_object(value if key in _DETAIL_OBJECTS else None)]:
                    if (field := _DETAIL_FIELDS.get(name)) is not None:
                        found.setdefault(field, count)
        counts = []
        for field in TOKEN_FIELDS:
            value = found.get(field)
            count = None if value is None else count_of(value)
            if count is None and value is not None and not _is_nan(value):
                self.corrupt_counts += 1
            counts.append(NO_COUNT if count is None else count)
        return tuple(counts)

    # -- columns -------------------------------------------------------------------------------------

    def mark(self, line: int, byte: int) -> None:
        """Note that the rows from here on come from the record at this position."""
        self.marks.append((self.next_row, line, byte))
        self.records += 1

    def position_of(self, row: int) -> tuple[int, int]:
        """Line and byte of the record that a row came from."""
        at = bisect_right(self.marks, row, key=_first_row) - 1
        return self.marks[at][1:] if at >= 0 else (0, 0)

    def _repair_ids(self) -> None:
        """Bring ids of other spellings to hex, and take out the spans that have none."""
        traces = [canonical_id(text, 16) for text in self.trace_hex]
        spans = [canonical_id(text, 8) for text in self.span_hex]
        parents = [canonical_id(text, 8) for text in self.parent_hex]
        bad = [
            row
            for row, (trace, span) in enumerate(zip(traces, spans, strict=True))
            if trace is None or span is None or not trace.strip("0") or not span.strip("0")
        ]
        for row in bad:
            self._reject((*self.position_of(self.packed + row), True), "a span has no readable trace id or span id")
        self.trace_hex[:] = [text or "0" * 32 for text in traces]
        self.span_hex[:] = [text or NO_PARENT for text in spans]
        self.parent_hex[:] = [text or NO_PARENT for text in parents]
        if bad:
            self._take_out(set(bad))

    def _take_out(self, bad: set[int]) -> None:
        """Remove spans that are not packed yet, with all that refers to them."""
        keep = [row for row in range(len(self.span_hex)) if row not in bad]
        new_row = {row: row for row in range(self.packed)}
        new_row |= {self.packed + row: self.packed + number for number, row in enumerate(keep)}
        for span_column in (
            self.trace_hex, self.span_hex, self.parent_hex, self.place, self.tenant, self.start, self.end
        ):  # fmt: skip
            _keep(span_column, keep)
        calls = [number for number, row in enumerate(self.call_row) if row in new_row]
        new_call = {call: number for number, call in enumerate(calls)}
        for index, renumber, others in (
            (
                self.call_row, new_row,
                (self.call_facts, self.tokens, self.call_user, self.call_workflow, self.call_line),
            ),
            (self.link_row, new_row, (self.link_trace, self.link_span)),
            (self.id_row, new_row, (self.id_kind, self.id_text)),
            (self.extra_call, new_call, (self.extra_searches, self.extra_cost, self.extra_log_id)),
        ):  # fmt: skip
            kept = [number for number, row in enumerate(index) if row in renumber]
            index[:] = [renumber[index[number]] for number in kept]
            for column in others:
                _keep(column, kept)
        self.names = {new_row[row]: name for row, name in self.names.items() if row in new_row}

    def _repair_links(self) -> None:
        """Bring the ids of links to hex; a link to nothing readable leads nowhere and is left out."""
        links = [
            (row, trace, span)
            for row, trace_text, span_text in zip(self.link_row, self.link_trace, self.link_span, strict=True)
            if (trace := canonical_id(trace_text, 16)) and (span := canonical_id(span_text, 8)) and span.strip("0")
        ]
        self.link_row[:] = [row for row, _, _ in links]
        self.link_trace[:] = [trace for _, trace, _ in links]
        self.link_span[:] = [span for _, _, span in links]

    def pack_if_due(self) -> None:
        """Pack what was collected, once it is enough to pay."""
        if len(self.span_hex) >= PACK_SPANS:
            self._pack()

    def flush_if_full(self) -> None:
        """Hand on what was collected once it is enough for a batch."""
        if self.next_row >= FLUSH_SPANS:
            self.flush()

    def flush(self) -> None:
        """Hand on what was collected, unless there is nothing."""
        if self.next_row:
            self._take(self.finish())

    # -- for a reader that makes columns itself ------------------------------------------------------

    def add_pack(self, rows: Pack) -> None:
        """Append rows that are columns already; their ids are good, and nothing else is to be said of them."""
        if self.span_hex:
            self._pack()
        self._packs.append(rows)
        self.packed += len(rows.spans)

    @property
    def facts(self) -> Sequence[CallFacts]:
        """All call facts by code."""
        return self._facts.entries

    @property
    def places(self) -> Sequence[Place]:
        """All places by code."""
        return self._places.entries

    def new_texts(self, texts: Sequence[str]) -> range:
        """Codes of texts that are hardly ever known already: each is kept as it comes."""
        entries = self.text_codes.entries
        first = len(entries)
        entries.extend(texts)
        return range(first, len(entries))

    def texts_of(self, codes: I32) -> list[str]:
        """Texts by their codes."""
        entries = self.text_codes.entries
        return [entries[code] for code in codes.tolist()]

    def shared(self, calls: int) -> dict[str, Any]:
        """What a batch of so many calls has in common with all others of the part."""
        return {
            "call_part": self._part.repeat(calls),
            "places": self._places.entries,
            "tenants": self._tenants.entries,
            "facts": self._facts.entries,
            "texts": self.text_codes.entries,
        }

    def hand_on(self, batch: Batch, rows: int) -> None:
        """Hand on a batch that has so many rows besides those that ``finish`` gave."""
        self._take(batch)
        self.spans_done += rows

    def last_call(self) -> KnownCall | None:
        """What the call came to that was added last; ``None`` for one with counts, or more that few calls have."""
        if self.tokens[-1] != NO_COUNTS or self.extra_call[-1:] == [len(self.call_row) - 1]:
            return None
        return KnownCall(self.call_facts[-1], self.call_user[-1], self.call_workflow[-1])

    # -- batches -------------------------------------------------------------------------------------

    def _pack(self) -> None:
        """Turn ids, places and times into columns; spans without readable ids are rejected here."""
        ids = self._id_columns()
        if ids is None:
            self._repair_ids()
            ids = self._id_columns()
        if ids is None:
            raise AssertionError("repaired ids are plain hex")
        traces, spans, parents = ids
        self._packs.append(
            Pack(
                traces,
                spans,
                parents,
                column_of(self.place, np.uint32),
                column_of(self.tenant, np.int32),
                column_of(self.start, np.int64),
                column_of(self.end, np.int64),
            )
        )
        self.packed += len(self.span_hex)
        del self.marks[:-1]
        for column in (
            self.trace_hex, self.span_hex, self.parent_hex, self.place, self.tenant, self.start, self.end
        ):  # fmt: skip
            column.clear()

    def finish(self) -> Batch:
        """Turn what was collected into a batch and start over."""
        self._pack()
        self._repair_links()
        halves, span, parent, place, tenant, start, end = map(np.concatenate, zip(*self._packs, strict=True))
        mixed = mix(halves[:, 0], halves[:, 1])
        key = span ^ mixed
        parent = np.where(parent == 0, np.uint64(0), parent ^ mixed)
        _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
        duration = np.where(end > 0, np.maximum(end - start, 0) / 1e6, np.nan).astype(np.float32)
        link_halves = hex_columns(self.link_trace, 16)
        link_trace = mix(link_halves[:, 0], link_halves[:, 1])
        tokens = np.fromiter(chain.from_iterable(self.tokens), np.uint32, len(TOKEN_COLUMNS) * len(self.tokens))
        batch = Batch(
            key=key,
            parent=parent,
            trace=inverse.astype(np.uint32),
            place=place,
            tenant=tenant,
            start_ns=start,
            duration_ms=duration,
            trace_ids=halves[first],
            call_row=column_of(self.call_row, np.uint32),
            call_facts=column_of(self.call_facts, np.uint32),
            tokens=tokens.reshape(-1, len(TOKEN_COLUMNS)),
            call_user=column_of(self.call_user, np.int32),
            call_workflow=column_of(self.call_workflow, np.int32),
            call_line=column_of(self.call_line, np.uint32),
            call_part=self._part.repeat(len(self.call_row)),
            link_row=column_of(self.link_row, np.uint32),
            link_key=hex_columns(self.link_span, 8)[:, 0] ^ link_trace,
            link_trace=link_trace,
            id_row=column_of(self.id_row, np.uint32),
            id_kind=column_of(self.id_kind, np.uint8),
            id_hash=hash_texts(self.id_text),
            extra_call=column_of(self.extra_call, np.uint32),
            extra_searches=column_of(self.extra_searches, np.uint32),
            extra_cost_pico=column_of(self.extra_cost, np.int64),
            extra_log_id=column_of(self.extra_log_id, np.int32),
            places=self._places.entries,
            tenants=self._tenants.entries,
            facts=self._facts.entries,
            texts=self.text_codes.entries,
            names={int(key[row]): name for row, name in self.names.items()},
        )
        self.spans_done += self.packed
        self._start_over()
        return batch

    def _id_columns(self) -> tuple[U64, U64, U64] | None:
        """Trace ids (two columns), span ids and parent ids; ``None`` when one of them is not plain hex."""
        traces = plain_hex(self.trace_hex, 16)
        spans = plain_hex(self.span_hex, 8)
        parents = plain_hex(self.parent_hex, 8)
        if traces is None or spans is None or parents is None:
            return None
        if not spans.all() or not traces.any(axis=1).all():
            return None
        return traces, spans[:, 0], parents[:, 0]

    def _start_over(self) -> None:
        """Empty the columns in place: a reader may hold on to the lists."""
        for column in (
            self._packs,
            self.call_row, self.call_facts, self.tokens, self.call_user, self.call_workflow, self.call_line,
            self.link_row, self.link_trace, self.link_span, self.id_row, self.id_kind, self.id_text,
            self.extra_call, self.extra_searches, self.extra_cost, self.extra_log_id,
        ):  # fmt: skip
            column.clear()
        # In the middle of a record, the rows that follow still come from it.
        self.marks[:] = [(0, line, byte) for _, line, byte in self.marks[-1:]]
        self.names.clear()
        self.packed = 0


class Table(dict[T, int]):
    """Interned values: each has a code, which is its place among the entries; a new one for a new value."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[T] = []

    def __missing__(self, entry: T) -> int:
        """Intern a value."""
        code = self[entry] = len(self.entries)
        self.entries.append(entry)
        return code


_MODELS = frozenset({Field.REQUEST_MODEL, Field.RESPONSE_MODEL})
_CODE = _FIRST = itemgetter(0)
_FIELDS = {int(entry): entry for entry in Field}
TOKEN_FIELDS = (
    Field.INPUT_TOKENS,
    Field.OUTPUT_TOKENS,
    Field.CACHE_READ,
    Field.CACHE_WRITE,
    Field.CACHE_WRITE_1H,
    Field.TOTAL_TOKENS,
    Field.REASONING_TOKENS,
)
_DETAIL_FIELDS = {
    "input": Field.INPUT_TOKENS,
    "input_tokens": Field.INPUT_TOKENS,
    "prompt_tokens": Field.INPUT_TOKENS,
    "output": Field.OUTPUT_TOKENS,
    "output_tokens": Field.OUTPUT_TOKENS,
    "completion_tokens": Field.OUTPUT_TOKENS,
    "total": Field.TOTAL_TOKENS,
    "total_tokens": Field.TOTAL_TOKENS,
    "input_cached_tokens": Field.CACHE_READ,
    "input_cache_read": Field.CACHE_READ,
    "cache_read_input_tokens": Field.CACHE_READ,
    "input_cache_creation": Field.CACHE_WRITE,
    "input_cache_creation_5m": Field.CACHE_WRITE,
    "cache_creation_input_tokens": Field.CACHE_WRITE,
    "input_cache_creation_1h": Field.CACHE_WRITE_1H,
    "output_reasoning_tokens": Field.REASONING_TOKENS,
    "output_reasoning": Field.REASONING_TOKENS,
    "cached_tokens": Field.CACHE_READ,
    "cache_creation_tokens": Field.CACHE_WRITE,
}
_DETAIL_OBJECTS = frozenset({"prompt_tokens_details", "input_tokens_details"})
"""Parts of a provider's own usage object that hold counts of their own."""


def _number(part: int) -> npt.NDArray[np.unsignedinteger]:
    """The number of a part, as narrow as it can be."""
    return np.array(part, dtype=np.min_scalar_type(part))


def _keep(column: list[Any], kept: Sequence[int]) -> None:
    column[:] = [column[number] for number in kept]


def _first_row(mark: tuple[int, int, int]) -> int:
    return mark[0]


def role_of_kind(kind: Kind, presence: int, *, has_route: bool) -> Role:
    """Read the role of a span without attributes that tell one by their values."""
    if _is_job(kind, presence, has_route=has_route):
        return Role.CONSUMER
    return _KIND_ROLES.get(kind) or role_of_presence(presence, {Field.ROUTE: ""} if has_route else {})


def _is_job(kind: Kind, presence: int, *, has_route: bool) -> bool:
    """Say whether a span that claims to serve a request runs a job: so Temporal's activities do."""
    return kind is Kind.SERVER and not has_route and bool(presence >> Field.ROLE_JOB & 1)


def is_counted(message: str) -> bool:
    """Say whether a message's id is a number that its queue has given it: another queue has the same one."""
    return len(message) < COUNTED_DIGITS and message.isdigit()


def role_of_presence(presence: int, found: dict[Field, Any]) -> Role:
    """Read the role of a span whose kind does not tell."""
    if presence >> Field.ROLE_SERVER & 1 or Field.ROUTE in found:
        return Role.SERVER
    if presence >> Field.ROLE_JOB & 1:
        return Role.CONSUMER
    if Field.TOOL in found:
        return Role.TOOL
    if Field.AGENT in found:
        return Role.AGENT
    return Role.OTHER


def hash_texts(texts: Sequence[str]) -> U64:
    """Hash ids to 64 bits, the same on every machine, all at once: a splitmix64 step for every eight bytes."""
    found = np.zeros(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), HASHED_TEXTS):
        hashes = found[start : start + HASHED_TEXTS]
        for column in np.ascontiguousarray(_words_of(texts[start : start + HASHED_TEXTS]).T):
            hashes[:] = mix(hashes, column)
    return found


def _words_of(texts: Sequence[str]) -> U64:
    """Texts as rows of eight words; of longer ones, the digest."""
    joined = "".join(texts)
    length = len(texts[0])
    if length <= HASHED_BYTES and joined.isascii() and all(len(text) == length for text in texts):
        letters = np.zeros((len(texts), HASHED_BYTES), dtype=np.uint8)
        letters[:, :length] = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(len(texts), length)
        return letters.view("<u8").astype(np.uint64, copy=False)
    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    if any(len(entry) > HASHED_BYTES for entry in data):
        data = [blake2b(entry).digest() if len(entry) > HASHED_BYTES else entry for entry in data]
    return np.array(data, dtype=f"S{HASHED_BYTES}").view("<u8").astype(np.uint64).reshape(-1, HASHED_BYTES // 8)


def text_of(value: Any) -> str:
    """Read an attribute value as text: numbers and one-element lists count, anything else is empty."""
    if isinstance(value, str):
        # Some products write every value as JSON, texts in quotes included.
        return value if value[:1] != '"' else _unquoted(value)
    if isinstance(value, list):
        return text_of(value[0]) if len(value) == 1 else ""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ""


def flag_of(value: Any) -> bool | None:
    """Read a boolean that may be written as text; ``None`` where there is none."""
    if isinstance(value, bool):
        return value
    text = text_of(value).lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(text)


def count_of(value: Any) -> int | None:
    """Read a count written as int, whole float, numeric text or one-element list; ``None`` for anything else.

    Negative numbers and numbers above ``MAX_COUNT`` are no counts.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    if isinstance(value, int) and 0 <= value <= MAX_COUNT:
        return value
    return None


def pico_of(value: Any) -> int | None:
    """Read a cost in USD as pico-dollars, rounded half even; ``None`` when it is not a cost."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        cost = Decimal(str(value))
        # Compared before it is scaled: written with an exponent, a number may have millions of digits.
        pico = int((cost * 10**12).to_integral_value()) if 0 <= cost < 1 << 62 else -1
    except (ArithmeticError, ValueError):
        return None
    return pico if 0 <= pico < 1 << 62 else None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _is_anthropic_usage(found: dict[Field, Any]) -> bool:
    """Whether input was copied from Anthropic's own usage object, whose input leaves cached tokens out."""
    entries = dict(_entries_of_object(found.get(Field.USAGE_DETAILS)))
    return (
        "cache_read_input_tokens" in entries
        and "prompt_tokens" not in entries
        and count_of(entries.get("input_tokens")) == count_of(found.get(Field.INPUT_TOKENS))
    )


def _entries_of_object(value: Any) -> list[tuple[str, Any]]:
    """Entries of an object that may be written as JSON, or as Python prints a dict."""
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith("{"):
            return []
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = _python_object(text)
    return [(str(key), inner) for key, inner in value.items()] if isinstance(value, dict) else []


def _unquoted(text: str) -> str:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, str) else text


def _python_object(text: str) -> Any:
    if len(text) > MAX_PYTHON_OBJECT or not text.startswith("{'"):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _entries_of_tags(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, str) and value.startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return []
    texts = value if isinstance(value, list) else text_of(value).split(",")
    return [
        (key.strip(), rest.strip())
        for text in texts
        if isinstance(text, str)
        for key, colon, rest in [text.partition(":")]
        if colon
    ]


def plain_hex(texts: list[str], width: int) -> U64 | None:
    """Convert ids of ``width`` bytes to big-endian 64-bit columns; ``None`` unless all are hex of that length.

    The ids are joined with line ends between them, which ``fromhex`` skips like any white space. With all the
    separators in their places and as many bytes as there should be, no id can be longer, shorter or spaced.
    """
    joined = "\n".join(texts)
    step = 2 * width + 1
    if texts and (len(joined) != step * len(texts) - 1 or joined[2 * width :: step].count("\n") < len(texts) - 1):
        return None
    try:
        data = bytes.fromhex(joined)
    except ValueError:
        return None
    if len(data) != width * len(texts):
        return None
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(-1, width // 8)


def hex_columns(texts: list[str], width: int) -> U64:
    """Convert ids of ``width`` bytes to big-endian 64-bit columns; the texts are canonical hex."""
    data = bytes.fromhex("".join(texts))
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(-1, width // 8)


def column_of(numbers: Sequence[int], dtype: type[np.generic]) -> np.ndarray:
    """Turn numbers into a column."""
    return np.fromiter(numbers, dtype, len(numbers))


def canonical_id(value: object, width: int) -> str | None:
    """Read an id of ``width`` bytes in any known spelling as lower-case hex; ``None`` when it is none.

    Spellings: hex of either case, with ``0x``, short (left-padded); base64 of the bytes; base64 of the hex text;
    a list of byte numbers. An empty value reads as all zeros.
    """
    if isinstance(value, list):
        try:
            value = bytes(value).hex()
        except (TypeError, ValueError):
            return None
    if value is None or value in ("", {}):
        return "0" * (2 * width)
    if not isinstance(value, str):
        return None
    text = value.strip().lower().removeprefix("0x")
    if len(text) <= 2 * width and not text.strip("0123456789abcdef"):
        return text.zfill(2 * width)
    try:
        raw = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) == width:
        return raw.hex()
    if len(raw) == 2 * width:
        inner = raw.decode("ascii", "replace").lower()
        return inner if not inner.strip("0123456789abcdef") else None
    return None
