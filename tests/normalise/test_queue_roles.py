"""Queue operations tell producers and consumers where span kinds do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import INTERNAL, audit_spans, call, span


@pytest.mark.parametrize("key", ["messaging.operation.type", "messaging.operation"])
def test_sending_and_processing_are_the_two_sides_of_a_queue(tmp_path: Path, key: str) -> None:
    send = span(
        "send", id="send", service="parcel", kind=INTERNAL,
        attributes={"tenant.id": "acme", "messaging.system": "rabbitmq", key: "send"},
    )  # fmt: skip
    process = span(
        "process", id="process", parent="send", service="ember", kind=INTERNAL,
        attributes={"messaging.system": "rabbitmq", key: "process"},
    )  # fmt: skip
    inside = call(id="inside", parent="process", service="ember", kind=INTERNAL)

    done = audit_spans(tmp_path, [send, process, inside])

    (finding,) = done.report.findings
    assert (finding.rule, str(finding.hop.kind)) == ("async-drop", "queue")
    assert {(node.service, node.role) for node in done.report.map_nodes} >= {
        ("parcel", "producer"),
        ("ember", "consumer"),
    }
