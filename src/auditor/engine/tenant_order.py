"""Which of a span's tenants comes first, where kept columns are audited again with other tenant keys."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.model.spans import TenantTag


def reordered(tags: tuple[TenantTag, ...], tenant_keys: Sequence[str]) -> tuple[TenantTag, ...]:
    """The tags of these keys first, in the order of the keys; the others after them, as they were."""
    ranks = {key: rank for rank, key in reversed(list(enumerate(tenant_keys)))}
    return tuple(sorted(tags, key=lambda tag: ranks.get(tag.key, len(tenant_keys))))
