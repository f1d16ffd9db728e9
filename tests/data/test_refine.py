"""Samples in readable form by rules: what comes out, what is refused, and that nothing is invented."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.data.refine import (
    Refined,
    Unfit,
    graded_by,
    refine_all,
    refine_wrong,
    refined,
    word_for_word,
)
from aha.data.refine_text import sentences, steps
from aha.data.selecting import Rules, Sampled, select
from aha.records import Grade, Prompt
from aha.rewards.grade import grade
from aha.rewards.readability import Limits
from aha.rewards.workers import GraderPool

DOUBT = (  # an answer of aha:base after some R1-Zero steps
    " <think> 7 * 4 = 28. Maybe 3 + 28 = 30? Wait, that is not right. 3 + 28: 3 + 20 = 23, "
    "23 + 8 = 31. </think> <answer> 31 </answer>"
)
LAX = Limits(language=0, repeated=1, looped=1)
UNTAGGED = (  # one of Qwen2.5-0.5B
    "The combined weight of the two bags is \\(16 + 30 = 46\\) kg.\n\nAfter removing 4 kg, the bags "
    "weigh \\[46 - 4 = 42\\] kg.\n\nTherefore, the answer is \\(\\boxed{42}\\) kg."
)


def check(cases):
    return [grade(one.kind, one.gold, response, answer_tag="") for one, response in cases]


def made(text, question="Find the value of 3 + 7 * 4.", answer="31", lang="en", **options):
    found = refined(text, question, answer, lang, **options)
    assert isinstance(found, Refined), found
    return found


def unfit(text, question="Find the value of 3 + 7 * 4.", answer="31", lang="en", **options):
    found = refined(text, question, answer, lang, **options)
    assert isinstance(found, Unfit), found
    return found.reason


def test_thinking_stays_and_the_summary_has_its_results():
    found = made(DOUBT)
    assert found.thinking == (
        "7 * 4 = 28. Maybe 3 + 28 = 30? Wait, that is not right. 3 + 28: 3 + 20 = 23, 23 + 8 = 31."
    )
    # the guess is a doubt, "that is not right" takes it back, and 3 + 28 = 30 is false besides
    assert found.summary == (
        "7 * 4 = 28. 3 + 28: 3 + 20 = 23, 23 + 8 = 31.\n\nThe answer is \\boxed{31}."
    )
    assert found.response() == f"<think>\n{found.thinking}\n</think>\n\n{found.summary}"
    assert found.response("思考").startswith("<思考>\n")


def test_chinese_is_answered_in_chinese():
    found = made(
        "<think> 25 * 8 = 200。200 + 4 = 204。 </think> <answer> 204 </answer>",
        "请算出 25 * 8 + 4 的结果。",
        "204",
        "zh",
    )
    assert found.thinking == "25 * 8 = 200。200 + 4 = 204。"
    assert found.summary == "25 * 8 = 200。200 + 4 = 204。\n\n答案是 \\boxed{204}。"
    mixed = made("<think> 2 * 3 = 6. 6 + 1 = 7. </think> <answer> 7 </answer>", "求 2 * 3 + 1。",
                 "7", "zh")  # fmt: skip
    assert mixed.summary == "2 * 3 = 6. 6 + 1 = 7.\n\n答案是 \\boxed{7}。"


def test_a_worked_solution_without_tags_is_thinking():
    found = made(UNTAGGED, "How much do the bags weigh now?", "42")
    assert found.thinking == (
        "The combined weight of the two bags is \\(16 + 30 = 46\\) kg.\n\n"
        "After removing 4 kg, the bags weigh \\[46 - 4 = 42\\] kg."
    )
    assert found.summary == (
        "The combined weight of the two bags is \\(16 + 30 = 46\\) kg.\n"
        "After removing 4 kg, the bags weigh \\[46 - 4 = 42\\] kg.\n\nThe answer is \\boxed{42}."
    )
    assert unfit("It is \\boxed{31}.") == "format"  # an answer alone is no thinking


@pytest.mark.parametrize(
    "question", ["1+1=?", "What is 1 + 1?", "how much is 1 plus 1", "1 加 1 等于多少？"]
)
def test_trivial_questions_stay_short(question):
    text = (
        "<think> We are asked for 1 + 1. First, 1 + 1 = 2. Let me check: 2 - 1 = 1, right. So it holds."
        "</think> <answer> 2 </answer>"
    )
    found = made(text, question, "2", "zh" if "加" in question else "en", limits=LAX)
    assert found.thinking == "First, 1 + 1 = 2."
    assert found.summary in ("The answer is \\boxed{2}.", "答案是 \\boxed{2}。")
    longer = made(text, "What is 1 + 1 + 0?", "2")
    assert "Let me check" in longer.thinking


def test_language_may_be_looked_for():
    assert "答案是" in made("<think> 1 * 2 = 2。2 + 3 = 5。 </think> <answer> 5 </answer>",
                         "计算 1 * 2 + 3 的结果。", "5", "").summary  # fmt: skip
    wordless = made("<think> 先算 1 * 2 = 2，然后 2 + 3 = 5。 </think> <answer> 5 </answer>",
                    "1 * 2 + 3 = ?", "5", "")  # fmt: skip
    assert "答案是" in wordless.summary


@pytest.mark.parametrize(
    "thinking, cleaned",
    [
        ("a  b\t c \n\n\n\n d ", "a b c\n\nd"),
        ("So 2 + 3 = 5. So 2 + 3 = 5. Then 6.", "So 2 + 3 = 5. Then 6."),
        ("Ah. Oh. Ah. Oh. Ah. Oh. Then 6.", "Ah. Oh. Then 6."),
        ("One line here\nOne line here\nthe end", "One line here\nthe end"),
        ("<|im_end|>Good.</answer> Yes <think>", "Good. Yes"),
        ("Assistant: We add.", "We add."),
        ("Add. reasoning process here", "Add."),
        ("1. Add them. 2. Stop.", "1. Add them. 2. Stop."),
        ("Is $x. Y$ it? Yes. It costs $5. Good.", "Is $x. Y$ it? Yes. It costs $5. Good."),
        ("For all 0 < a < b and b > c.", "For all 0 < a < b and b > c."),
        ("Look:\n```\na  =  1\na  =  1\n\n\nb\n```\nend", "Look:\n```\na  =  1\na  =  1\n\n\nb\n```\nend"),
        ("\r\nx\u2028y", "x\ny"),
    ],
)  # fmt: skip
def test_cleaning(thinking, cleaned):
    parts = list(sentences(thinking))
    assert "".join([parts[0].text, *(one.gap + one.text for one in parts[1:])]) == cleaned


def test_a_formula_is_one_piece_and_money_is_none():
    def pieces(text):
        return [one.text for one in sentences(text)]

    assert pieces("Is $x. Y$ it? Yes.") == ["Is $x. Y$ it?", "Yes."]
    assert pieces("Is \\(x. Y\\) it? Yes.") == ["Is \\(x. Y\\) it?", "Yes."]
    assert pieces("It costs $5. Good. So be it.") == ["It costs $5.", "Good.", "So be it."]


def test_a_long_sentence_that_comes_again_anywhere_goes():
    long = "The product of twenty three and seventeen is what we are looking for here."
    parts = [one.text for one in sentences(f"{long} First a step. {long} Then another. So.")]
    assert parts == [long, "First a step.", "Then another.", "So."]


def test_long_paragraphs_are_split_between_sentences():
    said = " ".join(f"Number {i} is followed by number {i + 1} in this row." for i in range(40))
    found = made(f"<think>{said}</think><answer>31</answer>")
    paragraphs = found.thinking.split("\n\n")
    assert len(paragraphs) > 2
    assert all(len(one.split()) <= 120 and one.endswith("row.") for one in paragraphs)
    assert " ".join(paragraphs) == said
    formula = "\\[" + " ".join(f"a_{i}. B" for i in range(100)) + "\\]"
    assert formula in made(f"<think>We see: {formula} Good.</think><answer>31</answer>").thinking


@pytest.mark.parametrize(
    "said, kept",
    [
        ("2 * 3 = 6.", True),
        ("So the sum is 6.", True),
        ("所以一共 6 个。", True),
        ("Maybe 2 * 3 = 6.", False),  # a guess
        ("2 * 3 = 6?", False),
        ("2 * 3 = 7.", False),  # false
        ("Check: 6 / 3 = 2.", False),
        ("大约 2 * 3 = 6。", False),
        ("The answer = 6.", False),  # the last sentence says so
        ("x = y.", False),  # no number
        ("We multiply 2 by 3.", False),  # no result
        ("1 = " + "1 + " * 60 + "0.", False),  # too long for a summary
    ],
)
def test_what_is_a_step(said, kept):
    assert steps(list(sentences(said))) == ([said] if kept else [])


def test_what_is_taken_back_is_no_step():
    assert steps(list(sentences("2 * 30 = 60. Wait, that is 61. 3 + 4 = 7."))) == ["3 + 4 = 7."]
    assert steps(list(sentences("2 * 30 = 60。不对。3 + 4 = 7。"))) == ["3 + 4 = 7。"]


@pytest.mark.parametrize(
    "text, answer, reason",
    [
        ("<think> a <answer> 31 </answer>", "31", "format"),
        ("Well: <think> a </think> <answer> 31 </answer>", "31", "format"),
        ("<think> a </think> <answer> 3 </answer> <answer> 31 </answer>", "31", "format"),
        ("<think> </think> <answer> 31 </answer>", "31", "empty_thinking"),
        ("<think> reasoning process here </think> <answer> 31 </answer>", "31", "empty_thinking"),
        ("<think> a\nUser: What is 2?\n 2 </think> <answer> 31 </answer>", "31", "another_turn"),
        ("<think> a </think> <answer> def f(x):\n  return 1 </answer>", "def f(x):\n  return 1",
         "answer_form"),
        ("<think> a </think> <answer> {1 </answer>", "{1", "answer_form"),
        ("<think> a </think> <answer> </answer>", "", "answer_form"),
        ("<think> a </think> <answer> 1 </answer>", "1" * 201, "answer_form"),
        ("<think> 所以一共卖出了七十二个苹果。 </think> <answer> 31 </answer>", "31", "mixed_languages"),
        ("<think> a\ufffd </think> <answer> 31 </answer>", "31", "garbled"),
        ("<think> " + "so " * 200 + " </think> <answer> 31 </answer>", "31", "repetition"),
    ],
)  # fmt: skip
def test_what_is_refused(text, answer, reason):
    assert unfit(text, answer=answer) == reason


def test_a_language_without_a_sentence_for_the_answer():
    assert unfit(DOUBT, lang="fr") == "language"


@pytest.mark.parametrize(
    "answer, box",
    [
        ("\\boxed{31}", "\\boxed{31}"),
        ("The answer is 31", "\\boxed{31}"),
        ("3 + 28 = 31", "\\boxed{31}"),
        ("x = 31", "\\boxed{x = 31}"),
        ("\\frac{1}{2}", "\\boxed{\\frac{1}{2}}"),
        ("Ann is a knave", "\\boxed{Ann is a knave}"),
    ],
)
def test_the_answer_in_its_box(answer, box):
    assert made(DOUBT, answer=answer).summary.endswith(f"The answer is {box}.")


QUESTION = Prompt(id="q", question="Find the value of 3 + 7 * 4.", gold="31", lang="en")


def sampled(text, *, sample=0, extracted="31", status="correct", **more):
    score = float(status == "correct")
    verdict = Grade(status=status, score=score, extracted=extracted)
    return Sampled(prompt=QUESTION, sample=sample, text=text, grade=verdict, tokens=9, **more)


def test_all_are_graded_again_and_counted():
    samples = [
        sampled(DOUBT),
        sampled(DOUBT, sample=1, status="wrong"),
        sampled(DOUBT, sample=2, stopped="length"),
        sampled(DOUBT, sample=3, extracted="The thing that we look for is 31 I think"),
        sampled("<think> 3 + 28", sample=4),
    ]
    found = refine_all(samples, check)
    assert [(one.sample, one.rewritten, one.prefill) for one in found.samples] == [(0, "rules", "")]
    facts = found.facts()
    assert (facts["samples"], facts["refined"]) == (5, 1)
    assert facts["unfit"] == {"changed_answer": 1, "format": 1, "not_correct": 2}
    assert [one["sample"] for one in facts["examples"]["not_correct"]] == ["q/1", "q/2"]
    [row] = select(found.samples, Rules()).rows
    assert row["response"] == found.samples[0].text
    assert row["from"] == {"sample": 0, "policy": "", "rewritten": "rules"}


def test_the_pool_of_graders_checks():
    with GraderPool(workers=1) as pool:
        again = graded_by(pool)
        cases = [(QUESTION, made(DOUBT).response()), (QUESTION, "<think>a</think> \\boxed{30}")]
        assert [one.status for one in again(cases)] == ["correct", "wrong"]
        assert [one.status for one in again(cases[1:])] == ["wrong"]


WORDS = st.sampled_from(
    ["3 + 4 = 7.", "7 * 2 = 14.", "So 7.", "Wait.", "Maybe 8?", "2 * 2 = 5.", "\n", "\n\n", "  ", "1.",
     "$a. B$", "\\[x\\]", "Good."]
)  # fmt: skip


@settings(max_examples=200)
@given(st.lists(WORDS, min_size=1, max_size=30))
def test_nothing_is_invented(words):
    """Whatever is said in the result stood in the sample, in its order; the answer aside."""
    thinking = " ".join(words)
    found = refined(f"<think>{thinking}</think><answer>7</answer>", "What is it?", "7", "en",
                    limits=LAX)  # fmt: skip
    if isinstance(found, Unfit):
        assert found.reason in ("empty_thinking", "repetition")
        return
    plain = "".join(thinking.split())
    place = 0
    for piece in re.split(r"(?<=\.)\s+|\n+", found.thinking):
        place = plain.index("".join(piece.split()), place)
    said = found.summary.removesuffix("The answer is \\boxed{7}.")
    assert all("".join(line.split()) in plain for line in said.split(".") if line.strip())
    assert "2 * 2 = 5" not in said
    assert "Maybe" not in said


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_text_is_refined_or_refused(text, answer):
    for whole in (text, f"<think>{text}</think> <answer>{answer}</answer>"):
        found = refined(whole, text[:50], answer, "en")
        if isinstance(found, Refined):
            assert grade("exact", "x", found.response(), answer_tag="").status != "unparsed"


@pytest.mark.parametrize(
    "piece",
    ["a. ", "A. ", "1. ", "。", "{", "$", "1+", "1 + 1 = 3. ", "\n", "```\n", "<think", "= "],
)
def test_hostile_text_comes_to_an_end(piece):
    text = f"<think>{piece * 30_000}</think><answer>1</answer>"
    assert refined(text, "What?", "1", "en")
    assert refined(piece * 30_000, "What?", "1", "en")


# -- what a judge approved ---------------------------------------------------------------------------------

THINKING = "Sound needs air to travel. Sound needs air to travel. There is none in space."
SENTENCE = "Space is silent because nothing carries the sound."


@pytest.mark.parametrize(
    "text, tag, summary",
    [
        (f"<think> {THINKING} </think> <answer> {SENTENCE} </answer>", "answer", SENTENCE),
        (f"<think>\n{THINKING}\n</think>\n\n{SENTENCE}", "", SENTENCE),
        (f"<think>{THINKING}</think> <answer>no air</answer>", "answer", "The answer is \\boxed{no air}."),
        (f"{THINKING}\nThe answer is no air, as I said.", "answer", "The answer is no air, as I said."),
        (f"<think>{THINKING}</think>\n\nOne.\n\nTwo.", "", "One.\n\nTwo."),
    ],
)  # fmt: skip
def test_what_a_judge_read_stays_word_for_word(text, tag, summary):
    found = word_for_word(text, "Why is space silent?", "en", answer_tag=tag)
    assert found.summary == summary
    assert found.thinking == "Sound needs air to travel. There is none in space."


@pytest.mark.parametrize(
    "text, reason",
    [
        (f"<think> {THINKING} ", "format"),
        ("No air.", "format"),
        (f"<think> {THINKING} </think> <answer> </answer>", "answer_form"),
        (f"{THINKING}\nSound needs air.", "answer_form"),  # which sentence is the answer?
        (f"<think> {THINKING}\nUser: And? </think> <answer> {SENTENCE} </answer>", "another_turn"),
        ("<think> <answer> </think> <answer> x. </answer>", "format"),
        (f"<think> </think> <answer> {SENTENCE} </answer>", "empty_thinking"),
        (f"<think> 没有空气。 </think> <answer> {SENTENCE} </answer>", "mixed_languages"),
    ],
)
def test_what_a_judge_read_and_is_refused(text, reason):
    found = word_for_word(text, "Why is space silent?", "en")
    assert isinstance(found, Unfit)
    assert found.reason == reason


def of_judge(text, status="correct"):
    """A judge takes the whole of what follows the thinking for the answer."""
    prompt = Prompt(id="s", question="Why is space silent?", gold="No air.", kind="open", lang="en")
    verdict = Grade(
        status=status, score=float(status == "correct"), extracted=text.partition("</think>")[2]
    )
    return Sampled(prompt=prompt, sample=0, text=text, grade=verdict)


def test_the_verdict_of_a_judge_is_kept_and_nobody_is_asked_again():
    def never(cases):
        raise AssertionError("graded again")

    text = f"<think> {THINKING} </think> <answer> {SENTENCE} </answer>"
    [one] = refine_all([of_judge(text)], never, by_judge=lambda one: True).samples
    assert one.text.endswith(f"</think>\n\n{SENTENCE}")
    assert (one.grade.status, one.rewritten) == ("correct", "rules")
    [row] = select([one], Rules()).rows
    assert row["response"] == one.text
    [wrong] = refine_wrong([of_judge(text, "wrong")], never, by_judge=lambda one: True)
    assert wrong.text == one.text


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200), tag=st.sampled_from(["answer", ""]))
def test_any_text_of_a_judge_is_kept_or_refused(text, tag):
    for whole in (
        text,
        f"<think>{text}</think> {text}",
        f"<think>x</think> <answer>{text}</answer>",
    ):
        found = word_for_word(whole, "?", "", answer_tag=tag)
        if isinstance(found, Refined) and "\\boxed" not in found.summary:
            assert found.summary in whole


# -- wrong answers ----------------------------------------------------------------------------------------


def wrong_sample(text, extracted, *, status="wrong", stopped="eos"):
    prompt = Prompt(id="w", question="Find the value of 3 + 7 * 4.", gold="31", lang="en")
    verdict = Grade(status=status, score=0.0, extracted=extracted, reason="differs")
    return Sampled(prompt=prompt, sample=0, text=text, grade=verdict, stopped=stopped)


def test_a_wrong_answer_gets_the_form_and_stays_wrong():
    text = "<think> 7 * 4 = 24. Then 3 + 24 = 27. </think> <answer> 27 </answer>"
    [one] = refine_wrong([wrong_sample(text, "27")], check)
    thinking = "7 * 4 = 24. Then 3 + 24 = 27."  # its mistake stays where it was made
    assert one.text.startswith(f"<think>\n{thinking}\n</think>\n\n")
    assert one.text.endswith("The answer is \\boxed{27}.")
    assert (one.grade.status, one.grade.reason, one.rewritten) == ("wrong", "differs", "rules")


@pytest.mark.parametrize(
    "one",
    [
        wrong_sample("<think> 7 * 4 = 24. </think> <answer> 27 </answer>", None, status="unparsed"),
        wrong_sample("<think> 7 * 4 = 24. </think> <answer> 27 </answer>", "27", stopped="length"),
        wrong_sample("<think> 7 * 4 = 24. <answer> 27 </answer>", "27"),
        wrong_sample("<think> 7 * 4 = 28, and 3. </think> <answer> 31 </answer>", "31"),
        wrong_sample(DOUBT, "31", status="correct"),
        wrong_sample("<think> 7 * 4 = 24. </think> <answer> 27 </answer>", "27", status="error"),
    ],
    ids=["no_answer", "cut", "no_form", "wrong_in_form_alone", "right", "no_verdict"],
)
def test_what_is_no_wrong_answer_in_readable_form(one):
    assert refine_wrong([one], check) == []
