"""Reads LiteLLM's payloads, which large logs are made of.

Many lines are decoded at once, into structs that have the wanted fields only, and taken apart column by column.
Fields of few values decide what a row means: what they came to is remembered. ``payload_row`` and ``RowWriter`` define
the meaning; a payload with anything unusual goes through them, and so does the first one of each kind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any, NamedTuple, cast

import msgspec

from auditor.load.builder import ID_FIELDS, BatchBuilder
from auditor.load.litellm import (
    CACHE_HIT,
    END_USERS,
    STREAMED_NS,
    SYSTEM,
    TENANT_FIELDS,
    TENANT_OBJECTS,
    end_user_of,
    payload_row,
    sources_of,
)
from auditor.load.otlp_values import UNDECODABLE
from auditor.load.row_columns import ROWS, Known, RowColumns, numbers_of
from auditor.load.row_values import ns_of_seconds
from auditor.load.rows import NOT_A_ROW, Entry, Identities, RowWriter, json_value, rows_in
from auditor.load.sources import Lines
from auditor.model.lexicon import Field
from auditor.model.spans import MAX_COUNT

REMEMBERED = 1 << 15
"""Kinds of rows, or identities, above which all are forgotten."""
REMEMBERED_BYTES = 1 << 24
"""Bytes that identities are told by, above which these bytes are forgotten."""
REMEMBERED_OBJECTS = 1 << 12
LONG_OBJECT = 1 << 12
"""An object of more bytes is hardly ever met again."""
REMEMBERED_USERS = 1 << 17
"""End users above which these are forgotten."""
COST_ROW = "_cost"
"""What the ids of rows end in that hold the cost of something else."""

Raw = msgspec.Raw
NULL = Raw(b"null")
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class Details(msgspec.Struct, gc=False):
    """``prompt_tokens_details``."""

    cached_tokens: Count | None = None
    cache_creation_tokens: Count | None = None


class UsageObject(msgspec.Struct, gc=False):
    """``usage_object``."""

    prompt_tokens_details: Details | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None


class Metadata(msgspec.Struct, gc=False):
    """``metadata``, without what an audit does not need."""

    user_api_key_hash: str | None = None
    user_api_key_team_id: str | None = None
    user_api_key_org_id: str | None = None
    user_api_key_project_id: str | None = None
    user_api_key_end_user_id: str | None = None
    original_model_group: str | None = None
    internal_call_origin: str | None = None
    spend_logs_metadata: Raw = NULL
    user_api_key_auth_metadata: Raw = NULL
    requester_metadata: Raw = NULL
    requester_custom_headers: Raw = NULL
    usage_object: UsageObject | None = None


class Parameters(msgspec.Struct, gc=False):
    """``model_parameters``."""

    stream: bool | None = None


class Usage(msgspec.Struct, gc=False):
    """``usage`` of an answer: that it is there is all that counts."""


class Answer(msgspec.Struct, gc=False):
    """``response``."""

    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


class Payload(msgspec.Struct, gc=False):
    """The wanted fields of a payload with the types that LiteLLM gives them."""

    id: str
    call_type: str
    metadata: Metadata
    trace_id: str = ""
    session_id: str | None = None
    litellm_call_id: str = ""
    stream: bool | None = None
    response_cost: float | None = None
    status: str | None = None
    custom_llm_provider: str | None = None
    total_tokens: Count | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    startTime: float = 0.0  # noqa: N815  # the log's spelling
    endTime: float = 0.0  # noqa: N815
    completionStartTime: float | None = None  # noqa: N815
    model: str | None = None
    model_group: str | None = None
    model_parameters: Parameters | None = None
    cache_hit: bool | str | None = None
    request_tags: Raw = NULL
    end_user: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    response: Answer | str | list[Any] | None = None


Key = tuple[Any, ...]


class Object(NamedTuple):
    """What one object or list of tags says."""

    telling: tuple[Entry, ...]
    """Entries that decide who a row is for, and its environment and feature."""
    ids: tuple[tuple[Field, str], ...]
    is_given: bool
    """It is there, though it may be empty."""


TAGS = "request_tags"
_PATHS = (*(f"metadata.{name}" for name in TENANT_OBJECTS), TAGS)

_decoder = msgspec.json.Decoder(Payload)
_payload, _payloads = _decoder.decode, _decoder.decode_lines
PASSED_OVER = -1
"""Instead of the code of an end user: the next place may hold one."""
BROKEN = "broken"
NO_USAGE = UsageObject()
NO_DETAILS = Details()


class LiteLLMReader:
    """Reads payloads: many lines at once, one a record, or a list of them."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._writer = RowWriter(builder, SYSTEM)
        self._columns = RowColumns(self._writer.place, SYSTEM)
        self._known = Known()
        self._numbers: dict[Key, int] = {}
        """Of known identities, by the raw bytes of objects and by texts."""
        self._bytes = 0
        """Of these keys."""
        self._objects: dict[tuple[str, bytes], Object] = {}
        self._whos: list[Identities] = []
        """Without ids."""
        self._who: dict[Key, int] = {}
        """Their numbers, by what decides."""
        self._without_ids: dict[int, int] = {}
        """By these, the number of known identities without any id."""
        self._policies: dict[Key, int] = {}
        self._policy: list[int] = []
        """Number of the combination of environment, feature and placeholder, by number of the identities."""
        self._is_open: list[bool] = []
        """Whether identities, by number, name no tenant: the end user may be one."""
        self._users: dict[str | None, int] = {}
        """Code of an end user; ``PASSED_OVER`` for what is none in that place."""
        self._longest_placeholder = max(map(len, builder.lexicon.placeholders), default=0)
        self._end_users: dict[tuple[str | None, str | None], int] = {}
        """Code of the tenants that end users come to."""
        self._facts: dict[Key, int] = {}
        """Code of the call facts by everything that they depend on."""
        # Where the settings make the end user more than the last resort, all of a payload decides together.
        self.takes_lines = not any(self._writer.is_declared(path) for path in END_USERS)

    def finish(self) -> None:
        """Hand on the rows that are still held."""
        self._hand_on()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one payload, or a list; raises ``msgspec.DecodeError`` when it is not JSON."""
        kind = None
        if self.takes_lines:
            try:
                payload = _payload(record)
            except msgspec.ValidationError:
                # A list, or a field of an unusual type.
                pass
            else:
                unknown = self._take([payload], [line])
                if not unknown:
                    self._builder.records += 1
                    self._hand_on_if_full()
                    return
                kind = unknown[0]
        entries = rows_in(json_value(record))
        self._builder.mark(line, byte)
        before = len(self._builder.call_facts)
        for entry in entries:
            told = payload_row(entry, self._builder.lexicon) if isinstance(entry, dict) else NOT_A_ROW
            self._writer.take(told, line, byte)
        if kind is not None and len(self._builder.call_facts) > before:
            self._facts[kind] = self._builder.call_facts[-1]
        self._builder.pack_if_due()
        self._hand_on_if_full()

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one JSON object each; says by number which of them have to be read one by one."""
        ends = lines.ends
        odd: list[int] = []
        numbers: Sequence[int] = range(len(ends))
        try:
            payloads = _payloads(lines.data)
        except UNDECODABLE:
            payloads = []
        if len(payloads) != len(ends):
            payloads, numbers = [], []
            for number, start, end in zip(range(len(ends)), [0, *ends], ends, strict=False):
                try:
                    payloads.append(_payload(lines.data[start:end]))
                    numbers.append(number)
                except UNDECODABLE:
                    odd.append(number)
        try:
            unknown = self._take(payloads, [lines.line + number for number in numbers])
        except UNDECODABLE:
            # A text in what was left undecoded breaks off inside a character: before anything is added, that shows.
            return range(len(ends))
        self._builder.records += len(payloads) - len(unknown)
        self._hand_on_if_full()
        if not odd and not unknown:
            return ()
        return sorted([*odd, *(numbers[at] for at in unknown)])

    def _hand_on_if_full(self) -> None:
        if len(self._columns) + self._builder.next_row >= ROWS:
            self._hand_on()

    def _hand_on(self) -> None:
        self._columns.hand_on(self._builder, self._known)
        if max(len(self._known), len(self._who), len(self._facts)) > REMEMBERED:
            # No row that is held refers to them any more.
            self._known = Known()
            self._bytes = 0
            for known in (
                self._numbers, self._whos, self._who, self._without_ids, self._policies, self._policy, self._is_open,
                self._facts,
            ):  # fmt: skip
                known.clear()

    def _take(self, rows: list[Payload], lines: Sequence[int]) -> dict[int, Key | None]:
        """Add payloads of known kinds to the columns; says which are of another one, if that is worth remembering.

        Every list here has one entry a row: most of the time goes into making them.
        """
        ids = [row.id for row in rows]
        metadata = [row.metadata for row in rows]
        identities = self._identities(rows, metadata)
        policy = self._policy
        prompts = [row.prompt_tokens for row in rows]
        completions = [row.completion_tokens for row in rows]
        costs = [row.response_cost for row in rows]
        kinds = list(
            zip(
                [policy[number] for number in identities],
                [row.call_type for row in rows],
                [row.model for row in rows],
                [row.model_group for row in rows],
                [row.custom_llm_provider for row in rows],
                [row.status for row in rows],
                [row.cache_hit for row in rows],
                [entry.user_api_key_hash for entry in metadata],
                [entry.original_model_group for entry in metadata],
                [entry.internal_call_origin for entry in metadata],
                [not prompt and not completion for prompt, completion in zip(prompts, completions, strict=True)],
                [cost == 0 for cost in costs],
                _streams(rows),
                strict=True,
            )
        )
        facts = list(map(self._facts.get, kinds))
        unknown: dict[int, Key | None] = {}
        if None in facts:
            unknown = {at: kinds[at] for at, code in enumerate(facts) if code is None}
        all_ids = "\n".join(ids)
        if COST_ROW in all_ids or CACHE_HIT in all_ids or "" in ids:
            unknown |= dict.fromkeys((at for at, log_id in enumerate(ids) if _is_special(log_id)), None)
        if unknown:
            kept = [at for at in range(len(rows)) if at not in unknown]
            if kept:
                self._take([rows[at] for at in kept], [lines[at] for at in kept])
            return unknown
        columns = self._columns
        first = len(columns)
        usages = [entry.usage_object or NO_USAGE for entry in metadata]
        details = [entry.prompt_tokens_details or NO_DETAILS for entry in usages]
        traces = [row.trace_id for row in rows]
        sessions = [row.session_id for row in rows]
        if sessions != traces:
            for at, (session, trace) in enumerate(zip(sessions, traces, strict=True), first):
                if session and session != trace:
                    columns.session_row.append(at)
                    columns.session.append(session)
        columns.user += self._end_users_of(rows, metadata, identities)
        columns.identities += identities
        columns.facts += cast("list[int]", facts)
        columns.line += lines
        columns.log_id += ids
        columns.call_id += [row.litellm_call_id for row in rows]
        columns.trace += traces
        columns.start += numbers_of([row.startTime for row in rows])
        columns.end += numbers_of([row.endTime for row in rows])
        columns.cost += numbers_of(costs)
        columns.prompt += numbers_of(prompts)
        columns.completion += numbers_of(completions)
        columns.total += numbers_of([row.total_tokens for row in rows])
        columns.read += numbers_of([entry.cached_tokens for entry in details])
        columns.other_read += numbers_of([entry.cache_read_input_tokens for entry in usages])
        columns.written += numbers_of([entry.cache_creation_tokens for entry in details])
        columns.other_written += numbers_of([entry.cache_creation_input_tokens for entry in usages])
        return unknown

    def _identities(self, rows: Sequence[Payload], metadata: Sequence[Metadata]) -> list[int]:
        """Numbers of the identities of payloads, apart from their end users."""
        # No byte of value 0 is in JSON: it tells where one value ends.
        objects = map(
            b"\0".join,
            zip(
                [entry.spend_logs_metadata for entry in metadata],
                [entry.user_api_key_auth_metadata for entry in metadata],
                [entry.requester_metadata for entry in metadata],
                [entry.requester_custom_headers for entry in metadata],
                [row.request_tags for row in rows],
                strict=True,
            ),
        )
        keys = list(
            zip(
                objects,
                [entry.user_api_key_team_id for entry in metadata],
                [entry.user_api_key_org_id for entry in metadata],
                [entry.user_api_key_project_id for entry in metadata],
                [row.team_id for row in rows],
                [row.organization_id for row in rows],
                strict=True,
            )
        )
        known = self._numbers
        numbers = list(map(known.get, keys))
        if None in numbers:
            numbers = [self._identities_of(key) if (number := known.get(key)) is None else number for key in keys]
        return cast("list[int]", numbers)

    def _identities_of(self, key: Key) -> int:
        """Number of identities that are told by other bytes than before.

        What objects say besides what means something differs from row to row, and so do ids: what is left decides.
        """
        objects = tuple(map(self._object, _PATHS, key[0].split(b"\0")))
        telling = tuple((entry.telling, entry.is_given) for entry in objects)
        who = self._who.get((telling, key[1:]))
        if who is None:
            who = self._who[telling, key[1:]] = self._learn_identities(key)
        ids: dict[Field, str] = {}
        for entry in objects:
            for concept, text in entry.ids:
                ids.setdefault(concept, text)
        if ids:
            number = self._add_identities(who, ids)
        elif (found := self._without_ids.get(who)) is not None:
            number = found
        else:
            number = self._without_ids[who] = self._add_identities(who, {})
        if len(self._numbers) >= REMEMBERED or self._bytes >= REMEMBERED_BYTES:
            self._numbers.clear()
            self._bytes = 0
        self._numbers[key] = number
        self._bytes += len(key[0])
        return number

    def _object(self, path: str, raw: bytes) -> Object:
        """What an object or a list of tags says; most say the same as another one."""
        found = self._objects.get((path, raw))
        if found is None:
            value = json_value(raw)
            told = [(path, value)]
            entries = self._writer.telling((), told) if path == TAGS else self._writer.telling(told, ())
            meanings = self._builder.lexicon.metadata_fields
            concepts = [meanings[key.lower()].field for _, key, _ in entries]
            found = Object(
                tuple(entry for entry, concept in zip(entries, concepts, strict=True) if concept not in ID_FIELDS),
                tuple(
                    (concept, entry[2])
                    for entry, concept in zip(entries, concepts, strict=True)
                    if concept in ID_FIELDS
                ),
                value is not None,
            )
            if len(self._objects) >= REMEMBERED_OBJECTS:
                self._objects.clear()
            if len(raw) <= LONG_OBJECT:
                self._objects[path, raw] = found
        return found

    def _learn_identities(self, key: Key) -> int:
        """Number of what the bytes and texts of a key say, apart from ids."""
        values = [json_value(raw) for raw in key[0].split(b"\0")]
        metadata: dict[str, Any] = dict(zip(TENANT_OBJECTS, values[:-1], strict=True))
        metadata |= dict(zip(TENANT_FIELDS, key[1:4], strict=True))
        entry = {"request_tags": values[-1], "team_id": key[4], "organization_id": key[5]}
        who = self._writer.open(*sources_of(entry, metadata))
        others = {concept: text for concept, text in who.others.items() if concept not in ID_FIELDS}
        self._whos.append(who._replace(others=others))
        return len(self._whos) - 1

    def _add_identities(self, number: int, ids: dict[Field, str]) -> int:
        """Add identities of which all but the ids are known by their number."""
        who = self._whos[number]
        codes = self._writer.codes(who._replace(others=who.others | ids))
        self._policy.append(self._policies.setdefault(codes.policy, len(self._policies)))
        self._is_open.append(not who.tenants)
        return self._known.add(codes.tenant, codes.user, codes.workflow, codes.ids)

    def _end_users_of(
        self, rows: Sequence[Payload], metadata: Sequence[Metadata], identities: Sequence[int]
    ) -> list[int]:
        """Codes of end users; where no tenant is known, they are noted as tenants too."""
        of_rows = [row.end_user for row in rows]
        of_keys = [entry.user_api_key_end_user_id for entry in metadata]
        is_open = self._is_open
        for at in [at for at, number in enumerate(identities) if is_open[number]]:
            if of_rows[at] is not None or of_keys[at] is not None:
                self._columns.tenant_row.append(len(self._columns) + at)
                self._columns.tenant.append(self._tenant_of((of_rows[at], of_keys[at])))
        users = self._users_of(of_rows)
        if PASSED_OVER in users:
            others = [at for at, user in enumerate(users) if user == PASSED_OVER and of_keys[at] is not None]
            for at, user in zip(others, self._users_of([of_keys[at] for at in others]), strict=True):
                users[at] = user
        return users

    def _users_of(self, texts: Sequence[str | None]) -> list[int]:
        """Codes of end users; ``PASSED_OVER`` for what is none."""
        known = self._users
        users = list(map(known.get, texts))
        if None not in users:
            return cast("list[int]", users)
        new = list(dict.fromkeys(text for text, user in zip(texts, users, strict=True) if user is None))
        longest = self._longest_placeholder
        # What is longer than any placeholder and begins and ends like a word needs no closer look.
        found = [
            text
            if text is not None and len(text) > longest and "0" < text[0] < "{" and text[-1].isalnum()
            else end_user_of(text, None, self._builder.lexicon)
            for text in new
        ]
        if len(known) >= REMEMBERED_USERS:
            known.clear()
        numbers = iter(self._builder.new_texts(list(filter(None, found))))
        codes = {text: next(numbers) if user else PASSED_OVER for text, user in zip(new, found, strict=True)}
        known |= codes
        return [codes[text] if user is None else user for text, user in zip(texts, users, strict=True)]

    def _tenant_of(self, pair: tuple[str | None, str | None]) -> int:
        code = self._end_users.get(pair)
        if code is None:
            who = self._writer.open((), (), tuple(zip(END_USERS, pair, strict=True)))
            if len(self._end_users) >= REMEMBERED:
                self._end_users.clear()
            code = self._end_users[pair] = self._writer.codes(who).tenant
        return code


def _is_special(log_id: str) -> bool:
    """Whether an id is missing, or says what kind of row it is."""
    return not log_id or log_id.endswith(COST_ROW) or CACHE_HIT in log_id


def _streams(rows: Sequence[Payload]) -> list[bool | str | None]:
    """Which answers were streams, and which of these lack their usage."""
    streams: list[bool | str | None] = [row.stream for row in rows]
    early = [(first := row.completionStartTime) is not None and first < row.endTime for row in rows]
    asked = [(parameters := row.model_parameters) is not None and parameters.stream for row in rows]
    if True in streams or True in early or True in asked:
        return list(map(_stream, rows))
    return streams


def _stream(payload: Payload) -> bool | str | None:
    """Whether the answer was a stream; ``BROKEN`` for one that lacks its usage."""
    streamed = payload.stream
    if streamed is None:
        parameters, first = payload.model_parameters, payload.completionStartTime
        if parameters is not None and parameters.stream:
            streamed = True
        elif first is not None and first < payload.endTime:
            streamed = 0 < ns_of_seconds(first) < ns_of_seconds(payload.endTime) - STREAMED_NS or None
    response = payload.response
    return BROKEN if streamed and isinstance(response, Answer) and response.usage is None else streamed
