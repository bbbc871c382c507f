"""Ids of products that choose their own form, brought to the width of trace and span ids."""

from __future__ import annotations

from hashlib import blake2b

TRACE_BYTES = 16
SPAN_BYTES = 8
_DASHES = 4


def id_of(text: str, width: int) -> str:
    """An id of ``width`` bytes as hex; empty for an empty text.

    Hex of that width and UUIDs of 16 bytes are taken as they are, so that the same trace in an OTLP export has the
    same id; anything else becomes its digest.
    """
    own = own_hex(text.strip(), width)
    if own or not text:
        return own
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=width).hexdigest()


def own_hex(text: str, width: int) -> str:
    """An id that is hex of ``width`` bytes already, or a UUID of 16, as hex; empty for anything else."""
    lowered = text.lower()
    if len(lowered) == 2 * width + _DASHES:
        lowered = lowered.replace("-", "")
    is_hex = len(lowered) == 2 * width and not lowered.strip("0123456789abcdef") and lowered.strip("0")
    return lowered if is_hex else ""


def record_id(trace: str) -> str:
    """Id of the span that stands for a store's record of a trace (its id as hex), the same in every file."""
    return blake2b(b"trace " + trace.encode(), digest_size=SPAN_BYTES).hexdigest()
