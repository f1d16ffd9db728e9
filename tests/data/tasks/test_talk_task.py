"""Requests, the answers that are written to them, and what the grader says of each."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.data.query import settings
from aha.data.tasks import TASKS, canonical, problems, talk, talk_answers
from aha.errors import ConfigError
from aha.rewards.grade import grade

WORSE = ("curt", "wrong", "padded", "refusing")


def cases(n=400, lang="en", seed=0):
    rng = Random(seed)
    return [(talk.case(rng, lang), rng) for _ in range(n)]


def made(split="train", n=80, **keys):
    task = TASKS["talk"]
    return problems(task, settings(task.settings, keys, where="talk"), split=split, n=n)[0]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_good_answer_is_right_and_no_worse_one_is(lang):
    seen = Counter()
    for case, rng in cases(lang=lang):
        right = grade("talk", case.gold(), talk_answers.good(rng, case))
        assert (right.status, right.score) == ("correct", 1.0), (case, right)
        for quality in ("careless", "wrong") if case.refuse else WORSE:
            answer = talk_answers.written(rng, case, quality)
            verdict = grade("talk", case.gold(), answer)
            assert verdict.status == "wrong", (case, quality, answer, verdict)
            seen[case.sort, quality] += 1
    assert {sort for sort, _ in seen} == set(talk.SORTS)


def test_what_an_answer_did_is_told_apart():
    for case, rng in cases(200):
        good = grade("talk", case.gold(), talk_answers.good(rng, case)).extracted
        assert good == ("refused" if case.refuse else "answered"), case
        if not case.refuse:
            refusal = talk_answers.written(rng, case, "refusing")
            assert grade("talk", case.gold(), refusal).extracted == "refused", refusal


def test_training_and_held_out_requests_never_meet():
    train, heldout = made(n=300), made("heldout", n=60)
    assert not {p.question for p in train} & {p.question for p in heldout}
    assert all(canonical(p) == talk.canonical(p.question) for p in train)
    assert all(talk.is_heldout(p.question) for p in heldout)


@given(st.integers(0, 10**6))
def test_an_item_is_a_function_of_its_number(index):
    one, two = (talk.item(talk.Settings(lang="mix"), index) for _ in "12")
    assert one == two
    assert one.prompt.kind == "talk"


@pytest.mark.parametrize("about", talk.ABOUT)
def test_requests_of_one_area(about):
    assert {p.domain for p in made(about=about, n=40)} == {about}


def test_a_request_that_only_sounds_harmful_wants_help():
    sorts = {p.columns["talk"] for p in made(about="harmless", n=60)}
    assert sorts == {"harm"}
    assert "lookalike" in {p.columns["talk"] for p in made(about="helpful", n=200)}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"about": "harm"}, "helpful, harmless, general or all"),
        ({"lang": "fr"}, "lang=fr"),
        ({"abuot": "all"}, "did you mean 'about'"),
    ],
)
def test_wrong_settings_say_what_there_is(keys, said):
    with pytest.raises(ConfigError, match=said):
        settings(talk.Settings, keys, where="talk")


def test_shares_are_of_the_whole_stream():
    assert sum(share for _, share in talk.SORTS.values()) == pytest.approx(1)
    assert set(talk.SORTS) == {sort for kin in talk_answers.KIN for sort in kin}
