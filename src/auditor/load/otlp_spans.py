"""Reads decoded spans into a ``BatchBuilder``.

A span is described in one of two ways that agree. The slow one decodes all known attributes and asks the builder
what they mean. The fast one looks at the raw bytes of those that decide, and uses what the slow one said of the
first span with the same bytes: see ``auditor.load.plans``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import orjson

from auditor.load.builder import (
    CALL_FROM,
    MAX_SAMPLED_TEXT,
    NO_COUNTS,
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
from auditor.model.spans import NO_COUNT

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
DESCRIBED = -1
ROUTED, ADDRESSED = 1, 2
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

Group = tuple[ResourceFacts, str, Iterable[Span]]
"""Spans of one resource and one scope."""
Described = tuple[int, int]
"""Where a span stands, and code of its tenants."""
Families = dict[int, dict[tuple[Any, ...], "Family"]]
"""By kind and flags, then by keys."""


@dataclass(slots=True, eq=False)
class Family:
    """The spans of resources with one policy that have the same kind, flags and keys."""

    where: int
    """Role, kind and remoteness as one number; ``DESCRIBED`` when these depend on values."""
    way: int
    """``ROUTED`` when the route matters, ``ADDRESSED`` when the address does; 0 for neither."""
    placed: tuple[int, ...]
    """``where`` by what the route or address says, as far as that is enough to tell."""
    resource_tenant: int
    tenant: int
    """Position of the tenant; -1 for none, or when there are several."""
    tenants: dict[bytes, Bearing]
    is_sampled: bool
    """Belongs into the sample for unknown keys, as long as it is known where it stands."""
    plan: Plan
    kind: int
    stance: int
    """Kind and remoteness: what is added to the number of a role."""
    outcomes: dict[Facts, Outcome]


class Places(dict[int, int]):
    """Codes of the places of one resource and scope, by ``where``."""

    def __init__(self, builder: BatchBuilder, resource: ResourceFacts, scope: str) -> None:
        self._builder = builder
        self._resource = resource
        self._scope = scope

    def __missing__(self, where: int) -> int:
        """Intern a place."""
        role, provider_api = role_of_number(where)
        remote = bool(where & IS_REMOTE >> 5) if where & HAS_REMOTE >> 5 else None
        kind = KINDS[where & 7]
        code = self[where] = self._builder.place_code(self._resource, self._scope, kind, remote, role, provider_api)
        return code


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
        self._read_counts = values.counts
        self._fast = fast
        self._resources: dict[bytes, ResourceFacts] = {}
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._memory = Memory()
        self._families: dict[int, Families] = {}
        """By policy of the resource."""
        self._family_count = 0
        self._outcomes = 0
        self._values: dict[bytes, Any] = {}
        self._routes: dict[bytes, int] = {}
        self._apis = builder.lexicon.apis
        self._addresses: dict[bytes, int] = {}
        self._api_calls: list[ApiCall | None] = [None]
        """What addresses say, by number; 0 for all that are no provider's API."""
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
            places, families = resource.scopes.get(scope) or self._new_scope(resource, scope)
            for span in spans:
                attributes = span.attributes
                try:
                    family = families[span.kind | span.flags << 3][tuple(map(identify, attributes))]
                except KeyError:
                    family = self._new_family(families, resource, span, learned=learned)
                where, way = family.where, 0
                if family.way:
                    way = self._way(family, attributes)
                    where = family.placed[way] if 0 <= way < len(family.placed) else DESCRIBED
                if where < 0 or (span.events is not ABSENT and len(span.events) > NOTHING):
                    described = self._describe(family, resource, span, way, learned)
                    if described is None:
                        continue
                    where, tenant = described
                else:
                    tenant = family.resource_tenant
                    if family.tenant >= 0:
                        try:
                            tenant = family.tenants[bytes(attributes[family.tenant].value)][0]
                        except KeyError:
                            tenant = self._new_tenant(family.plan, resource, attributes)[0]
                    if family.is_sampled and (span.spanId <= builder.sample_mark or len(span.spanId) != ID_DIGITS):
                        self._sample(span, is_call=False, has_tenant=tenant >= 0)
                if span.links is not ABSENT and len(span.links) > NOTHING:
                    self._read_links(span.links)
                if explained is not None and span.traceId.lower() == explained:
                    builder.names[builder.next_row] = span.name
                traces.append(span.traceId)
                ids.append(span.spanId)
                parents.append(span.parentSpanId or NO_PARENT)
                place_codes.append(places[where])
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

    def _new_scope(self, resource: ResourceFacts, scope: str) -> tuple[Places, Families]:
        """Begin to remember the spans of a scope; families are the same for all resources with the same policy."""
        families = self._families.setdefault(resource.policy, {})
        found = resource.scopes[scope] = Places(self._builder, resource, scope), families
        return found

    def _new_family(self, families: Families, resource: ResourceFacts, span: Span, *, learned: bool) -> Family:
        """Work out what is common to the spans with the same kind, flags and keys."""
        attributes = span.attributes
        keys = tuple([pair.key for pair in attributes])
        plan = self._plans.get(keys) or self._new_plan(attributes)
        kind = span.kind if 0 <= span.kind <= HIGHEST_KIND else 0
        stance = kind | (span.flags & REMOTE_FLAGS) >> 5
        way = ADDRESSED if is_request(plan, kind) else ROUTED if plan.route >= 0 else 0
        placed: tuple[int, ...] = ()
        if plan.is_simple:
            # A request to a provider's API is more than a place.
            placed = tuple([roles[kind] | stance for roles in plan.roles[: 1 if way == ADDRESSED else 2]])
        family = Family(
            placed[0] if placed else DESCRIBED,
            way,
            placed,
            resource.tenant_code,
            plan.tenant,
            plan.known_tenants.setdefault(resource.tenant_code, {}),
            kind in plan.sampled_kinds,
            plan,
            kind,
            stance,
            plan.outcomes.setdefault((kind, resource.policy), {}),
        )
        if len(keys) <= CACHED_PLAN_KEYS and self._family_count < CACHED_FAMILIES:
            self._family_count += 1
            same_kind = families.setdefault(span.kind | span.flags << 3, {})
            same_kind[tuple(map(type if learned else _key, attributes))] = family
        return family

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

    def _way(self, family: Family, attributes: Sequence[KeyValue]) -> int:
        """What the route of a span says, or the address that it goes to: there, a route says nothing else."""
        if family.way == ADDRESSED:
            return self._api_call(family.plan, attributes)
        return self._route(bytes(attributes[family.plan.route].value))

    def _describe(
        self, family: Family, resource: ResourceFacts, span: Span, way: int, learned: bool
    ) -> Described | None:
        """Describe the span that is about to become the next row; ``None`` when it has to be left out.

        Its ids and, for a model call, its facts are added to the builder.
        """
        builder = self._builder
        plan = family.plan
        attributes = span.attributes
        if way < 0 or (plan.is_watched and self._is_odd(plan, attributes)):
            return self._describe_slowly(family, resource, span, None)
        unusual = FAILED if span.status.code == STATUS_ERROR else 0
        if span.events is not ABSENT and len(span.events) > NOTHING:
            events = bytes(span.events)
            unusual |= HAS_EVENTS | HAS_CHUNKS if _tells_chunks(events) else HAS_EVENTS
            if _tells_usage(events):
                return self._describe_slowly(family, resource, span, None)
        ids: Sequence[str] = ()
        counts: Sequence[int] = NO_COUNTS
        if plan.ids:
            found_ids = self._ids(plan, attributes, learned)
            if found_ids is None:
                return self._describe_slowly(family, resource, span, None)
            ids = found_ids
        if plan.counts:
            found_counts = self._counts(plan, attributes, learned)
            if found_counts is None:
                return self._describe_slowly(family, resource, span, None)
            counts = found_counts
        tenant, placeholder, extras = resource.tenant_code, "", 0
        if plan.tenants:
            try:
                raw = attributes[plan.tenant].value if plan.tenant >= 0 else _joined(attributes, plan.tenant_positions)
                tenant, placeholder, extras = family.tenants[bytes(raw)]
            except KeyError:
                tenant, placeholder, extras = self._new_tenant(plan, resource, attributes)
            if extras == TOO_MANY:
                return self._describe_slowly(family, resource, span, None)
        raw_facts = _joined(attributes, plan.facts)
        facts: Facts = raw_facts
        if unusual or way or extras or placeholder:
            facts = (raw_facts, unusual, way, extras, placeholder)
        try:
            outcome = family.outcomes[facts]
        except KeyError:
            return self._describe_slowly(family, resource, span, facts)
        row = builder.packed + len(builder.span_hex)
        if outcome.call_facts >= 0:
            if plan.checked:
                self._add_extra(plan, attributes)
            texts = builder.text_codes
            builder.call_row.append(row)
            builder.call_facts.append(outcome.call_facts)
            builder.tokens.append(counts)
            builder.call_user.append(outcome.user if plan.user < 0 else texts[ids[plan.user] or resource.user])
            builder.call_workflow.append(
                outcome.workflow if plan.workflow < 0 else texts[ids[plan.workflow] or resource.workflow]
            )
            builder.call_line.append(self.line)
        if "" in ids:
            for id_kind, text in zip(plan.id_kinds, ids, strict=True):
                if text:
                    builder.add_id(row, id_kind, text)
        elif ids:
            builder.id_row += [row] * len(ids)
            builder.id_kind += plan.id_kinds
            builder.id_text += ids
        if outcome.fixed_ids:
            for id_kind, text in outcome.fixed_ids:
                builder.add_id(row, id_kind, text)
        if outcome.is_sampled and (span.spanId <= builder.sample_mark or len(span.spanId) != ID_DIGITS):
            self._sample(span, is_call=outcome.is_call, has_tenant=tenant >= 0)
        return outcome.role | family.stance, tenant

    def _is_odd(self, plan: Plan, attributes: Sequence[KeyValue]) -> bool:
        """Say whether a span of a plan that asks for a closer look has to be described slowly."""
        if plan.unread_usage:
            self._builder.unread_usage.update(plan.unread_usage)
        return not plan.is_fast or any(_is_empty(self._value(attributes[at].value)) for at in plan.checked)

    def _ids(self, plan: Plan, attributes: Sequence[KeyValue], learned: bool) -> list[str] | None:
        """Read the ids; ``None`` when a value is empty or no id. A placeholder gives an empty one.

        What neither begins with a zero, a dash, a quote or a brace nor has white space around it is an id as it
        stands, unless it is a known placeholder.
        """
        values: Sequence[Any] = [attributes[at].value for at in plan.ids]
        if not learned:
            plain = self._scalars(values)
            if plain is None:
                return None
            values = plain
        placeholders = self._builder.lexicon.placeholders
        ids = []
        for value in values:
            text = value.stringValue
            if not text:
                if text is not None or value.intValue is None:
                    return None
                text = str(value.intValue)
            if not "0" < text[0] < "{" or not text[-1].isalnum() or text.lower() in placeholders:
                text = self._builder.identity(text)
            ids.append(text)
        if plan.message >= 0 and is_counted(ids[plan.message]):
            return None
        return ids

    def _counts(self, plan: Plan, attributes: Sequence[KeyValue], learned: bool) -> Sequence[int] | None:
        """Counts by token column; ``None`` when a value is empty or no count."""
        values: Sequence[Any] = [attributes[at].value for at in plan.counts]
        if learned:
            # The decoder has seen to it that they are counts.
            counts: list[int] = [value.intValue for value in values]
        elif self._read_counts is not None and (whole := self._read_counts(values)) is not None:
            counts = whole
        else:
            plain = self._scalars(values) or ()
            found = [count_of(value.intValue if value.stringValue is None else value.stringValue) for value in plain]
            counts = [count for count in found if count is not None]
            if len(counts) < len(values):
                return None
        counts.append(NO_COUNT)
        return plan.spread(counts)

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
            api_call=self._api_calls[self._api_call(plan, span.attributes)] if family.way == ADDRESSED else None,
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
                is_call=is_call,
                is_sampled=is_sampled,
                fixed_ids=tuple((id_kind, text) for id_kind, text in found_ids if id_kind not in plan.id_kinds),
                user=builder.call_user[-1] if has_facts else -1,
                workflow=builder.call_workflow[-1] if has_facts else -1,
            )
        return role | family.stance, tenant

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


def _is_empty(value: Any) -> bool:
    return value is None or value == ""
