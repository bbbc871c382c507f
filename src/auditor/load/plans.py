"""What can be known of a span before its values are looked at: one plan for each sequence of attribute keys.

Instrumentations set the same keys in the same order, so that a large export has a few hundred sequences. A plan
says at which positions the known attributes are, and sorts them by what their values decide:

- *facts*: few distinct values (model, operation, finish reason …). The spans that agree in them get the same role
  and the same call facts: the ``Outcome`` is worked out once, by the slow path, and remembered.
- *tenants*, and metadata objects that may hold one: remembered by themselves, because every model is called for
  every tenant.
- *ids and counts*: different on every span. The outcome depends on nothing but their not being empty.

An empty value hands its turn to the next key of the same concept. That would make the outcome depend on values, so
a span with an empty id or count takes the slow path, which defines the meaning; so does what a plan cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from auditor.load.builder import ID_FIELDS, PRESENCE_BELOW, TOKEN_FIELDS, role_of_kind
from auditor.model.lexicon import RANKS, Field, Lexicon
from auditor.model.spans import IdKind, Kind, Role

KINDS = tuple(Kind)
ROLES = tuple(Role)
ENTRIES = frozenset({Role.SERVER, Role.CONSUMER})
"""Roles in which a request comes in: what is known of the customer should be on them."""

_KINDLESS = frozenset({Kind.UNSPECIFIED, Kind.INTERNAL})
_FACTS = frozenset(
    {
        Field.ENVIRONMENT, Field.FEATURE, Field.CREDENTIAL, Field.QUEUE_OPERATION, Field.STATE,
        Field.AGENT, Field.TOOL, Field.FAILED, Field.PROVIDER, Field.REQUEST_MODEL, Field.RESPONSE_MODEL,
        Field.OPERATION, Field.STREAMED, Field.FINISH_REASON, Field.SERVICE_TIER, Field.CACHE_HIT, Field.PARAMETERS,
    }
)  # fmt: skip
_TENANTS = frozenset({Field.TENANT, Field.METADATA, Field.TAGS})
_TECHNICAL = frozenset({Field.URL, Field.METHOD, Field.QUEUE})
"""By themselves, on a span that comes in, they say nothing."""
_SIMPLE = frozenset({Field.TENANT, Field.ROUTE, Field.HOST, *_TECHNICAL})
"""A plan with no other concepts needs no outcome."""


@dataclass(slots=True, eq=False)
class Outcome:
    """What the slow path made of the first span with certain facts."""

    role: int
    """As ``role_number`` gives it."""
    call_facts: int
    """Code of the call facts; -1 when the span is neither a call nor a request to a provider's API."""
    is_call: bool
    is_sampled: bool
    fixed_ids: tuple[tuple[IdKind, str], ...]
    """Ids from inside a metadata object, which is part of the facts."""
    user: int
    """Code of the user of the call where no attribute of its own names one."""
    workflow: int


Bearing = tuple[int, str, int]
"""Code of a span's tenants, the placeholder that stands where one should be, and number of the ``extras``."""
Tenants = dict[int, dict[bytes, Bearing]]
"""By the resource's tenants, then by raw values."""
Facts = bytes | tuple[bytes, int, int, int, str]
"""What an outcome depends on: the raw facts.

With the unusual: failure and events, class of the route, extras, placeholder.
"""
Outcomes = dict[tuple[int, int], dict[Facts, Outcome]]
"""By kind and by policy of the resource, then by facts."""
Extras = tuple[tuple[Field, str], ...]


class Memory:
    """What is remembered for all plans that look at the same keys, wherever on the span these are."""

    def __init__(self) -> None:
        self.tenants: dict[tuple[int, ...], Tenants] = {}
        """By the codes of the tenant keys."""
        self.extras: dict[Extras, int] = {(): 0}
        """What metadata objects and tags say besides tenants, numbered."""
        self.outcomes: dict[tuple[int, ...], Outcomes] = {}
        """By the concepts that tell by presence and the codes of all keys whose values count."""


@dataclass(slots=True, eq=False)
class Plan:
    """What one sequence of attribute keys says."""

    presence: int
    """Bit ``field`` is set for each concept that tells by presence."""
    hits: tuple[tuple[int, int], ...]
    """Code and position of each known attribute whose value counts, by precedence."""
    is_simple: bool
    """Nothing counts but at most one tenant, a route and an address."""
    is_bare: bool
    """Nothing is known but at most one tenant: no sample for unknown keys."""
    is_fast: bool
    """Outcomes may be remembered."""
    is_watched: bool
    """Not all of its spans may be described from memory, or there is more to count than they say."""
    tenant: int
    """Position of the tenant; -1 for none, or when there are several."""
    tenants: tuple[tuple[int, int], ...]
    """Code and position of each tenant, and of what may hold one."""
    tenant_positions: tuple[int, ...]
    facts: tuple[int, ...]
    ids: tuple[int, ...]
    """Positions of the ids."""
    counts: tuple[int, ...]
    """Positions of the counts."""
    id_kinds: tuple[IdKind, ...]
    columns: tuple[int, ...]
    """Token column of each count."""
    spread: Callable[[Sequence[int]], tuple[int, ...]]
    """Puts the counts, after which comes ``NO_COUNT``, into all token columns."""
    checked: tuple[int, ...]
    """Positions of other values of which it counts whether they are empty."""
    user: int
    """Place of the user among the ids; -1 for none."""
    workflow: int
    message: int
    route: int
    """Position; -1 for none."""
    address: tuple[int, ...]
    """Positions of what tells where a request goes: its URL, or path and host; nothing where that cannot be told."""
    method: int
    searches: int
    cost: int
    roles: tuple[tuple[int, ...], tuple[int, ...]]
    """Of a simple plan: the role of each kind, and the same where the route is one of a provider's API."""
    sampled_kinds: frozenset[int]
    """Of a simple plan: kinds that belong into the sample for unknown keys."""
    known_tenants: Tenants
    outcomes: Outcomes
    unread_usage: tuple[str, ...]
    """Keys that tell of usage and that no vocabulary knows."""


def plan_for(keys: Sequence[str], lexicon: Lexicon, memory: Memory, *, fast: bool) -> Plan:
    """Work out what a sequence of attribute keys says."""
    presence = 0
    hits = []
    unread_usage = []
    for at, key in enumerate(keys):
        code = lexicon.span_codes.get(key)
        if code is None:
            if key.startswith(lexicon.usage_prefixes):
                unread_usage.append(key)
            continue
        if code < PRESENCE_BELOW:
            presence |= 1 << code // RANKS
        else:
            hits.append((code, at))
    # By precedence; of a key that is there twice the last one counts.
    hits.sort(key=lambda hit: (hit[0], -hit[1]))
    fields = [Field(code // RANKS) for code, _ in hits]
    first: dict[Field, int] = {}
    for concept, (_, at) in zip(fields, hits, strict=True):
        first.setdefault(concept, at)
    tenants = tuple(hit for concept, hit in zip(fields, hits, strict=True) if concept in _TENANTS)
    ids = [(kind, first[concept]) for concept, kind in ID_FIELDS.items() if concept in first]
    id_kinds = tuple(kind for kind, _ in ids)
    counts = [(column, first[concept]) for column, concept in enumerate(TOKEN_FIELDS) if concept in first]
    columns = tuple(column for column, _ in counts)
    is_fast = fast and Field.USAGE_DETAILS not in first
    checked = tuple(
        first[concept] for concept in (Field.SEARCHES, Field.REPORTED_COST, Field.FIRST_CHUNK) if concept in first
    )
    roles = [role_of_kind(kind, presence, has_route=Field.ROUTE in first) for kind in KINDS]
    is_bare = sum(concept not in _TECHNICAL for concept in fields) == fields.count(Field.TENANT) <= 1
    address = (Field.URL,) if Field.URL in first else (Field.ROUTE, Field.HOST)
    return Plan(
        presence=presence,
        hits=tuple(hits),
        is_simple=set(fields) <= _SIMPLE and len(tenants) <= 1 and not unread_usage,
        is_bare=is_bare,
        is_fast=is_fast,
        is_watched=not is_fast or bool(checked or unread_usage),
        tenant=tenants[0][1] if len(tenants) == 1 else -1,
        tenants=tenants,
        tenant_positions=tuple(at for _, at in tenants),
        facts=tuple(at for concept, (_, at) in zip(fields, hits, strict=True) if concept in _FACTS),
        ids=tuple(at for _, at in ids),
        counts=tuple(at for _, at in counts),
        id_kinds=id_kinds,
        columns=columns,
        spread=itemgetter(
            *(columns.index(column) if column in columns else len(columns) for column in range(len(TOKEN_FIELDS)))
        ),
        checked=checked,
        user=id_kinds.index(IdKind.USER) if IdKind.USER in id_kinds else -1,
        workflow=id_kinds.index(IdKind.WORKFLOW) if IdKind.WORKFLOW in id_kinds else -1,
        message=id_kinds.index(IdKind.MESSAGE) if IdKind.MESSAGE in id_kinds else -1,
        route=first.get(Field.ROUTE, -1),
        address=tuple(first[concept] for concept in address) if first.keys() >= {*address} else (),
        method=first.get(Field.METHOD, -1),
        searches=first.get(Field.SEARCHES, -1),
        cost=first.get(Field.REPORTED_COST, -1),
        roles=(
            tuple(role_number(role, provider_api=False) for role in roles),
            tuple(role_number(role, provider_api=role is Role.SERVER) for role in roles),
        ),
        sampled_kinds=frozenset(
            kind for kind, role in zip(KINDS, roles, strict=True) if role in ENTRIES and not is_bare
        ),
        known_tenants=memory.tenants.setdefault(tuple(code for code, _ in tenants), {}),
        outcomes=memory.outcomes.setdefault((presence, *(code for code, _ in hits)), {}),
        unread_usage=tuple(unread_usage),
    )


def is_request(plan: Plan, kind: int) -> bool:
    """Say whether spans of a plan and kind are requests that go somewhere, and do not come in.

    Where kinds do not tell, a request that comes in has a route besides its URL.
    """
    if not plan.address:
        return False
    if kind in _KINDLESS:
        return plan.route < 0
    return kind == Kind.CLIENT


def role_number(role: Role, *, provider_api: bool) -> int:
    """Number of a role that leaves the five lowest bits to kind (three) and remoteness (two)."""
    return (ROLES.index(role) << 1 | provider_api) << 5


def role_of_number(number: int) -> tuple[Role, bool]:
    """Role, and whether a provider's API is served."""
    return ROLES[number >> 6], bool(number >> 5 & 1)
