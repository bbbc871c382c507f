"""Token counts as the source wrote them → disjoint counts that a price can be put on.

Whether input includes cached tokens depends on the instrumentation, not on the model. Evidence decides where
there is any: a source whose buckets are disjoint by definition, cached tokens above the input, or a total that
only one reading explains. Without evidence the OpenTelemetry reading holds: input includes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.model.lexicon import Operation
from auditor.model.spans import I64, NO_COUNT, TOKEN_COLUMNS, U32, Bools, CallFacts

_INPUT, _OUTPUT, _READ, _WRITE, _WRITE_1H, _TOTAL, _REASONING = range(len(TOKEN_COLUMNS))
_WITHOUT_OUTPUT = frozenset({Operation.EMBEDDINGS, Operation.RERANK, Operation.MODERATION})


@dataclass(slots=True)
class Usage:
    """Disjoint counts, one entry a call; 0 where the source is silent."""

    uncached: I64
    cache_read: I64
    cache_write: I64
    """Cache writes of unknown or five-minute lifetime."""
    cache_write_1h: I64
    output: I64
    is_known: Bools
    """The source reported input or output; both 0 reads as not reported: no provider bills a call without tokens."""
    is_partial: Bools
    """Input without output where the operation has one, or the source says that it broke off."""
    exclusive_inferred: Bools
    """Numbers, not the source's definition, show that input leaves cached tokens out."""

    @property
    def input_total(self) -> I64:
        """All input tokens, cached ones included."""
        return self.uncached + self.cache_read + self.cache_write + self.cache_write_1h


def disjoint_usage(tokens: U32, facts_of: U32, facts: Sequence[CallFacts]) -> Usage:
    """Split the counts of each call (columns as in ``TOKEN_COLUMNS``) into disjoint ones."""
    known = tokens != NO_COUNT
    counts = np.where(known, tokens, 0).astype(np.int64)
    given, output, total = counts[:, _INPUT], counts[:, _OUTPUT], counts[:, _TOTAL]
    reasoning = counts[:, _REASONING]
    cached = counts[:, _READ] + counts[:, _WRITE] + counts[:, _WRITE_1H]

    is_disjoint = _by_facts(facts_of, [entry.disjoint is True for entry in facts])
    is_inclusive = _by_facts(facts_of, [entry.disjoint is False for entry in facts])
    no_output = _by_facts(facts_of, [entry.operation in _WITHOUT_OUTPUT for entry in facts])
    says_partial = _by_facts(facts_of, [entry.partial for entry in facts])

    has_total = known[:, _TOTAL] & (total > 0)
    only_exclusive = has_total & (total == given + cached + output) & (total != given + output)
    exclusive = ~is_disjoint & (cached > 0) & ((given < cached) | (only_exclusive & ~is_inclusive))
    uncached = np.where(is_disjoint | exclusive, given, given - cached)

    beside_output = has_total & (reasoning > 0) & (total == given + output + reasoning) & (total != given + output)
    output = np.where(is_disjoint | beside_output, output + reasoning, output)
    output = np.where(no_output, 0, output)
    is_known = (known[:, _INPUT] | known[:, _OUTPUT]) & (given + cached + output > 0)
    is_partial = is_known & (says_partial | ~known[:, _INPUT] | (~known[:, _OUTPUT] & ~no_output))
    return Usage(
        uncached=uncached,
        cache_read=counts[:, _READ],
        cache_write=counts[:, _WRITE],
        cache_write_1h=counts[:, _WRITE_1H],
        output=output,
        is_known=is_known,
        is_partial=is_partial,
        exclusive_inferred=exclusive,
    )


def _by_facts(facts_of: U32, flags: list[bool]) -> Bools:
    return np.array(flags, dtype=bool)[facts_of] if flags else np.zeros(len(facts_of), dtype=bool)
