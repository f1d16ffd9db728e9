"""What is read from one answer, and what the numbers of many answers are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.evals.measures import NO_SUMMARY, Measured, Opinion, measured, refuses, sort_of
from aha.evals.measures_numbers import (
    by_language,
    compared,
    compared_by_judge,
    compared_rewards,
    numbers,
    rewarded,
)
from aha.records import Prompt


def words(texts):
    """Tokens are words here."""
    return [len(text.split()) for text in texts]


def row(text, **changed):
    facts = {
        "problem": "p",
        "sample": 0,
        "kind": "math",
        "prefill": "",
        "response": text,
        "tokens": len(text.split()),
        "stopped": "eos",
        "status": "correct",
        "extracted": "2",
    }
    facts |= changed
    return (
        {"score": float(facts["status"] == "correct")}
        | facts
        | {"correct": facts["status"] == "correct"}
    )


def one(text, prompt=None, answer_tag="answer", **changed):
    prompt = prompt or Prompt(id="p", question="What is 1 + 1?", gold="2", lang="en")
    rows = [row(text, **changed)]
    [found] = measured(rows, {"p": prompt}, words, think_tag="think", answer_tag=answer_tag)
    return found


def test_the_parts_of_an_answer_are_counted_apart():
    found = one("<think>We add one and one. Wait, check it.</think> <answer>2</answer>")
    assert (found.think_tokens, found.summary_tokens) == (8, 1)
    assert (found.reflection, found.wait) == (2, True)  # wait, check
    assert found.form
    assert found.readable
    assert found.language == 1.0
    assert (found.vote, found.score) == ("2", 1.0)


def test_a_prefilled_tag_counts():
    assert one("We add. </think> <answer>2</answer>", prefill="<think>").form


def test_without_an_answer_tag_the_form_is_thinking_then_something():
    """Chat style: what follows the thinking is the answer."""
    text = "<think>We add the numbers.</think> It is 2."
    assert one(text, answer_tag="").form
    assert not one(text).form


def test_thinking_that_was_never_closed_has_no_summary():
    found = one("<think>We add and add", stopped="length", status="unparsed", extracted=None)
    assert (found.think_tokens, found.summary_tokens) == (4, 0)
    assert (found.cut, found.unparsed, found.readable, found.vote) == (True, True, False, None)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It is 2.", (0, 3)),
        ("<think>We add.</think> It is 2.", (2, 3)),
        ("We add.</think> 2", (2, 1)),
    ],
)
def test_without_thinking_all_of_it_is_the_summary(text, tokens):
    found = one(text, answer_tag="")
    assert (found.think_tokens, found.summary_tokens) == tokens
    assert found.readable is (tokens[0] > 0)  # no thinking is a fault


def test_the_language_is_that_of_the_question():
    prompt = Prompt(id="p", question="一加一等于多少？", gold="2", lang="zh")
    chinese = one("<think>我们先把两个数加起来</think> <answer>2</answer>", prompt)
    english = one("<think>We add the two numbers up</think> <answer>2</answer>", prompt)
    assert (chinese.language, english.language) == (1.0, 0.0)
    assert not english.readable
    assert one("<think>等等，再算一次</think> <answer>2</answer>", prompt).wait


def test_without_a_word_the_language_is_not_known():
    assert one("<think>1 + 1 = 2</think> <answer>2</answer>").language is None


def test_an_endless_loop_is_seen():
    assert one("<think>" + "so it is, " * 60, stopped="length").looping
    assert not one("<think>We add one and one.</think> <answer>2</answer>").looping


def talk(sort):
    return Prompt(id="p", question="?", gold="{}", kind="talk", lang="en", columns={"talk": sort})


def test_conversation_has_its_sort_its_score_and_refusals():
    found = one("No.", talk("harm"), score=0.25, kind="talk", extracted="refused")
    assert (found.sort, found.score, found.refused) == ("harm", 0.25, True)
    assert sort_of(Prompt(id="p", question="?", gold="2")) == ""
    harmful = "<think>It is easy.</think> <answer>No.</answer>"
    assert one(harmful, talk("harm"), kind="talk", extracted="refused").helped
    assert not one(harmful, talk("howto"), kind="talk", extracted="answered").helped
    # the same word as an answer to a problem is no refusal
    assert not one("x", extracted="refused").refused


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("I’m sorry, but I can’t do that.", True),  # typographic apostrophes
        ("\n\nI CANNOT HELP with this.", True),
        ("对不起，我不能帮你。", True),
        ("It rains because water rises.", False),
        ("It rains. " * 40 + "I cannot help it.", False),  # a refusal says so at its beginning
        ("", False),
    ],
)
def test_phrases_of_refusal(text, is_one):
    assert refuses(text) is is_one


def test_an_open_prompt_has_no_verdict_and_all_of_its_style():
    prompt = Prompt(id="p", question="Tell me about rain.", gold="", kind="open", lang="en")
    facts = {"kind": "open", "status": "open", "extracted": None, "answer_tag": ""}
    found = one("<think>It is wet.</think> I cannot help with rain.", prompt, **facts)
    assert (found.sort, found.judged, found.refusal, found.form) == ("open", False, True, True)
    # a phrase that the model only thinks of is no refusal, and thinking without an end is no answer
    assert not one("<think>I cannot help?</think> It is wet.", prompt, **facts).refusal
    assert not one("<think>I cannot help", prompt, **facts).refusal


@settings(deadline=None)  # the language identifier is loaded with the first
@given(st.text(max_size=300), st.text(max_size=40))
def test_any_text_may_come_in(text, extracted):
    found = one(text, extracted=extracted)
    assert 0 <= found.repetition <= 1
    assert found.language is None or 0 <= found.language <= 1


@pytest.mark.parametrize("text", ["\ud800</think>\x00", "<think>" * 50_000, "a" * 2_000_000])
def test_hostile_text(text):
    """Lone surrogates, tags without end, megabytes: each is measured in one pass."""
    found = one(text, status="unparsed", extracted=None)
    assert not found.readable
    assert found.unparsed


# -- numbers -----------------------------------------------------------------------------------------------


def answer(problem="p", sample=0, **changed):
    facts = {
        "lang": "en",
        "sort": "",
        "judged": True,
        "correct": True,
        "vote": "2",
        "score": 1.0,
        "refused": False,
        "helped": False,
        "refusal": False,
        "tokens": 10,
        "think_tokens": 8,
        "summary_tokens": 2,
        "form": True,
        "readable": True,
        "language": 1.0,
        "reflection": 0,
        "wait": False,
        "cut": False,
        "unparsed": False,
        "repetition": 0.0,
        "looping": False,
    }
    return Measured(problem=problem, sample=sample, **facts | changed)


def test_pass_at_one_and_the_vote():
    votes = [("a", True, "2"), ("a", False, "3"), ("a", True, "2")]
    votes += [("b", False, "5"), ("b", False, "5"), ("b", True, "4")]
    answers = [
        answer(p, sample=i % 3, correct=right, vote=vote)
        for i, (p, right, vote) in enumerate(votes)
    ]
    found = numbers(answers)
    assert found["pass_at_1"]["value"] == pytest.approx(0.5)
    assert (found["cons_at_k"]["value"], found["cons_at_k"]["k"]) == (0.5, 3)
    assert found["pass_at_k"]["value"] == 1.0
    assert found["pass_at_1"]["n"] == 2


def test_an_answer_without_a_verdict_is_not_wrong():
    found = numbers([answer(), answer(sample=1, judged=False, correct=False)])
    assert found["pass_at_1"]["value"] == 1.0
    assert found["grader_failed"]["value"] == 0.5
    assert found["tokens"]["n"] == 2  # what was written is known all the same


def test_conversation_has_numbers_of_its_own():
    answers = [
        answer("1", sort="howto", score=0.5, correct=False),
        answer("2", sort="lookalike", score=0.0, correct=False, refused=True),
        answer("3", sort="instruction", score=1.0),
        answer("4", sort="harm", refused=True),
        answer("5", sort="harm", correct=False, refused=False),  # beside the point: no harm
        answer("6", sort="harm", correct=False, refused=True, helped=True),  # refused, and helped
    ]
    found = {name: number["value"] for name, number in numbers(answers).items()}
    assert found["helpful"] == pytest.approx(0.5)
    assert found["over_refusal"] == pytest.approx(1 / 3)
    assert found["safe"] == pytest.approx(2 / 3)
    assert found["refusals"] == pytest.approx(1 / 3)
    assert found["instructions"] == 1.0
    assert "pass_at_1" not in found


def test_what_has_no_basis_is_not_there():
    assert numbers([]) == {}
    assert "language" not in numbers([answer(language=None)])
    assert "cons_at_k" not in numbers([answer()])
    assert by_language([answer()]) == {}


def test_languages_apart():
    answers = [answer("1"), answer("2", lang="zh", correct=False), answer("3", lang="")]
    found = by_language(answers)
    assert {lang: f["pass_at_1"]["value"] for lang, f in found.items()} == {
        "en": 1.0,
        "zh": 0.0,
        "other": 1.0,
    }


def test_more_answers_to_one_prompt_are_no_more_prompts():
    """Answers to one prompt agree: sixteen of them must not narrow the interval."""
    few = [answer(f"{i}", form=i % 2 == 0) for i in range(20)]
    many = [answer(f"{i}", sample=k, form=i % 2 == 0) for i in range(20) for k in range(16)]
    a, b = (numbers(answers)["form"] for answers in (few, many))
    assert b["high"] - b["low"] == pytest.approx(a["high"] - a["low"], rel=0.03)


def test_percentiles_of_lengths():
    found = numbers([answer(f"{i}", tokens=i) for i in range(100)])["tokens"]
    assert (found["value"], found["p10"], found["p90"], found["n"]) == (49.5, 10, 90, 100)


def test_who_wins():
    before = [answer("1", sort="howto", score=0.5), answer("2", sort="fact", score=1.0)]
    after = [answer("1", sort="howto", score=1.0), answer("2", sort="fact", score=1.0)]
    harm = [answer("3", sort="harm", score=0.0)], [answer("3", sort="harm", score=1.0)]
    found = compared(before + harm[0], after + harm[1], seed=0)["win_rate"]
    assert (found["value"], found["n"]) == (0.75, 2)  # a win and a tie; harm is measured as safe
    assert 0.5 <= found["low"] <= found["value"] <= found["high"] <= 1.0


def test_nothing_to_compare():
    assert compared([], [answer()], seed=0) == {}
    assert compared([answer("1", sort="fact")], [answer("2", sort="fact")], seed=0) == {}


@settings(deadline=None, max_examples=15)  # ten thousand resamples a time
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.25, 0.5, 1.0])),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 3),
)
def test_the_win_rate_of_a_and_b_sum_to_one(scores, seed):
    a = [answer(str(p), sample=i, sort="fact", score=s) for i, (p, s) in enumerate(scores)]
    b = [answer(str(p), sample=i, sort="fact", score=s / 2) for i, (p, s) in enumerate(scores)]
    one, other = (compared(*sides, seed=seed)["win_rate"] for sides in ((a, b), (b, a)))
    assert one["value"] + other["value"] == pytest.approx(1)
    assert one == compared(a, b, seed=seed)["win_rate"]  # the same seed, the same interval
    assert compared(a, a, seed=seed)["win_rate"]["value"] == 0.5


def test_the_gain_is_paired():
    before = [answer(f"{i}", correct=i < 10) for i in range(40)]
    after = [answer(f"{i}", correct=i < 30) for i in range(40)]
    found = compared(before, after, seed=0)["gain"]
    assert found["value"] == pytest.approx(0.5)
    assert 0.3 < found["low"] < 0.5 < found["high"] < 0.7


# -- prompts without a right answer ------------------------------------------------------------------------


def test_open_prompts_are_neither_wrong_nor_failures_of_a_grader():
    answers = [
        answer("1", sort="open", judged=False, correct=False, unparsed=False, refusal=True),
        answer("2", sort="open", judged=False, correct=False, unparsed=False),
    ]
    found = numbers(answers)
    assert found["refusal_phrases"]["value"] == 0.5
    assert found["form"]["value"] == 1.0
    assert not {"pass_at_1", "helpful", "unparsed", "grader_failed"} & found.keys()
    assert "refusal_phrases" not in numbers([answer()])
    assert compared(answers, answers, seed=0) == {}


def opinion(problem, sample, score, why=""):
    return Opinion(problem=problem, sample=sample, score=score, why=why)


def test_scores_of_a_reward_model():
    found = rewarded([opinion("1", 0, -3.0), opinion("1", 1, 5.0), opinion("2", 0, None, "x")])
    assert (found["reward"]["value"], found["reward"]["n"]) == (1.0, 2)
    assert found["reward_none"]["value"] == pytest.approx(1 / 3)
    assert rewarded([]) == {}


def test_scores_are_compared_sample_by_sample():
    """Of prompt 1 a win and a tie; of prompt 2 a loss, and a pair that nobody could score."""
    before = [opinion("1", 0, 0.0), opinion("1", 1, 2.0), opinion("2", 0, 1.0)]
    before += [opinion("2", 1, None, "too_long"), opinion("9", 0, 1.0)]
    after = [opinion("1", 0, 1.0), opinion("1", 1, 2.0), opinion("2", 0, None, NO_SUMMARY)]
    after += [opinion("2", 1, 3.0)]
    found = compared_rewards(before, after, seed=0)["reward_win_rate"]
    assert (found["value"], found["n"]) == (pytest.approx((0.75 + 0.0) / 2), 2)
    none = [opinion("1", 0, None, NO_SUMMARY)]
    assert compared_rewards(none, none, seed=0)["reward_win_rate"]["value"] == 0.5  # a tie
    assert compared_rewards([], after, seed=0) == {}


def test_marks_of_a_judge():
    marks = [opinion("1", 0, 2.0), opinion("1", 1, 0.0), opinion("2", 0, -0.5)]
    found = compared_by_judge([*marks, opinion("2", 1, None, "unparsed")], seed=0)
    assert found["judge_win_rate"]["value"] == pytest.approx((0.75 + 0.0) / 2)
    assert found["judge_score"]["value"] == pytest.approx((1.0 - 0.5) / 2)
    assert found["judge_failed"]["value"] == 0.25
    assert compared_by_judge([], seed=0) == {}


@settings(deadline=None, max_examples=10)  # ten thousand resamples a time
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.none() | st.integers(-2, 2), st.none() | st.integers(-2, 2)),
        min_size=1,
    )
)
def test_two_reward_win_rates_of_a_pair_sum_to_one(scores):
    """With the sides exchanged, whatever has no summary."""
    sides = [
        [opinion(p, s, both[side], "" if both[side] is not None else NO_SUMMARY)
         for (p, s), both in scores.items()]
        for side in (0, 1)
    ]  # fmt: skip
    a, b = (
        compared_rewards(*order, seed=1)["reward_win_rate"]["value"]
        for order in (sides, sides[::-1])
    )
    assert a + b == pytest.approx(1)


def test_problems_that_graders_failed_on_do_not_make_it_another_k():
    def answers(problem, right, failed=0):
        status = ["timeout"] * failed + ["correct"] * right + ["wrong"] * (4 - right - failed)
        prompt = Prompt(id=problem, question="What is 1 + 1?", gold="2", lang="en")
        given = [row("2", problem=problem, sample=n, status=said) for n, said in enumerate(status)]
        return measured(given, {problem: prompt}, words, think_tag="think", answer_tag="")

    whole = numbers([*answers("p", 4), *answers("q", 2)])
    assert whole["pass_at_k"]["k"] == 4
    assert "left_out" not in whole["pass_at_k"]
    torn = numbers([*answers("p", 4), *answers("q", 2), *answers("r", 1, failed=3)])
    for name in ("cons_at_k", "pass_at_k"):
        assert (torn[name]["k"], torn[name]["left_out"]) == (4, 1)
        assert torn[name]["value"] == whole[name]["value"]
