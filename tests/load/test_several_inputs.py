"""Of several inputs one that cannot be read is reported, and the others are audited."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor import demo
from auditor.errors import InputError
from auditor.pipeline import audit
from auditor.settings import Settings


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b"no JSON at all\n", "not JSON")])
def test_an_unreadable_neighbour_is_rejected_and_the_rest_is_audited(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    good = tmp_path / "b.jsonl"
    good.write_bytes(demo.export())
    (tmp_path / "a.json").write_bytes(content)

    alone = audit([str(good)], Settings(exit_zero=True)).report
    report = audit([str(tmp_path)], Settings(exit_zero=True)).report

    assert report.totals == alone.totals
    assert [entry.rejected for entry in report.inputs] == [1, 0]
    assert reason in report.inputs[0].rejections[0].reason


def test_when_no_input_can_be_read_the_first_reason_is_given(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(InputError, match=r"a\.json: empty"):
        audit([str(tmp_path)], Settings())
