"""The tenant ledger: one row a tenant, and one for each status of the spend that has none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from auditor.model.audited import AuditedCalls
from auditor.model.joins import STATUSES, Status
from auditor.model.money import to_decimal_string


def tenant_rows(calls: AuditedCalls) -> Iterator[dict[str, object]]:
    """Yield rows by falling cost; money as decimal strings in USD. The rows add up to the spend exactly."""
    rows = []
    # A negative number means no tenant; the status tells why.
    names = np.array([*calls.values, ""], dtype=object)
    for tenant in sorted(set(calls.tenant.tolist())):
        for status in Status:
            chosen = (calls.tenant == tenant) & (calls.status == STATUSES.index(status))
            if not chosen.any():
                continue
            rows.append(
                (
                    calls.cost_of(chosen),
                    {
                        "tenant_id": names[tenant] or None,
                        "status": str(status),
                        "calls": int(chosen.sum()),
                        "input_tokens": int((calls.uncached + calls.cache_read + calls.cache_write)[chosen].sum()),
                        "cache_read_tokens": int(calls.cache_read[chosen].sum()),
                        "cache_write_tokens": int(calls.cache_write[chosen].sum()),
                        "output_tokens": int(calls.output[chosen].sum()),
                        "unmetered_calls": int((calls.is_unmetered & chosen).sum()),
                        "unpriced_calls": int((calls.is_unpriced & chosen).sum()),
                        "cost_usd": to_decimal_string(calls.cost_of(chosen)),
                    },
                )
            )
    rows.sort(key=lambda entry: (-entry[0], str(entry[1]["tenant_id"]), str(entry[1]["status"])))
    yield from (row for _, row in rows)
