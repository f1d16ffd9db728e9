"""Rejection sampling: each reason fires and does not, in its order; nothing depends on the order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import dialogues
from aha.data.readers import Row
from aha.data.selecting import RULES, Rules, Sampled, form, of_group, of_row, select, written
from aha.files import json_line
from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.rewards.format import format_reward
from aha.rewards.readability import Limits

QUESTION = "Natalia sold 48 clips in April and half as many in May. How many in both months?"
THINKING = "In April she sold 48 clips.\nIn May half of that, 24 clips.\nTogether 72 clips."
SUMMARY = "She sold 48 + 24 = 72 clips.\n\nThe answer is \\boxed{72}."
GOOD = f"<think>\n{THINKING}\n</think>\n\n{SUMMARY}"
ZH = "四月卖出四十八个，五月卖出一半，也就是二十四个。"


def prompt(name="p1", question=QUESTION, **more):
    return Prompt(id=name, question=question, gold="72", source="clips.jsonl", **more)


def sampled(text=GOOD, *, sample=0, of=None, status="correct", **more):
    score = float(status == "correct")
    return Sampled(
        prompt=of or prompt(),
        sample=sample,
        text=text,
        grade=Grade(status=status, score=score, extracted="72"),
        **{"tokens": 40, "policy": "step_100", **more},
    )


def reasons(samples, rules=RULES, heldout=()):
    found = select(samples, rules, heldout)
    return [one.reason for one in found.decisions]


def test_a_good_sample_becomes_a_row():
    [row] = select([sampled(of=prompt(domain="shop"), sample=3)]).rows
    assert row == {
        "id": "p1/3",
        "question": QUESTION,
        "response": GOOD,
        "domain": "shop",
        "area": "math",
        "source": "clips.jsonl",
        "from": {"sample": 3, "policy": "step_100"},
    }
    read = dialogues.of_row(Row("d.jsonl", 1, row), {}, stem="d", source="d.jsonl")
    assert read.messages == (("user", QUESTION), ("assistant", GOOD))


@pytest.mark.parametrize(
    "sample, reason",
    [
        (sampled(status="timeout"), "grader_failed"),
        (sampled(status="error"), "grader_failed"),
        (sampled(status="wrong"), "not_correct"),
        (sampled(status="unparsed"), "not_correct"),
        (sampled(stopped="length"), "cut"),
        (sampled("<think>\n" + THINKING), "unfinished"),
        (sampled(SUMMARY), "format"),
        (sampled("Well. " + GOOD), "format"),
        (sampled(GOOD.replace("</think>", "</think></think>")), "format"),
        (sampled("<think>\n</think>\n\n" + SUMMARY), "empty_thinking"),
        (sampled(f"<think>{THINKING}</think> \n"), "empty_summary"),
        (sampled(written(f"{THINKING}\n{ZH}", SUMMARY)), "mixed_languages"),
        (sampled(written(THINKING, f"{ZH}\\boxed{{72}}")), "summary_language"),
        (sampled(written(THINKING + "\n```python\nprint(48)\n```", SUMMARY)), "code_block"),
        (sampled(written(" ".join(f"w{i}" for i in range(301)), SUMMARY)), "long_paragraph"),
        (sampled(written(THINKING + "\n" + "So it is 72. " * 30, SUMMARY)), "repetition"),
        (sampled(written(THINKING + "\ud83d", SUMMARY)), "garbled"),
        (sampled(), ""),
        (sampled(stopped="stop"), ""),
        (sampled(THINKING + "\n</think>\n\n" + SUMMARY, prefill="<think>\n"), ""),
    ],
)
def test_each_reason(sample, reason):
    assert reasons([sample]) == [reason]


def test_the_first_reason_counts():
    bad = sampled("<think>\n" + ZH, status="wrong", stopped="length")
    assert reasons([bad]) == ["not_correct"]
    found = select([sampled(written(f"{ZH}\n```\n1\n```", SUMMARY))])
    assert found.decisions[0].detail == "mixed_languages, code_block"


def test_length_is_a_limit_of_its_own():
    assert reasons([sampled(tokens=101)], Rules(max_tokens=100)) == ["length"]
    assert reasons([sampled(tokens=100)], Rules(max_tokens=100)) == [""]


def test_limits_are_those_of_readability_but_code_belongs_to_programs():
    text = written(THINKING + "\n```\nx\n```", SUMMARY)
    assert reasons([sampled(text, of=prompt(domain="code"))]) == [""]
    assert reasons([sampled()], Rules(limits=Limits(words=1000))) == ["empty_thinking"]


def test_answer_tags_are_part_of_the_form():
    tagged = f"<think> {THINKING} </think> <answer> 72 </answer>"
    rules = Rules(answer_tag="answer")
    [row] = select([sampled(tagged)], rules).rows
    assert row["response"] == f"<think>\n{THINKING}\n</think>\n\n<answer> 72 </answer>"
    assert reasons([sampled(tagged + " ok")], rules) == ["format"]
    assert reasons([sampled(GOOD)], rules) == ["format"]
    assert reasons([sampled(tagged.removesuffix("</answer>"))], rules) == ["unfinished"]
    assert reasons([sampled(f"<think>{THINKING}</think><answer> </answer>")], rules) == (
        ["empty_summary"]
    )


def test_thinking_tags_can_be_read_and_written_otherwise():
    text = GOOD.replace("think>", "思考>")
    [row] = select([sampled(text)], Rules(think_tag="思考", write_think_tag="think")).rows
    assert row["response"] == GOOD


def test_duplicates_by_text_and_by_the_words_of_thinking():
    other = written(THINKING.upper().replace(".", " !"), "In all \\boxed{72}.")  # the same words
    third = written("April: 48. May: half of 48, so 24. The sum is 72.", SUMMARY)
    samples = [
        sampled(sample=0),
        sampled(GOOD + "\n", sample=1),
        sampled(other, sample=2),
        sampled(third, sample=3),
    ]
    assert reasons(samples, Rules(per_prompt=0)) == ["", "duplicate", "duplicate", ""]
    elsewhere = [samples[0], sampled(of=prompt("p2", "Another question about 72 clips?"))]
    assert reasons(elsewhere, Rules(per_prompt=0)) == ["", ""]


def test_the_cap_keeps_the_shortest_or_any_by_seed():
    texts = [written(f"{THINKING}\nI look at it again, time {i}.", SUMMARY) for i in range(6)]
    samples = [sampled(text, sample=i, tokens=50 - i) for i, text in enumerate(texts)]
    assert reasons(samples, Rules(per_prompt=2)) == ["over_cap"] * 4 + ["", ""]
    picks = {
        tuple(reasons(samples, Rules(per_prompt=2, prefer="seeded", seed=seed)))
        for seed in range(8)
    }
    assert len(picks) > 1
    assert all(sorted(pick) == ["", ""] + ["over_cap"] * 4 for pick in picks)


def test_one_question_under_two_ids_is_one_question():
    samples = [
        sampled(of=prompt("a")),
        sampled(written(THINKING + " Yes.", SUMMARY), of=prompt("b", QUESTION + "\n"), tokens=9),
    ]
    assert reasons(samples) == ["over_cap", ""]


def test_what_is_held_out_is_not_learned():
    exam = Prompt(id="exam", question=QUESTION, gold="72")
    assert reasons([sampled()], heldout=[exam]) == ["contaminated"]
    told = written(f"{THINKING}\nThis is like another one: {QUESTION}", SUMMARY)
    fresh = prompt("p2", "What is 36 + 36?")
    assert reasons([sampled(told, of=fresh)], heldout=[exam]) == ["contaminated"]
    assert reasons([sampled(told, of=fresh)], Rules(overlap_words=0), [exam]) == [""]
    assert reasons([sampled(GOOD, of=fresh)], heldout=[exam]) == [""]
    detail = select([sampled(told, of=fresh)], heldout=[exam]).decisions[0].detail
    assert detail.startswith("exam: natalia sold 48 clips in april")


def test_a_held_out_solution_is_not_learned():
    """DeepSeek-R1 v2 names evaluation questions and reference solutions."""
    held = [prompt("h", "Clips?", columns={"solution": THINKING})]
    found = select([sampled()], RULES, held)
    assert found.decisions[0].reason == "contaminated"
    assert found.decisions[0].detail.startswith("h: in april she sold 48 clips")
    assert reasons([sampled()], Rules(overlap_words=0), held) == [""]


def test_a_contaminated_sample_takes_no_place():
    exam = Prompt(id="exam", question=QUESTION, gold="72")
    fresh = prompt("p2", "What is 36 + 36?")
    told = sampled(written(f"{THINKING}\n{QUESTION}", SUMMARY), of=fresh, tokens=1)
    assert reasons([told, sampled(of=fresh, sample=1)], heldout=[exam]) == ["contaminated", ""]


def test_counts_add_up_in_all_and_by_area():
    samples = [
        sampled(of=prompt("a", domain="sums")),
        sampled(of=prompt("b", "Who lies?", kind="knights"), status="wrong"),
        *(sampled(sample=i, of=prompt("c", "Is it 72?"), stopped="length") for i in range(5)),
    ]
    facts = select(samples).facts()
    assert (facts["samples"], facts["kept"], facts["dropped"]) == (
        7,
        1,
        {"cut": 5, "not_correct": 1},
    )
    assert facts["by"]["area"]["logic"] == {
        "samples": 1,
        "kept": 0,
        "dropped": {"not_correct": 1},
    }
    assert facts["by"]["domain"]["sums"]["kept"] == 1
    assert [len(shown) for shown in facts["examples"].values()] == [3, 1]
    assert (facts["questions"], facts["questions_kept"]) == (3, 1)
    assert select(samples).sentence() == "1 kept of 7 samples; dropped: 5 cut, 1 not_correct"


def test_samples_that_cannot_be_told_apart():
    with pytest.raises(ValueError, match="two samples number 0 to prompt p1"):
        select([sampled(), sampled(SUMMARY)])
    two = [sampled(), sampled(policy="step_200", text=written(THINKING + " Good.", SUMMARY))]
    names = [row["id"] for row in select(two, Rules(per_prompt=0)).rows]
    assert names == ["p1/0", "p1/0~2"]


def test_rules_that_cannot_be():
    with pytest.raises(ValueError, match="max_tokens=-1"):
        Rules(max_tokens=-1)


def test_samples_from_a_rollout_phase_and_from_its_file():
    rollout = Rollout(
        prompt_id="p1",
        sample=2,
        token_ids=(1, 2, 3),
        logprobs=(0.0,) * 3,
        text=GOOD.removeprefix("<think>\n"),
        policy_version=7,
        stopped="eos",
    )
    grade = Grade(status="correct", score=1.0, extracted="72", ms=3.0)
    group = Group(
        rendered=Rendered(prompt=prompt(), text="x", token_ids=(1,), prefill="<think>\n"),
        scored=(Scored(rollout=rollout, grade=grade, parts={}, reward=1.0),),
    )
    [one] = of_group(group, policy="step_7")
    assert (one.response, one.tokens, one.policy) == (GOOD, 3, "step_7")
    line = {
        "sample": 2, "text": rollout.text, "prefill": "<think>\n", "tokens": 3, "stopped": "eos",
        "status": "correct", "reason": "", "extracted": "72",
    }  # fmt: skip
    assert select([of_row(line, prompt(), policy="step_7")]).rows == select([one]).rows
    stored = {name: value for name, value in line.items() if name != "text"}
    again = of_row(stored | {"response": rollout.text}, prompt(), policy="step_7")
    assert again == of_row(line, prompt(), policy="step_7")


SOME = [
    sampled(written(f"{THINKING} {tail}", SUMMARY), sample=i, of=prompt(name, question), tokens=t)
    for i, (tail, name, question, t) in enumerate(
        [
            ("", "a", QUESTION, 5),
            ("Good.", "a", QUESTION, 5),
            ("good!", "a", QUESTION, 4),
            ("", "b", "Is it 72?", 9),
            (ZH, "b", "Is it 72?", 1),
            ("Fine.", "b", "Is it 72?", 9),
        ]
    )
]


@given(st.permutations(SOME), st.sampled_from(["shortest", "seeded"]), st.integers(0, 3))
def test_the_order_of_the_samples_does_not_matter(samples, prefer, cap):
    rules = Rules(per_prompt=cap, prefer=prefer)
    one, other = select(samples, rules), select(SOME, rules)
    assert one == other
    assert json_line(one.facts()) == json_line(other.facts())


@given(st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", " ", "a"])))
def test_the_form_is_that_of_the_format_reward(parts):
    text = "".join(parts)
    for tag in ("", "answer"):
        found = form(text, "think", tag)
        blank = found is not None and (
            not found[0] or not found[1].replace("<answer>", "").replace("</answer>", "").strip()
        )
        if tag == "" and found is not None and found[1]:
            blank = not found[0]
        assert (found is not None and not blank) == (format_reward(text, "think", tag) == 1.0)


@given(st.text(max_size=200))
def test_any_text_gets_a_decision(text):
    assert len(select([sampled(text), sampled("<think>" + text, sample=1)]).decisions) == 2


@pytest.mark.parametrize("piece", ["<think>", "</think>", "a ", "\n", "\ud800", "$", "```\n", "对"])
def test_hostile_text_comes_to_an_end(piece):
    text = piece * 50_000
    exam = Prompt(id="exam", question="a " * 20 + "b", gold="1")
    assert select([sampled(text), sampled(written(text, "1"), sample=1)], heldout=[exam])


def test_a_file_of_rows_is_one_of_dialogues(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json_line(row) + "\n" for row in select(SOME, Rules()).rows))
    loaded = dialogues.load(f"{path}?domain=area", split="train", config=DataConfig())
    assert [one.domain for one in loaded.dialogues] == ["math", "math"]
