"""``audit comment``: against a stand-in of each code host on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import getproxies

import pytest
from cli_builders import Audit, Done, a_report
from code_hosts import BOT, PERSON, TOKEN, StandIn, standing_in

from auditor.errors import SettingsError
from auditor.model.report import Readiness
from auditor.publish.api import check_address
from auditor.publish.comments import marker_of
from auditor.report.json_v1 import render

FIELDS = (
    "tenant_id user_id workflow_id environment feature input_tokens output_tokens cache_read_tokens cache_write_tokens"
)
MARKER = "<!-- trace-auditor -->"
HOSTS = ("github", "gitlab")

Comment = Callable[..., Done]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for name in [*getproxies(), "all"]:
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    with standing_in() as host:
        yield host


@pytest.fixture
def comment(audit: Audit, stand_in: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch) -> Comment:
    """Run the command as a CI job would."""
    report = a_report(readiness=tuple(Readiness(name, 0.5, 0.5) for name in FIELDS.split()))
    (home / "audit.json").write_bytes(render(report))
    (home / "event.json").write_text(json.dumps({"action": "opened", "pull_request": {"number": 7}}))
    for name, value in {
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_EVENT_PATH": str(home / "event.json"),
        "GITHUB_GRAPHQL_URL": f"{stand_in.url}/graphql",
        "GITLAB_TOKEN": TOKEN,
        "CI_PROJECT_ID": "acme/shop",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_API_V4_URL": f"{stand_in.url}/api/v4",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GH_TOKEN", raising=False)

    def ran(where: str, *arguments: object) -> Done:
        done = audit("comment", where, "audit.json", *arguments)
        assert TOKEN not in done.out + done.err
        return done

    return ran


@pytest.mark.parametrize("where", HOSTS)
def test_the_first_report_is_posted(comment: Comment, stand_in: StandIn, where: str) -> None:
    done = comment(where)

    (note,) = stand_in.notes
    assert done.code == 0
    assert done.err.startswith("note: comment on acme/shop")
    assert "posted" in done.err
    assert note.body.startswith("### ")
    assert "31.4 % of $10.00 has no tenant" in note.body
    assert note.body.rstrip().endswith(MARKER)
    assert note.body.count(MARKER) == 1


@pytest.mark.parametrize("where", HOSTS)
def test_the_next_report_takes_its_place(comment: Comment, stand_in: StandIn, where: str) -> None:
    stand_in.note(PERSON, "looks good")
    old = stand_in.note(BOT, f"last week's\n\n{MARKER}\n")
    stand_in.note(PERSON, f"> {MARKER} quoted by somebody")
    stand_in.note(BOT, "another bot comment of ours")
    stand_in.note(PERSON, "bye")

    done = comment(where)

    assert done.code == 0
    assert "updated" in done.err
    assert old.body.startswith("### ")
    assert len(stand_in.notes) == 5
    assert [note.body for note in stand_in.notes if note is not old] == [
        "looks good",
        f"> {MARKER} quoted by somebody",
        "another bot comment of ours",
        "bye",
    ]


@pytest.mark.parametrize("where", HOSTS)
def test_the_same_report_is_left_as_it_was(comment: Comment, stand_in: StandIn, where: str) -> None:
    comment(where)
    stand_in.requests.clear()

    done = comment(where)

    assert "left as it was" in done.err
    assert len(stand_in.notes) == 1
    assert not [request for request in stand_in.requests if request[0] == "PUT"]


@pytest.mark.parametrize("where", HOSTS)
def test_new_leaves_the_old_ones_alone(comment: Comment, stand_in: StandIn, where: str) -> None:
    stand_in.note(BOT, f"old {MARKER}")

    assert comment(where, "--behavior", "new").code == 0

    assert [note.body.startswith("### ") for note in stand_in.notes] == [False, True]
    assert stand_in.notes[0].body == f"old {MARKER}"
    assert not stand_in.notes[0].hidden


def test_hide_and_new_hides_the_old_ones_on_github(comment: Comment, stand_in: StandIn) -> None:
    stand_in.note(BOT, f"older {MARKER}", hidden=True)
    stand_in.note(BOT, f"old {MARKER}")
    stand_in.note(PERSON, f"mine {MARKER}")

    done = comment("github", "--behavior", "hide-and-new")

    assert "posted, 1 hidden" in done.err
    assert [note.hidden for note in stand_in.notes] == [True, True, False, False]
    assert stand_in.notes[3].body.startswith("### ")


def test_hide_and_new_folds_the_old_ones_on_gitlab(comment: Comment, stand_in: StandIn) -> None:
    stand_in.note(BOT, f"old\n\n{MARKER}\n")

    assert comment("gitlab", "--behavior", "hide-and-new").code == 0
    assert comment("gitlab", "--behavior", "hide-and-new").code == 0

    first, second, third = (note.body for note in stand_in.notes)
    assert first == "<details><summary>An older report; the newest is below</summary>\n\nold\n\n</details>\n"
    assert second.startswith("<details>")
    assert MARKER not in second
    assert third.startswith("### ")


@pytest.mark.parametrize("where", HOSTS)
def test_tags_keep_comments_apart(comment: Comment, stand_in: StandIn, where: str) -> None:
    comment(where)
    comment(where, "--tag", "nightly")
    comment(where, "--tag", "nightly")

    assert len(stand_in.notes) == 2
    assert stand_in.notes[1].body.rstrip().endswith("<!-- trace-auditor: nightly -->")
    assert MARKER not in stand_in.notes[1].body


@pytest.mark.parametrize("tag", ["-->", "a--b", "<", "x" * 65, "a\nb", "-"])
def test_a_tag_cannot_end_the_hidden_line(tag: str) -> None:
    with pytest.raises(SettingsError):
        marker_of(tag)


@pytest.mark.parametrize("where", HOSTS)
def test_a_dry_run_prints_the_comment_and_sends_nothing(
    comment: Comment, stand_in: StandIn, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.delenv("GITLAB_TOKEN")

    done = comment(where, "--dry-run")

    assert done.code == 0
    assert done.out.startswith("### ")
    assert done.out.endswith(f"{MARKER}\n")
    assert "acme/shop" in done.err
    assert stand_in.requests == []


@pytest.mark.parametrize("where", HOSTS)
@pytest.mark.parametrize(
    ("status", "message", "headers", "said"),
    [
        (401, "Bad credentials", {}, "refused the request (401): Bad credentials"),
        (403, "Resource not accessible by integration", {}, "refused the request (403): Resource not accessible"),
        (404, "Not Found", {}, "refused the request (404): Not Found"),
        (422, f"echo {TOKEN}", {}, "refused the request (422): echo ***"),
        (429, "", {"Retry-After": "60"}, "refuses more requests for now (429); it asks to wait 60 s"),
        (403, "API rate limit exceeded", {}, "refuses more requests for now (403)"),
        (302, "", {"Location": "http://evil.test/"}, "answered with a redirect (302)"),
        (500, "\x1b[31mred", {}, "refused the request (500): \\x1b[31mred"),
        (503, "", {}, "refused the request (503)"),
    ],
)
def test_a_refusal_is_one_line_and_its_own_status(
    comment: Comment, stand_in: StandIn, where: str, status: int, message: str, headers: dict[str, str], said: str
) -> None:
    stand_in.status, stand_in.message, stand_in.headers = status, message, headers

    done = comment(where)

    assert done.code == 6
    assert said in done.err.splitlines()[0]
    assert len(done.err.splitlines()) <= 2
    assert (status in {401, 404, 429, 302} or "rate" in message) <= ("hint: " in done.err)


@pytest.mark.parametrize("where", HOSTS)
def test_a_host_that_does_not_answer_is_given_up(comment: Comment, stand_in: StandIn, where: str) -> None:
    stand_in.silent = threading.Event()

    done = comment(where, "--timeout", "1")

    assert done.code == 6
    assert "did not answer within 1 s" in done.err


@pytest.mark.parametrize("where", HOSTS)
def test_a_host_that_is_not_there_is_named(comment: Comment, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_GRAPHQL_URL", "http://127.0.0.1:1/graphql")
    monkeypatch.setenv("CI_API_V4_URL", "http://127.0.0.1:1/api/v4")

    done = comment(where)

    assert done.code == 6
    assert done.err.startswith("audit: 127.0.0.1:1 cannot be reached: ")


@pytest.mark.parametrize("where", HOSTS)
@pytest.mark.parametrize("raw", [b"<html>", b"[]", b"{}", b"3", b'{"data": {"repository": 1}}'])
def test_another_answer_is_no_crash(comment: Comment, stand_in: StandIn, where: str, raw: bytes) -> None:
    stand_in.raw = raw

    done = comment(where)

    assert done.code == 6
    assert "internal error" not in done.err


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("FORBIDDEN", "pull-requests: write"), ("NOT_FOUND", "not there"), ("RATE_LIMITED", "later"), ("OTHER", "")],
)
def test_errors_of_graphql_come_with_success_and_are_errors(
    comment: Comment, stand_in: StandIn, kind: str, hint: str
) -> None:
    stand_in.errors = [{"type": kind, "message": "no"}]

    done = comment("github")

    assert done.code == 6
    assert done.err.startswith("audit: GitHub refused the request: no")
    assert hint in done.err


def test_the_pull_request_comes_from_the_ref_too(
    comment: Comment, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    monkeypatch.setenv("GITHUB_REF", "refs/pull/7/merge")

    assert comment("github").code == 0
    assert len(stand_in.notes) == 1


def test_options_beat_the_environment(comment: Comment, stand_in: StandIn) -> None:
    assert comment("github", "--pr", "8").code == 6
    assert comment("gitlab", "--repo", "acme/other").code == 6
    assert stand_in.notes == []


@pytest.mark.parametrize(
    ("where", "gone", "said"),
    [
        ("github", "GITHUB_TOKEN", "GITHUB_TOKEN is not set"),
        ("github", "GITHUB_REPOSITORY", "which repository?"),
        ("github", "GITHUB_EVENT_PATH", "which pull request?"),
        ("gitlab", "GITLAB_TOKEN", "GITLAB_TOKEN is not set"),
        ("gitlab", "CI_PROJECT_ID", "which project?"),
        ("gitlab", "CI_MERGE_REQUEST_IID", "which merge request?"),
    ],
)
def test_what_is_missing_is_asked_for(
    comment: Comment, stand_in: StandIn, where: str, gone: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(gone)

    done = comment(where)

    assert done.code == 2
    assert done.err.startswith(f"audit: {said}")
    assert "hint: " in done.err
    assert stand_in.requests == []


@pytest.mark.parametrize("token", [f"{TOKEN}\nX-Evil: 1", f"{TOKEN} x", "töken"])
def test_a_token_that_is_none_is_not_shown(
    comment: Comment, stand_in: StandIn, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", token)

    done = comment("github")

    assert done.code == 2
    assert token not in done.err
    assert stand_in.requests == []


def test_a_token_may_end_with_a_line_end(comment: Comment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", f"{TOKEN}\n")

    assert comment("github").code == 0


@pytest.mark.parametrize("url", ["http://git.example.test/api/v4", "ftp://127.0.0.1/", "file:///etc/passwd", "x"])
def test_a_token_is_not_sent_in_the_clear(url: str, comment: Comment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_API_V4_URL", url)

    done = comment("gitlab")

    assert done.code == 2
    assert "is no https address" in done.err


def test_addresses_of_the_hosts_are_fine() -> None:
    check_address("https://api.github.com/graphql")
    check_address("https://gitlab.example.test/api/v4")


def test_no_report_is_posted_that_cannot_be_read(comment: Comment, stand_in: StandIn, home: Path) -> None:
    (home / "audit.json").write_text("{}")

    assert comment("github").code == 3
    assert stand_in.requests == []
