"""What attribute keys and values mean, compiled to tables that the readers look things up in.

The tables are built from data files by ``auditor.normalise.vocabulary``; nothing here knows a convention by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditor.model.apis import Apis

_TECHNICAL = re.compile(
    r"^(asgi|async|aws|azure|celery|client\.address|cloud|code|container|db|device|embedding|enduser|error|event"
    r"|exception|faas|flask|gcp|gen_ai|host|http|input|k8s|langfuse|langgraph|langsmith|litellm|llm|log|logfire"
    r"|messaging|ml_?flow|net|network|openai|openinference|os|otel|output|peer|process|rpc|sampling|server|service"
    r"|telemetry|thread|tool|traceloop|url|user_agent|wsgi)([._]|$)",
    re.IGNORECASE,
)


class Field(IntEnum):
    """A concept that an attribute can express.

    From ``PROVIDER`` on, the presence of the attribute makes a span worth a look as a model call.
    """

    ROLE_SERVER = 1
    """Presence alone says: entry of a request (``http.route``)."""
    ROLE_JOB = 3
    """Presence alone says: a job framework runs here."""
    TENANT = 4
    USER = 5
    SESSION = 6
    WORKFLOW = 7
    ENVIRONMENT = 8
    FEATURE = 9
    CREDENTIAL = 10
    REQUEST_ID = 11
    MESSAGE_ID = 12
    QUEUE_OPERATION = 13
    ROUTE = 14
    STATE = 15
    """A marker of unfinished copies of a span (``logfire.span_type``)."""
    METADATA = 16
    """A JSON object, or a map, that may hold any of the identity fields."""
    TAGS = 17
    """A list of texts of the form ``key:value``."""
    AGENT = 18
    TOOL = 19
    BATCH_ID = 20
    FAILED = 21
    QUEUE = 22
    """Where a message goes: some systems number messages by queue."""
    PROVIDER = 32
    REQUEST_MODEL = 33
    RESPONSE_MODEL = 34
    OPERATION = 35
    RESPONSE_ID = 36
    INPUT_TOKENS = 37
    OUTPUT_TOKENS = 38
    CACHE_READ = 39
    CACHE_WRITE = 40
    CACHE_WRITE_1H = 41
    TOTAL_TOKENS = 42
    REASONING_TOKENS = 43
    SEARCHES = 44
    STREAMED = 45
    FIRST_CHUNK = 46
    FINISH_REASON = 47
    SERVICE_TIER = 48
    REPORTED_COST = 49
    CACHE_HIT = 50
    PARAMETERS = 51
    """A JSON object of request parameters (``llm.invocation_parameters``)."""
    USAGE_DETAILS = 52
    """A JSON object of token counts."""
    CALL_ID = 53
    """The id that a gateway gave the call."""
    HOST = 54
    URL = 55
    """The whole address of a request. May hold secrets: nothing but what ``Apis`` says of it is kept."""
    METHOD = 56
    """The method of an HTTP request."""


CALL_FIELDS_FROM = Field.PROVIDER
USAGE_FIELDS = frozenset({Field.INPUT_TOKENS, Field.OUTPUT_TOKENS, Field.USAGE_DETAILS, Field.SEARCHES})


class Operation(StrEnum):
    """What a span does, as far as money is concerned."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    IMAGE = "image"
    AUDIO = "audio"
    MODERATION = "moderation"
    BATCH = "batch"
    AGENT = "agent"
    TOOL = "tool"
    CHAIN = "chain"
    WRAPPER = "wrapper"
    """The outer half of a pair, or a plain span of a tracing product: repeats usage, and is no agent."""
    RETRIEVER = "retriever"
    POLL = "poll"
    """Reads the state or the result of earlier work: never billed."""

    @property
    def is_billable(self) -> bool:
        """Whether a provider bills this operation."""
        return self not in CONTAINERS and self is not Operation.POLL


CONTAINERS = frozenset({Operation.AGENT, Operation.TOOL, Operation.CHAIN, Operation.RETRIEVER, Operation.WRAPPER})
"""Operations whose spans repeat the usage of the calls below them."""


@dataclass(frozen=True, slots=True)
class KeyMeaning:
    """One attribute key: its concept, the convention it comes from and, for tenants, the namespace of its values."""

    key: str
    field: Field
    vocabulary: str
    namespace: str = ""


RANKS = 1 << 12
"""More keys than one concept will ever have."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All tables that a reader needs."""

    span_codes: dict[str, int]
    """Attribute key to code; ``code // RANKS`` is the field, codes sort by precedence within a field."""
    resource_codes: dict[str, int]
    meaning_of_code: dict[int, KeyMeaning]
    operations: dict[str, Operation]
    """Lower-case value of an operation attribute to operation."""
    operations_by_key: dict[tuple[str, str], Operation]
    """(key, lower-case value) where a value means something else under one key than under others."""
    queue_operations: dict[str, str]
    """Lower-case value of a queue operation attribute to ``producer`` or ``consumer``."""
    disjoint_usage: frozenset[str]
    """Vocabularies whose input count never includes cached tokens."""
    placeholders: frozenset[str]
    """Lower-case texts that are not identities."""
    provider_paths: tuple[str, ...]
    """Paths of provider APIs: a server span that serves one is a gateway."""
    apis: Apis
    """What a request to one of them is told by."""
    usage_prefixes: tuple[str, ...]
    """Keys that begin so tell of usage, known or not."""
    dropped_states: frozenset[str]
    abandonments: frozenset[str]
    """Lower-case error types that say that a stream was not read to its end."""
    metadata_fields: dict[str, KeyMeaning]
    """Lower-case key inside a metadata object or before the colon of a tag to its meaning."""
    namespaces: tuple[str, ...]
    """Namespaces of tenants, strongest first; those that the user declared come before all others."""

    def namespace_rank(self, namespace: str) -> int:
        """0 for the strongest namespace."""
        return self.namespaces.index(namespace) if namespace in self.namespaces else len(self.namespaces)

    def is_placeholder(self, value: str) -> bool:
        """Say whether a text stands for "nobody": ``default``, ``unknown``, an all-zero id …."""
        text = value.strip().lower()
        return text in self.placeholders or not text.strip("0-")


def is_technical(key: str) -> bool:
    """Say whether an attribute is one that instrumentations set about the technique of a request.

    What is unknown and technical is no tenant's key: its values are of no use.
    """
    return _TECHNICAL.match(key) is not None
