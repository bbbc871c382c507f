"""The auditor on the labelled corpus: what the README claims, and what it must never fall below."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

LAB = Path(__file__).parents[1] / "fixtures" / "lab"
sys.path.insert(0, str(LAB))

import accuracy  # noqa: E402  # a program beside the corpus, not a package
import check_corpus  # noqa: E402


@pytest.fixture(scope="module")
def score() -> accuracy.Score:
    return accuracy.measure_all(accuracy.scenarios_of(accuracy.CORPUS))


def test_labels_are_consistent_with_the_exports() -> None:
    problems = {name: found for name, found in check_corpus.check_corpus(accuracy.CORPUS).items() if found}

    assert not problems


def test_every_call_is_found_once_and_nothing_else(score: accuracy.Score) -> None:
    assert (score.missed, score.doubled, score.invented) == (0, 0, 0)


def test_causes_are_named_exactly_in_97_of_100_calls(score: accuracy.Score) -> None:
    assert score.cause_right >= 0.97 * score.found


def test_healthy_calls_raise_no_alarm(score: accuracy.Score) -> None:
    assert score.healthy > 0
    assert score.false_alarms == 0


def test_joins_give_no_call_to_a_wrong_tenant(score: accuracy.Score) -> None:
    assert score.join_total
    assert score.join_right == score.join_total


def test_every_rule_is_exact_in_97_of_100(score: accuracy.Score) -> None:
    rules = {*score.true_positive, *score.false_negative} - {accuracy.NO_CAUSE}

    poor = {
        rule: (hits, score.false_positive[rule], score.false_negative[rule])
        for rule in rules
        for hits in [score.true_positive[rule]]
        if hits < 0.97 * max(hits + score.false_positive[rule], hits + score.false_negative[rule])
    }
    assert not poor


@pytest.fixture(scope="module")
def written() -> accuracy.Score:
    return accuracy.measure_all(accuracy.scenarios_of(LAB.parent / "written"))


def test_the_rules_carry_to_exports_that_they_were_not_written_for(written: accuracy.Score) -> None:
    assert (written.missed, written.doubled, written.invented) == (0, 0, 0)
    assert written.cause_right >= 0.97 * written.found
    assert written.healthy > 1000
    assert written.false_alarms == 0
    assert written.join_right == written.join_total


def test_tokens_are_those_of_the_provider(score: accuracy.Score) -> None:
    assert score.tokens_right >= 0.99 * score.metered


def test_readme_shows_the_figures_that_are_measured(score: accuracy.Score) -> None:
    text = accuracy.README.read_text()
    shown = text.partition(accuracy.OPENING)[2].partition(accuracy.CLOSING)[0].strip().splitlines()

    assert shown == accuracy.report(score, len(accuracy.scenarios_of(accuracy.CORPUS)))
