"""Reads decoded spans into a ``BatchBuilder``.

A span is described in one of two ways that agree. The slow one decodes all known attributes and asks the builder
what they mean. The fast one looks at the raw bytes of those that decide, and uses what the slow one said of the
first span with the same bytes: see ``auditor.load.plans``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

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
    plan_for,
    role_number,
    role_of_number,
)
from auditor.model.lexicon import Field
from auditor.model.spans import MAX_COUNT, NO_COUNT, TOKEN_COLUMNS

CACHED_VALUE = 96
"""Longest raw value that is worth remembering."""
CACHED_VALUES = 1 << 16
CACHED_PLANS = 1 << 13
CACHED_PLAN_KEYS = 256
"""Most attributes of a span whose plan is worth remembering."""
CACHED_RESOURCES = 1 << 14
CACHED_OUTCOMES = 1 << 15
CACHED_FACTS = 1 << 10
"""Most bytes of facts that are worth remembering an outcome for."""
CACHED_OUTCOMES_OF_PLAN = 1 << 12
NO_ROUTE = -1
TOO_MANY = -1
ID_DIGITS = 16
NOTHING = 2
"""Bytes of an empty list: ``[]``."""
HIGHEST_KIND = len(KINDS) - 1
HAS_REMOTE = 0x100
IS_REMOTE = 0x200
REMOTE_FLAGS = HAS_REMOTE | IS_REMOTE
STATUS_ERROR = 2
NO_COUNTS = [NO_COUNT] * len(TOKEN_COLUMNS)

Group = tuple[ResourceFacts, str, Iterable[Span]]
"""Spans of one resource and one scope."""
Described = tuple[int, int]
"""Number of a span's role, and code of its tenants."""

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
        self._outcomes = 0
        self._values: dict[bytes, Any] = {}
        self._routes: dict[bytes, int] = {}
        self._odd_ids: dict[str, str] = {}
        self._longest_placeholder = max(map(len, builder.lexicon.placeholders), default=0)

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

    def read(self, groups: Iterable[Group], line: int) -> None:
        """Append spans of one record. Most of the time goes here: the loop calls nothing that it can avoid."""
        builder = self._builder
        explained = builder.explain_trace
        traces, ids, parents = builder.trace_hex, builder.span_hex, builder.parent_hex
        place_codes, tenant_codes = builder.place, builder.tenant
        starts, ends = builder.start, builder.end
        plans = self._plans
        for resource, scope, spans in groups:
            places = resource.places.get(scope)
            if places is None:
                places = resource.places[scope] = {}
            for span in spans:
                attributes = span.attributes
                try:
                    plan = plans[tuple([pair.key for pair in attributes])]
                except KeyError:
                    plan = self._new_plan(attributes)
                kind = span.kind
                if kind > HIGHEST_KIND or kind < 0:
                    kind = 0
                route = 0 if plan.route < 0 else self._route(bytes(attributes[plan.route].value))
                if plan.is_simple and len(span.events) <= NOTHING and route >= 0:
                    role = plan.roles[route][kind]
                    tenant = resource.tenant_code
                    if plan.tenant >= 0:
                        try:
                            tenant, _, _ = plan.known_tenants[tenant][bytes(attributes[plan.tenant].value)]
                        except KeyError:
                            tenant, _, _ = self._new_tenant(plan, resource, attributes)
                    if kind in plan.sampled_kinds and (
                        span.spanId <= builder.sample_mark or len(span.spanId) != ID_DIGITS
                    ):
                        self._sample(span, is_call=False, has_tenant=tenant >= 0)
                else:
                    described = self._describe(plan, resource, span, kind, route, line)
                    if described is None:
                        continue
                    role, tenant = described
                where = role | kind | (span.flags & REMOTE_FLAGS) >> 5
                try:
                    place = places[where]
                except KeyError:
                    place = places[where] = self._new_place(resource, scope, where)
                if len(span.links) > NOTHING:
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

    def _value(self, raw: msgspec.Raw) -> Any:
        """Decode an attribute value; low-cardinality ones are remembered."""
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

    def _describe(
        self, plan: Plan, resource: ResourceFacts, span: Span, kind: int, route: int, line: int
    ) -> Described | None:
        """Describe the span that is about to become the next row; ``None`` when it has to be left out.

        Its ids and, for a model call, its facts are added to the builder.
        """
        has_events = len(span.events) > NOTHING
        has_chunks = False
        if has_events:
            events = bytes(span.events)
            has_chunks = _tells_chunks(events)
            if _tells_usage(events):
                return self._describe_slowly(plan, resource, span, kind, line, None)
        attributes = span.attributes
        ids: list[str] | None = []
        counts: list[int] | None = NO_COUNTS
        if plan.varying:
            values = self._scalars([attributes[at].value for at in plan.varying])
            if values is None:
                return self._describe_slowly(plan, resource, span, kind, line, None)
            if plan.id_kinds:
                ids = self._ids(plan, values)
            if plan.columns:
                counts = _counts(plan, values)
        if (
            not plan.is_fast
            or route < 0
            or ids is None
            or counts is None
            or (plan.checked and self._lacks_one(plan, attributes))
        ):
            return self._describe_slowly(plan, resource, span, kind, line, None)
        tenant, placeholder, extras = resource.tenant_code, "", 0
        if plan.tenants:
            try:
                tenant, placeholder, extras = plan.known_tenants[tenant][_joined(attributes, plan.tenant_positions)]
            except KeyError:
                tenant, placeholder, extras = self._new_tenant(plan, resource, attributes)
        if extras == TOO_MANY:
            return self._describe_slowly(plan, resource, span, kind, line, None)
        facts = (
            b"".join([attributes[at].value for at in plan.facts]),
            kind,
            resource.policy,
            placeholder,
            extras,
            span.status.code == STATUS_ERROR,
            has_events,
            has_chunks,
            route,
        )
        try:
            outcome = plan.outcomes[facts]
        except KeyError:
            return self._describe_slowly(plan, resource, span, kind, line, facts)
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
            builder.call_line.append(line)
        if ids:
            for number, text in enumerate(ids):
                if text:
                    builder.id_row.append(row)
                    builder.id_kind.append(plan.id_kinds[number])
                    builder.id_text.append(text)
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
        known = self._odd_ids
        ids = []
        for number in range(len(plan.id_kinds)):
            value = values[number]
            text = value.stringValue
            if text is None and value.intValue is not None:
                text = str(value.intValue)
            if not text:
                return None
            if len(text) <= longest or not "0" < text[0] < "{" or not text[-1].isalnum():
                found = known.get(text)
                if found is None:
                    found = self._builder.identity(text)
                    if len(known) < CACHED_VALUES and len(text) <= CACHED_VALUE:
                        known[text] = found
                text = found
            ids.append(text)
        return ids

    def _route(self, raw: bytes) -> int:
        """Class of a route: of all that it says only this matters."""
        route = self._routes.get(raw)
        if route is None:
            value = self._decode(raw)
            route = NO_ROUTE if _is_empty(value) else int(self._builder.is_provider_route(value))
            if len(self._routes) < CACHED_VALUES and len(raw) <= CACHED_VALUE:
                self._routes[raw] = route
        return route

    def _lacks_one(self, plan: Plan, attributes: Sequence[KeyValue]) -> bool:
        return any(_is_empty(self._value(attributes[at].value)) for at in plan.checked)

    def _add_extra(self, plan: Plan, attributes: Sequence[KeyValue]) -> None:
        self._builder.add_extra(
            searches=count_of(self._value(attributes[plan.searches].value)) if plan.searches >= 0 else None,
            cost=pico_of(self._value(attributes[plan.cost].value)) if plan.cost >= 0 else None,
        )

    # -- the slow path -------------------------------------------------------------------------------

    def _describe_slowly(
        self, plan: Plan, resource: ResourceFacts, span: Span, kind: int, line: int, facts: Facts | None
    ) -> Described | None:
        """Define what a span means; the outcome is remembered for ``facts``, unless they are ``None``."""
        builder = self._builder
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
            KINDS[kind],
            plan.presence,
            hits,
            failed=span.status.code == STATUS_ERROR,
            line=line,
            event_hits=event_hits,
            chunk_events=chunks,
        )
        tenant = described.tenant_code
        is_call = described.is_call
        role = role_number(described.role, provider_api=described.provider_api)
        is_sampled = (is_call or described.role in ENTRIES) and (has_events or not plan.is_bare)
        if is_sampled:
            self._sample(span, is_call=is_call, has_tenant=tenant >= 0)
        if facts is not None and self._is_worth_remembering(plan, facts):
            found_ids = zip(builder.id_kind[ids:], builder.id_text[ids:], strict=True)
            plan.outcomes[facts] = Outcome(
                role=role,
                call_facts=builder.call_facts[-1] if is_call else -1,
                is_sampled=is_sampled,
                fixed_ids=tuple((id_kind, text) for id_kind, text in found_ids if id_kind not in plan.id_kinds),
                user=builder.call_user[-1] if is_call else -1,
                workflow=builder.call_workflow[-1] if is_call else -1,
            )
        return role, tenant

    def _is_worth_remembering(self, plan: Plan, facts: Facts) -> bool:
        if len(facts[0]) > CACHED_FACTS or len(plan.outcomes) >= CACHED_OUTCOMES_OF_PLAN:
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


def _counts(plan: Plan, values: Sequence[PlainValue]) -> list[int] | None:
    """Counts, which come after the ids, by token column; ``None`` when a value is empty or no count."""
    counts = NO_COUNTS.copy()
    number = len(plan.id_kinds)
    for column in plan.columns:
        value = values[number]
        count = value.intValue if value.stringValue is None else count_of(value.stringValue)
        if count is None or count > MAX_COUNT or count < 0:
            return None
        counts[column] = count
        number += 1
    return counts


def _is_empty(value: Any) -> bool:
    return value is None or value == ""
