"""Status of a call, and the joins that can give a tenant back."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from auditor.model.spans import IdKind


class Status(StrEnum):
    """Who caused the cost of a call, as far as the input says."""

    DIRECT = "direct"
    RECOVERABLE = "recoverable"
    LOST = "lost"
    INTERNAL = "internal"


STATUSES = tuple(Status)


class Join(IntEnum):
    """Ways to a tenant, in the order in which they are tried; the first that reaches any tenant decides."""

    NONE = 0
    ANCESTOR = 1
    LINK = 2
    BATCH_ID = 3
    RESPONSE_ID = 4
    MESSAGE_ID = 5
    REQUEST_ID = 6
    WORKFLOW_ID = 7
    SESSION = 8
    USER = 9
    TRACE = 10

    @property
    def label(self) -> str:
        """Name in reports and ledgers."""
        return self.name.lower()


ID_JOINS = (
    (Join.BATCH_ID, IdKind.BATCH),
    (Join.RESPONSE_ID, IdKind.RESPONSE),
    (Join.MESSAGE_ID, IdKind.MESSAGE),
    (Join.REQUEST_ID, IdKind.REQUEST),
    (Join.WORKFLOW_ID, IdKind.WORKFLOW),
    (Join.SESSION, IdKind.SESSION),
    (Join.USER, IdKind.USER),
)
