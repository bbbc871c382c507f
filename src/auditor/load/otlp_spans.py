"""Reads decoded spans into a ``BatchBuilder``.

A span is described in one of two ways that agree. The slow one decodes all known attributes and asks the builder
what they mean. The fast one looks at the raw bytes of those that decide, and uses what the slow one said of the
first span with the same bytes: see ``auditor.load.plans``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, cast

import msgspec
import orjson

from auditor.load.builder import (
    CALL_FROM,
    MAX_SAMPLED_TEXT,
    NO_PARENT,
    BatchBuilder,
    Hit,
    ResourceFacts,
    count_of,
    is_counted,
    pico_of,
    text_of,
)
from auditor.load.otlp_types import Event, KeyValue, Link, Resource, Span
from auditor.load.otlp_values import ABSENT, OTLP_VALUES, UNDECODABLE, PlainValue, Values
from auditor.load.plans import (
    ENTRIES,
    KINDS,
    Bearing,
    Extras,
    Facts,
    Memory,
    Outcome,
    Plan,
    is_request,
    plan_for,
    role_number,
    role_of_number,
)
from auditor.model.apis import ApiCall
from auditor.model.lexicon import Field, is_technical
from auditor.model.spans import MAX_COUNT, NO_COUNT, TOKEN_COLUMNS

CACHED_VALUE = 96
"""Longest raw value that is worth remembering."""
CACHED_VALUES = 1 << 16
CACHED_ADDRESS = 1 << 8
CACHED_PLANS = 1 << 13
CACHED_PLAN_KEYS = 256
"""Most attributes of a span whose plan is worth remembering."""
CACHED_RESOURCES = 1 << 14
CACHED_FAMILIES = 1 << 16
CACHED_OUTCOMES = 1 << 15
CACHED_FACTS = 1 << 10
"""Most bytes of facts that are worth remembering an outcome for."""
CACHED_OUTCOMES_OF_PLAN = 1 << 12
NO_ROUTE = -1
DESCRIBED, ROUTED, ADDRESSED = -1, -2, -3
TOO_MANY = -1
ID_DIGITS = 16
NOTHING = 2
"""Bytes of an empty list: ``[]``."""
HIGHEST_KIND = len(KINDS) - 1
HAS_REMOTE = 0x100
IS_REMOTE = 0x200
REMOTE_FLAGS = HAS_REMOTE | IS_REMOTE
STATUS_ERROR = 2
FAILED, HAS_EVENTS, HAS_CHUNKS = 1, 2, 4
NO_COUNTS = (NO_COUNT,) * len(TOKEN_COLUMNS)

Group = tuple[ResourceFacts, str, Iterable[Span]]
"""Spans of one resource and one scope."""
Described = tuple[int, int]
"""Number of a span's role, and code of its tenants."""


class Family(NamedTuple):
    """The spans of one resource and scope with the same kind, flags and keys."""

    place: int
    """``ROUTED``, ``ADDRESSED`` when it depends on the route or address, ``DESCRIBED`` when on more values."""
    resource_tenant: int
    tenant: int
    """Position of the tenant; -1 for none, or when there are several."""
    tenants: dict[bytes, Bearing]
    is_sampled: bool
    """Belongs into the sample for unknown keys, as long as its place is known."""
    plan: Plan
    kind: int
    outcomes: dict[Facts, Outcome]
    routed: tuple[int, ...]
    """Place by class of the route."""
    is_request: bool
    """Where it goes may be a provider's API."""


_key = attrgetter("key")
_resource = msgspec.json.Decoder(Resource)
_events = msgspec.json.Decoder(list[Event])
_links = msgspec.json.Decoder(list[Link])
_chunk_name = re.compile(rb'"name"\s*:\s*"[^"]*[cC]hunk').search


class SpanReader:
    """Reads spans into a ``BatchBuilder``; without ``fast``, every span takes the slow path."""

    def __init__(self, builder: BatchBuilder, *, fast: bool = True, values: Values = OTLP_VALUES) -> None:
        self._builder = builder
        self._decode = values.decode
        self._scalars = values.scalars
        self._fast = fast
        self._resources: dict[bytes, ResourceFacts] = {}
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._memory = Memory()
        self._families = 0
        self._outcomes = 0
        self._values: dict[bytes, Any] = {}
        self._routes: dict[bytes, int] = {}
        self._apis = builder.lexicon.apis
        self._addresses: dict[bytes, int] = {}
        self._api_calls: list[ApiCall | None] = [None]
        """What addresses say, by number; 0 for all that are no provider's API."""
        self._odd_ids: dict[str, str] = {}
        self._longest_placeholder = max(map(len, builder.lexicon.placeholders), default=0)
        self.line = 0
        """Of the record that spans come from; groups of several records set it as they are taken."""

    def resource(self, raw: msgspec.Raw) -> ResourceFacts:
        """Read a resource; the same bytes are read once."""
        data = bytes(raw)
        facts = self._resources.get(data)
        if facts is None:
            attributes = _resource.decode(data).attributes if data not in (b"", b"null") else []
            facts = self._builder.resource((pair.key, self._value(pair.value)) for pair in attributes)
            if len(self._resources) >= CACHED_RESOURCES:
                self._resources.clear()
            self._resources[data] = facts
        return facts

    def read(self, groups: Iterable[Group], line: int, *, learned: bool = False) -> None:
        """Append spans of one record; ``learned`` says that ``LearnedKeys`` decoded them.

        Most of the time goes here: the loop calls nothing that it can avoid.
        """
        self.line = line
        builder = self._builder
        explained = builder.explain_trace
        traces, ids, parents = builder.trace_hex, builder.span_hex, builder.parent_hex
        place_codes, tenant_codes = builder.place, builder.tenant
        starts, ends = builder.start, builder.end
        identify = type if learned else _key
        for resource, scope, spans in groups:
            try:
                places, families = resource.scopes[scope]
            except KeyError:
                places, families = resource.scopes[scope] = {}, {}
            for span in spans:
                attributes = span.attributes
                try:
                    family = families[span.kind | span.flags << 3][tuple(map(identify, attributes))]
                except KeyError:
                    family = self._new_family(resource, scope, span, learned=learned)
                place, tenant, at, tenants, is_sampled, plan, _, _, routed, _ = family
                if place == ROUTED:
                    route = self._route(bytes(attributes[plan.route].value))
                    place = routed[route] if route >= 0 else DESCRIBED
                elif place == ADDRESSED:
                    place = DESCRIBED if self._api_call(plan, attributes) else routed[0]
                if place >= 0 and (span.events is ABSENT or len(span.events) <= NOTHING):
                    if at >= 0:
                        try:
                            tenant = tenants[bytes(attributes[at].value)][0]
                        except KeyError:
                            tenant = self._new_tenant(plan, resource, attributes)[0]
                    if is_sampled and (span.spanId <= builder.sample_mark or len(span.spanId) != ID_DIGITS):
                        self._sample(span, is_call=False, has_tenant=tenant >= 0)
                else:
                    described = self._describe(family, resource, span, learned)
                    if described is None:
                        continue
                    role, tenant = described
                    where = role | family.kind | (span.flags & REMOTE_FLAGS) >> 5
                    try:
                        place = places[where]
                    except KeyError:
                        place = places[where] = self._new_place(resource, scope, where)
                if span.links is not ABSENT and len(span.links) > NOTHING:
                    self._read_links(span.links)
                if explained is not None and span.traceId.lower() == explained:
                    builder.names[builder.next_row] = span.name
                traces.append(span.traceId)
                ids.append(span.spanId)
                parents.append(span.parentSpanId or NO_PARENT)
                place_codes.append(place)
                tenant_codes.append(tenant)
                starts.append(span.startTimeUnixNano)
                ends.append(span.endTimeUnixNano)
        builder.pack_if_due()

    # -- what is remembered --------------------------------------------------------------------------

    def _value(self, raw: msgspec.Raw | PlainValue) -> Any:
        """Decode an attribute value; low-cardinality ones are remembered."""
        if isinstance(raw, PlainValue):
            return raw.intValue if raw.stringValue is None else raw.stringValue
        data = bytes(raw)
        if len(data) > CACHED_VALUE:
            return self._decode(data)
        value = self._values.get(data, ABSENT)
        if value is ABSENT:
            value = self._decode(data)
            if len(self._values) < CACHED_VALUES:
                self._values[data] = value
        return value

    def _new_plan(self, attributes: Sequence[KeyValue]) -> Plan:
        keys = tuple(pair.key for pair in attributes)
        plan = plan_for(keys, self._builder.lexicon, self._memory, fast=self._fast)
        if len(keys) <= CACHED_PLAN_KEYS and len(self._plans) < CACHED_PLANS:
            self._plans[tuple(map(sys.intern, keys))] = plan
        return plan

    def _new_family(self, resource: ResourceFacts, scope: str, span: Span, *, learned: bool) -> Family:
        """Work out what is common to the spans of a scope with the same kind, flags and keys."""
        attributes = span.attributes
        keys = tuple([pair.key for pair in attributes])
        plan = self._plans.get(keys) or self._new_plan(attributes)
        kind = span.kind if 0 <= span.kind <= HIGHEST_KIND else 0
        place = DESCRIBED
        routed: tuple[int, ...] = ()
        if plan.is_simple:
            where = kind | (span.flags & REMOTE_FLAGS) >> 5
            routed = tuple([self._new_place(resource, scope, roles[kind] | where) for roles in plan.roles])
            place = routed[0] if plan.route < 0 else ROUTED
            if is_request(plan, kind):
                place = ADDRESSED
        family = Family(
            place,
            resource.tenant_code,
            plan.tenant,
            plan.known_tenants.setdefault(resource.tenant_code, {}),
            kind in plan.sampled_kinds,
            plan,
            kind,
            plan.outcomes.setdefault((kind, resource.policy), {}),
            routed,
            is_request(plan, kind),
        )
        if len(keys) <= CACHED_PLAN_KEYS and self._families < CACHED_FAMILIES:
            self._families += 1
            _, families = resource.scopes[scope]
            same_kind = families.setdefault(span.kind | span.flags << 3, {})
            same_kind[tuple(map(type if learned else _key, attributes))] = family
        return family

    def _new_place(self, resource: ResourceFacts, scope: str, where: int) -> int:
        role, provider_api = role_of_number(where)
        remote = bool(where & IS_REMOTE >> 5) if where & HAS_REMOTE >> 5 else None
        return self._builder.place_code(resource, scope, KINDS[where & 7], remote, role, provider_api)

    def _new_tenant(self, plan: Plan, resource: ResourceFacts, attributes: Sequence[KeyValue]) -> Bearing:
        hits = [(code, self._value(attributes[at].value)) for code, at in plan.tenants]
        tags, placeholder = self._builder.tenant_tags(hits)
        inside: dict[Field, Any] = {}
        tags, placeholder = self._builder.open_blobs(hits, inside, tags, placeholder)
        found = self._builder.with_resource(tags, resource), placeholder, self._extras(tuple(inside.items()))
        known = plan.known_tenants.setdefault(resource.tenant_code, {})
        raw = _joined(attributes, plan.tenant_positions)
        if len(known) < CACHED_VALUES and len(raw) <= CACHED_FACTS:
            known[raw] = found
        return found

    def _extras(self, inside: Extras) -> int:
        numbers = self._memory.extras
        if inside not in numbers and len(numbers) < CACHED_VALUES:
            numbers[inside] = len(numbers)
        return numbers.get(inside, TOO_MANY)

    # -- the fast path -------------------------------------------------------------------------------

    def _describe(self, family: Family, resource: ResourceFacts, span: Span, learned: bool) -> Described | None:
        """Describe the span that is about to become the next row; ``None`` when it has to be left out.

        Its ids and, for a model call, its facts are added to the builder.
        """
        plan = family.plan
        if plan.unread_usage:
            self._builder.unread_usage.update(plan.unread_usage)
        attributes = span.attributes
        unusual = FAILED if span.status.code == STATUS_ERROR else 0
        if len(span.events) > NOTHING:
            events = bytes(span.events)
            unusual |= HAS_EVENTS | HAS_CHUNKS if _tells_chunks(events) else HAS_EVENTS
            if _tells_usage(events):
                return self._describe_slowly(family, resource, span, None)
        route = 0 if plan.route < 0 else self._route(bytes(attributes[plan.route].value))
        if not plan.is_fast or route < 0 or (plan.checked and self._lacks_one(plan, attributes)):
            return self._describe_slowly(family, resource, span, None)
        ids: Sequence[str] = ()
        counts: Sequence[int] = NO_COUNTS
        if plan.varying:
            values = [attributes[at].value for at in plan.varying]
            plain = cast("list[PlainValue]", values) if learned else self._scalars(values)
            read_ids = None if plain is None else self._ids(plan, plain)
            read_counts = None if plain is None else _counts(plan, plain)
            if read_ids is None or read_counts is None:
                return self._describe_slowly(family, resource, span, None)
            ids, counts = read_ids, read_counts
        tenant, placeholder, extras = resource.tenant_code, "", 0
        if plan.tenants:
            try:
                raw = attributes[plan.tenant].value if plan.tenant >= 0 else _joined(attributes, plan.tenant_positions)
                tenant, placeholder, extras = family.tenants[bytes(raw)]
            except KeyError:
                tenant, placeholder, extras = self._new_tenant(plan, resource, attributes)
            if extras == TOO_MANY:
                return self._describe_slowly(family, resource, span, None)
        if family.is_request:
            # On a span that goes out, a route says nothing else.
            route = self._api_call(plan, attributes)
        raw_facts = _joined(attributes, plan.facts)
        facts: Facts = raw_facts
        if unusual or route or extras or placeholder:
            facts = (raw_facts, unusual, route, extras, placeholder)
        try:
            outcome = family.outcomes[facts]
        except KeyError:
            return self._describe_slowly(family, resource, span, facts)
        builder = self._builder
        row = builder.packed + len(builder.span_hex)
        if outcome.call_facts >= 0:
            if plan.checked:
                self._add_extra(plan, attributes)
            builder.call_row.append(row)
            builder.call_facts.append(outcome.call_facts)
            builder.tokens.append(counts)
            builder.call_user.append(
                outcome.user if plan.user < 0 else builder.text_code(ids[plan.user] or resource.user)
            )
            builder.call_workflow.append(
                outcome.workflow if plan.workflow < 0 else builder.text_code(ids[plan.workflow] or resource.workflow)
            )
            builder.call_line.append(self.line)
        if "" in ids:
            for id_kind, text in zip(plan.id_kinds, ids, strict=True):
                if text:
                    builder.add_id(row, id_kind, text)
        elif ids:
            builder.id_row.extend([row] * len(ids))
            builder.id_kind.extend(plan.id_kinds)
            builder.id_text.extend(ids)
        if outcome.fixed_ids:
            for id_kind, text in outcome.fixed_ids:
                builder.add_id(row, id_kind, text)
        if outcome.is_sampled and (span.spanId <= builder.sample_mark or len(span.spanId) != ID_DIGITS):
            self._sample(span, is_call=outcome.call_facts >= 0, has_tenant=tenant >= 0)
        return outcome.role, tenant

    def _ids(self, plan: Plan, values: Sequence[PlainValue]) -> list[str] | None:
        """Read the ids, which come first; ``None`` when a value is empty or no id.

        A placeholder gives an empty one.

        What is longer than any placeholder and neither begins with a zero, a dash or a brace nor has white space
        around it needs no closer look.
        """
        longest = self._longest_placeholder
        ids = []
        for value in values[: len(plan.id_kinds)]:
            text = value.stringValue
            if text is None and value.intValue is not None:
                text = str(value.intValue)
            if not text:
                return None
            if len(text) <= longest or not "0" < text[0] < "{" or not text[-1].isalnum():
                text = self._odd_id(text)
            ids.append(text)
        if plan.message >= 0 and is_counted(ids[plan.message]):
            return None
        return ids

    def _odd_id(self, text: str) -> str:
        found = self._odd_ids.get(text)
        if found is None:
            found = self._builder.identity(text)
            if len(self._odd_ids) < CACHED_VALUES and len(text) <= CACHED_VALUE:
                self._odd_ids[text] = found
        return found

    def _route(self, raw: bytes) -> int:
        """Class of a route: of all that it says only this matters."""
        route = self._routes.get(raw)
        if route is None:
            value = self._decode(raw)
            route = NO_ROUTE if _is_empty(value) else int(self._builder.is_provider_route(value))
            if len(self._routes) < CACHED_VALUES and len(raw) <= CACHED_VALUE:
                self._routes[raw] = route
        return route

    def _api_call(self, plan: Plan, attributes: Sequence[KeyValue]) -> int:
        """Number of what the address of a request says; 0 when it is no provider's API."""
        raw = _joined(attributes, plan.address)
        number = self._addresses.get(raw)
        if number is None:
            number = self._new_api_call(plan, attributes, raw)
        if number and plan.method >= 0 and text_of(self._value(attributes[plan.method].value)).upper() != "POST":
            return 0
        return number

    def _new_api_call(self, plan: Plan, attributes: Sequence[KeyValue], raw: bytes) -> int:
        number = 0
        if self._apis.hint is not None and self._apis.hint.search(raw):
            first, *rest = [text_of(self._decode(bytes(attributes[at].value))) for at in plan.address]
            found = self._apis.of_host(rest[0], first) if rest else self._apis.of_url(first)
            if found is not None:
                if found not in self._api_calls:
                    self._api_calls.append(found)
                number = self._api_calls.index(found)
        if len(raw) <= CACHED_ADDRESS and len(self._addresses) < CACHED_VALUES:
            self._addresses[raw] = number
        return number

    def _lacks_one(self, plan: Plan, attributes: Sequence[KeyValue]) -> bool:
        return any(_is_empty(self._value(attributes[at].value)) for at in plan.checked)

    def _add_extra(self, plan: Plan, attributes: Sequence[KeyValue]) -> None:
        self._builder.add_extra(
            searches=count_of(self._value(attributes[plan.searches].value)) if plan.searches >= 0 else None,
            cost=pico_of(self._value(attributes[plan.cost].value)) if plan.cost >= 0 else None,
        )

    # -- the slow path -------------------------------------------------------------------------------

    def _describe_slowly(
        self, family: Family, resource: ResourceFacts, span: Span, facts: Facts | None
    ) -> Described | None:
        """Define what a span means; the outcome is remembered for ``facts``, unless they are ``None``."""
        builder = self._builder
        plan = family.plan
        hits = [(code, self._value(span.attributes[at].value)) for code, at in plan.hits]
        if builder.is_dropped_copy(hits):
            return None
        event_hits: list[Hit] = []
        chunks = False
        has_events = len(span.events) > NOTHING
        if has_events:
            event_hits, chunks = self._read_events(span.events)
        ids = len(builder.id_kind)
        described = builder.describe(
            resource,
            KINDS[family.kind],
            plan.presence,
            hits,
            failed=span.status.code == STATUS_ERROR,
            line=self.line,
            event_hits=event_hits,
            chunk_events=chunks,
            api_call=self._api_calls[self._api_call(plan, span.attributes)] if family.is_request else None,
        )
        tenant = described.tenant_code
        is_call = described.is_call
        has_facts = is_call or described.is_request
        role = role_number(described.role, provider_api=described.provider_api)
        is_sampled = (is_call or described.role in ENTRIES) and (has_events or not plan.is_bare)
        if is_sampled:
            self._sample(span, is_call=is_call, has_tenant=tenant >= 0)
        if facts is not None and self._is_worth_remembering(family, facts):
            found_ids = zip(builder.id_kind[ids:], builder.id_text[ids:], strict=True)
            family.outcomes[facts] = Outcome(
                role=role,
                call_facts=builder.call_facts[-1] if has_facts else -1,
                is_sampled=is_sampled,
                fixed_ids=tuple((id_kind, text) for id_kind, text in found_ids if id_kind not in plan.id_kinds),
                user=builder.call_user[-1] if has_facts else -1,
                workflow=builder.call_workflow[-1] if has_facts else -1,
            )
        return role, tenant

    def _is_worth_remembering(self, family: Family, facts: Facts) -> bool:
        raw = facts[0] if isinstance(facts, tuple) else facts
        if len(raw) > CACHED_FACTS or len(family.outcomes) >= CACHED_OUTCOMES_OF_PLAN:
            return False
        if self._outcomes >= CACHED_OUTCOMES:
            return False
        self._outcomes += 1
        return True

    def _read_events(self, raw: msgspec.Raw) -> tuple[list[Hit], bool]:
        """Known call attributes of events (usage may come on one), and whether stream chunks were seen."""
        data = bytes(raw)
        hits: list[Hit] = []
        if _tells_usage(data):
            code_of = self._builder.lexicon.span_codes.get
            try:
                events = _events.decode(data)
            except UNDECODABLE:
                return [], False
            hits = [
                (code, self._value(pair.value))
                for event in events
                for pair in event.attributes
                if (code := code_of(pair.key)) is not None and code >= CALL_FROM
            ]
        return hits, _tells_chunks(data)

    def _read_links(self, raw: msgspec.Raw) -> None:
        builder = self._builder
        try:
            links = [
                (orjson.loads(bytes(link.traceId)), orjson.loads(bytes(link.spanId)))
                for link in _links.decode(raw)
                if link.traceId and link.spanId
            ]
        except UNDECODABLE:
            return
        row = builder.next_row
        for trace, span in links:
            builder.add_link(row, trace, span)

    def _sample(self, span: Span, *, is_call: bool, has_tenant: bool) -> None:
        """Keep the unknown attributes of a span that belongs to the sample."""
        if not self._builder.wants_sample(span.spanId):
            return
        known = self._builder.lexicon.span_codes
        unknown = [
            (pair.key, text)
            for pair in span.attributes
            if pair.key not in known
            and not is_technical(pair.key)
            and len(pair.value) <= MAX_SAMPLED_TEXT
            and (text := text_of(self._value(pair.value)))
        ]
        self._builder.add_sample(span.spanId, unknown, is_call=is_call, has_tenant=has_tenant)


def _tells_usage(events: bytes) -> bool:
    """Say whether events may hold usage: words that are in every key of it."""
    return b"sage" in events or b"token_count" in events or b"token.count" in events


def _tells_chunks(events: bytes) -> bool:
    """Say whether an event is named after the chunk of a stream."""
    return b"hunk" in events and _chunk_name(events) is not None


def _joined(attributes: Sequence[KeyValue], positions: Iterable[int]) -> bytes:
    """Raw values in one piece; JSON values tell by themselves where they end."""
    return b"".join([attributes[at].value for at in positions])


def _counts(plan: Plan, values: Sequence[PlainValue]) -> Sequence[int] | None:
    """Counts, which come after the ids, by token column; ``None`` when a value is empty or no count."""
    if not plan.columns:
        return NO_COUNTS
    found = [
        value.intValue if value.stringValue is None else count_of(value.stringValue)
        for value in values[len(plan.id_kinds) :]
    ]
    counts = [count for count in found if count is not None]
    if len(counts) < len(found) or max(counts) > MAX_COUNT or min(counts) < 0:
        return None
    counts.append(NO_COUNT)
    return plan.spread(counts)


def _is_empty(value: Any) -> bool:
    return value is None or value == ""
