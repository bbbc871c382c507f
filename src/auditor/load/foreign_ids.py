"""Ids of products that choose their own form, brought to the width of trace and span ids."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from auditor.load.builder import text_of

TRACE_BYTES = 16
SPAN_BYTES = 8
_DASHES = 4
CACHED_IDS = 1 << 14
_DIGITS = "0123456789abcdef"


class KnownIds(dict[str, str]):
    """Ids of ``width`` bytes as ``id_of`` gives them, by their texts; those of late are remembered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def __missing__(self, text: str) -> str:
        """Work it out."""
        if len(self) >= CACHED_IDS:
            self.clear()
        found = self[text] = id_of(text_of(text), self._width)
        return found

    def column(self, texts: Sequence[str | None]) -> list[str]:
        """Ids of several texts, empty for none; at least cost where all are hex of the width already."""
        known = [text for text in texts if text]
        joined = "".join(known)
        try:
            is_hex = set(map(len, known)) <= {2 * self._width} and len(bytes.fromhex(joined)) * 2 == len(joined)
        except ValueError:
            is_hex = False
        if is_hex and joined == joined.lower() and "0" * 2 * self._width not in known:
            return [text or "" for text in texts]
        return [self[text] if text else "" for text in texts]


def id_of(text: str, width: int) -> str:
    """An id of ``width`` bytes as hex; empty for an empty text.

    Hex of that width and UUIDs of 16 bytes are taken as they are, so that the same trace in an OTLP export has the
    same id; anything else becomes its digest.
    """
    if len(text) == 2 * width and not text.strip(_DIGITS) and text.strip("0"):
        return text
    own = own_hex(text.strip(), width)
    if own or not text:
        return own
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=width).hexdigest()


def own_hex(text: str, width: int) -> str:
    """An id that is hex of ``width`` bytes already, or a UUID of 16, as hex; empty for anything else."""
    if not 0 <= len(text) - 2 * width <= _DASHES:
        return ""
    lowered = text.lower()
    if len(lowered) == 2 * width + _DASHES:
        lowered = lowered.replace("-", "")
    is_hex = len(lowered) == 2 * width and not lowered.strip(_DIGITS) and lowered.strip("0")
    return lowered if is_hex else ""


def record_id(trace: str) -> str:
    """Id of the span that stands for a store's record of a trace (its id as hex), the same in every file."""
    return blake2b(b"trace " + trace.encode(), digest_size=SPAN_BYTES).hexdigest()
