"""One numbering for names that partitions have numbered each for itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from auditor.model.spans import I64

T = TypeVar("T", str, tuple[str, str])


def one_numbering(parts: Iterable[tuple[list[T], Any]]) -> tuple[list[T], I64]:
    """All names in order, and the codes of all parts one after the other; a part has names and codes of these."""
    parts = list(parts)
    names = sorted({name for known, _ in parts for name in known})
    number = {name: position for position, name in enumerate(names)}
    codes = [np.array([number[name] for name in known] or [0], dtype=np.int64)[part] for known, part in parts]
    return names, np.concatenate(codes)
