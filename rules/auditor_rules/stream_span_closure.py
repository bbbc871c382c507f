"""The span of a streamed call closes before its usage arrives.

What goes wrong
    Providers send the usage of a stream in its last event. A span that closes
    when the answer begins, a stream that nobody reads to the end, or a request
    that did not ask for usage leaves a call without tokens: it costs money and
    shows as free. Or the usage lands on a later span, where no query looks.

How it is recognised
    The call succeeded, its tenant is known, and its usage is missing, breaks
    off, or stands on a span that began after the call's own had ended. What did arrive tells which fix applies:
    a finish reason without usage (not requested), chunks without an end
    (stopped early), no answer id (never read). Not every instrumentation says
    that a call was a stream; one that says it was none is left alone.

How to fix it
    Ask for usage (``stream_options={"include_usage": true}``), read streams to
    their end or close them explicitly, and use an instrumentation that ends
    the span with the last event.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Operation, Rule, StreamSign, Survey, UsageStatus

WITHOUT_TOKENS = frozenset({Operation.IMAGE, Operation.AUDIO, Operation.MODERATION})
"""Billed by the picture, the second or the character, or free: no tokens, and no stream unless they say so."""
REMEDIES = {
    StreamSign.NOT_REQUESTED: 'Ask for usage: stream_options={"include_usage": true} (OpenAI-compatible APIs), or let the instrumentation add it.',
    StreamSign.STOPPED: "Read the stream to its end, or close it explicitly, before the handler returns: the usage is in the last event.",
    StreamSign.NEVER_READ: "Nobody reads this stream, and the provider bills it: iterate it, or do not start it.",
}


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim successful calls whose usage is missing, broken off or elsewhere."""
    if case.failed or case.conflict or case.batch or case.is_request:
        return None
    if not case.usage_late and case.usage not in {UsageStatus.MISSING, UsageStatus.PARTIAL}:
        return None
    if case.usage is UsageStatus.MISSING and (case.is_embedding or case.streamed is False):
        return None
    if not case.streamed and (case.has_logged_cost or case.is_unread or case.operation in WITHOUT_TOKENS):
        # Billed by the piece, passed on unread, or free: nothing says that there was a stream.
        return None
    if case.usage_late:
        evidence = ("the usage stands on a span that began when the call's own span had ended",)
        confidence = Confidence.CERTAIN
    elif case.usage is UsageStatus.PARTIAL:
        evidence = ("only a part of the usage arrived, or the gateway estimated it",)
        confidence = Confidence.LIKELY
    else:
        evidence = (f"no usage on {case.calls} successful calls; sign: {case.stream}",)
        confidence = Confidence.CERTAIN if case.streamed else Confidence.LIKELY
    return Diagnosis(
        confidence=confidence if not case.is_unattributed else Confidence.POSSIBLE,
        hop=Hop(case.service, case.service, HopKind.STREAM),
        evidence=evidence,
        remedy=REMEDIES.get(case.stream, "") if case.usage is UsageStatus.MISSING else "",
    )


RULE = Rule(
    id="stream-span-closure",
    title="A stream's span closes before its usage arrives",
    remedy="Ask for usage, read streams to their end, and end the span with the last event.",
    needs="model-call spans or gateway rows",
    diagnose=diagnose,
    specificity=20,
)
