"""What an export format cannot tell, however complete the export is, and what that does to an audit."""

from __future__ import annotations

from enum import StrEnum

from auditor.model.case import Survey
from auditor.model.lexicon import Operation


class Gap(StrEnum):
    """Something that an audit asks for and a format has no place for; the value is what users read."""

    PATHS = "the spans that led to a call: a row stands alone"
    """Without them no rule about hops can be answered; kinds, processes, scopes and links are gone with them."""
    CALLERS = "what callers sent along: a header that was lost and one that was never sent cannot be seen"
    KINDS = "span kinds: roles are read from attributes, and a hop between processes may be missed"
    PROCESSES = "which process a span ran in: a thread and another replica look alike"
    SCOPES = "instrumentation scopes: two descriptions of one call are told apart by their counts only"
    LINKS = "span links: a job that only links to its request is found by message ids only"
    EVENTS = "events: usage and chunks of streams that stand on them are not seen"
    RESOURCES = "resource attributes apart from span attributes: a tenant of the process reads as one of the call"
    STREAMS = "whether a stream was read to its end: calls without usage get no reason"
    BATCHES = "which calls belong to a batch"
    OPERATIONS = "embeddings and reranking apart from chat"
    TENANT_OF_SPANS = "tenants of single spans: they stand on the trace, so a call reads as having its trace's"
    TIME_OF_DAY = "times below a microsecond: spans that begin together may be ordered either way"


_NOT_EMBEDDED = frozenset(Operation) - {Operation.EMBEDDINGS, Operation.RERANK}


def survey_with(gaps: frozenset[Gap]) -> Survey:
    """The survey of an input that has everything but what these gaps leave out.

    Rules say by it what they could not check, as they do for a real input.
    """
    return Survey(
        services={},
        credentials={},
        producers=frozenset(),
        has_kinds=not gaps & {Gap.PATHS, Gap.KINDS},
        has_graph=Gap.PATHS not in gaps,
        operations=_NOT_EMBEDDED if Gap.OPERATIONS in gaps else frozenset(Operation),
        has_streams=Gap.STREAMS not in gaps,
        has_batches=Gap.BATCHES not in gaps,
        has_rows=Gap.PATHS in gaps,
        shows_callers=Gap.CALLERS not in gaps,
    )
