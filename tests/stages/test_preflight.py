"""The verdict's rules as a table of cases, the counts by hand, gold answers on the real graders."""

from dataclasses import replace

import pytest

from aha.config import DataConfig, ZeroConfig
from aha.data.sources import load
from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.report.lines import width_of
from aha.rewards.workers import GraderPool
from aha.stages.preflight import check_gold, count
from aha.stages.preflight_rules import Gold, Sampled, judge, lines, refused

CONFIG = ZeroConfig(prompts_per_step=16, group_size=16, max_answer_tokens=128, steps=40)
GOOD = Gold(tried=256, refused=0, first=())
USUAL = Sampled(
    questions=4, group_size=16, answers=64, failed=0, parsed=20, formatted=2, cut=3,
    right=6, right_low=0.04, right_high=0.19,
    informative=3, informative_low=0.3, informative_high=0.95, all_right=0, all_wrong=1,
    varied=4, varying=("accuracy", "format"), tokens_mean=33.0, tokens_p95=117,
)  # fmt: skip
WRONG = replace(USUAL, right=0, informative=0, all_wrong=4, varied=0, varying=())

CASES = {
    "as usual": (GOOD, USUAL, {}, "can", ""),
    "a few golds are odd": (Gold(tried=100, refused=5, first=()), USUAL, {}, "can", ""),
    "golds are no answers": (Gold(tried=100, refused=6, first=()), None, {}, "cannot", "6 of 100"),
    "graders fail": (GOOD, replace(USUAL, failed=4), {}, "cannot", "no verdict on 4"),
    "graders fail, as allowed": (GOOD, replace(USUAL, failed=3), {}, "can", ""),
    "nothing parsed": (GOOD, replace(WRONG, parsed=0), {}, "cannot", "answer part"),
    "all cut": (GOOD, replace(WRONG, parsed=0, cut=64), {}, "cannot", "cut at the cap of 128"),
    "all cut, some right": (GOOD, replace(USUAL, cut=64), {}, "can", ""),
    "partly right": (
        GOOD, replace(WRONG, varied=3, varying=("accuracy", "format")), {},
        "can", "none of 64 answers to 4 questions is wholly right, but scores differ",
    ),
    "all wrong": (GOOD, WRONG, {}, "cannot", "none of 64 answers to 4 questions is right"),
    "form only": (
        GOOD, replace(WRONG, varied=3, varying=("format",)), {},
        "cannot", "learn only the form: none of 64 answers",
    ),
    "all right": (
        GOOD, replace(USUAL, right=64, informative=0, all_right=4, all_wrong=0), {},
        "cannot", "nothing is left to learn",
    ),
    "all judged ones are right": (
        GOOD, replace(USUAL, right=62, failed=2), {}, "cannot", "nothing is left",
    ),
    "solved or out of reach": (
        GOOD, replace(USUAL, right=16, informative=0, all_right=1, all_wrong=3), {},
        "slowly", "about 0.0 of the 16 groups of a step carry a signal (at most about 15.2)",
    ),
    "one group in sixteen": (
        GOOD, replace(USUAL, questions=16, answers=256, informative=1), {},
        "slowly", "1 of 16 groups hold both right and other answers, so about 1.0 of the 16",
    ),
    "one group in ten is enough": (
        GOOD, replace(USUAL, questions=10, answers=160, informative=1), {}, "can", "",
    ),
    "form is all that is wanted": (
        GOOD, replace(WRONG, varied=1, varying=("format",)), {"format": 1.0}, "can", "not rewarded",
    ),
    "nothing can be right": (
        GOOD, replace(WRONG, open_answers=64, open_questions=4, open_varied=2, varied=2), {},
        "can", "none of these questions has a right answer",
    ),
    "nothing can be right, and all are paid alike": (
        GOOD, replace(WRONG, open_answers=64, open_questions=4), {}, "cannot", "rewards are equal",
    ),
    "open ones teach, of the others none is right": (
        GOOD, replace(WRONG, open_answers=32, open_questions=2, open_varied=1, varied=1), {},
        "slowly", "of 32 answers to questions with a right answer none is right",
    ),
    "nothing is learned from either": (
        GOOD, replace(WRONG, open_answers=32, open_questions=2), {}, "cannot", "is right",
    ),
    "open ones among others": (  # 1 of 2 groups that have a right answer, not of 16
        GOOD, replace(USUAL, questions=16, open_questions=14, open_answers=56, informative=1), {},
        "can", "",
    ),
    "nothing that is wanted differs": (GOOD, WRONG, {"format": 1.0}, "cannot", "rewards are equal"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_rules(case):
    gold, sampled, rewards, state, said = CASES[case]
    config = CONFIG.model_copy(update={"rewards": rewards}) if rewards else CONFIG
    verdict = judge(gold, sampled, config)
    assert verdict.state == state
    assert said in verdict.reason
    assert bool(verdict.todo) == (state != "can")


def answer(place: int, status: str, text: str, *, reward: float, cut: bool = False) -> Scored:
    tokens = tuple(range(len(text)))
    failed = status in ("timeout", "error")
    return Scored(
        rollout=Rollout(
            prompt_id="p", sample=place, token_ids=tokens, logprobs=(0.0,) * len(tokens), text=text,
            policy_version=0, stopped="length" if cut else "stop",
        ),
        grade=Grade(
            status=status, score=float(status == "correct"),
            extracted=None if status == "unparsed" else "7",
        ),
        parts={"accuracy": float(status == "correct"), "format": reward},
        reward=float(status == "correct") + reward,
        valid=not failed,
    )  # fmt: skip


def group(*scored: Scored) -> Group:
    prompt = Prompt(id="p", question="?", gold="7")
    return Group(
        rendered=Rendered(prompt=prompt, text="", token_ids=(1,), prefill="<think>"), scored=scored
    )


def test_counts_by_hand():
    form = "a</think><answer>7</answer>"  # with the prefill the asked form; 27 tokens
    groups = [
        group(answer(0, "correct", form, reward=1.0), answer(1, "wrong", "12", reward=0.0)),
        group(
            answer(0, "unparsed", "1234", reward=0.0, cut=True),
            answer(1, "timeout", "123", reward=0.0),
        ),
        group(answer(0, "wrong", "1", reward=0.0), answer(1, "wrong", "1", reward=0.0)),
    ]
    got = count(groups, ("think", "answer"))
    assert (got.questions, got.group_size, got.answers, got.failed) == (3, 2, 6, 1)
    assert (got.parsed, got.formatted, got.cut, got.right) == (5, 1, 1, 1)
    assert (got.informative, got.all_right, got.all_wrong, got.varied) == (1, 0, 2, 1)
    assert got.varying == ("accuracy", "format")
    assert got.tokens_mean == pytest.approx((27 + 2 + 4 + 3 + 1 + 1) / 6)
    assert got.tokens_p95 == 27
    # Wilson for 1 of 3: (1/3 + z2/6 -+ z sqrt(2/9/3 + z2/36)) / (1 + z2/3), z = 1.96
    assert (got.informative_low, got.informative_high) == pytest.approx((0.0615, 0.7923), abs=1e-3)


def test_open_prompts_are_counted_apart():
    closed = group(answer(0, "correct", "7", reward=0.0), answer(1, "wrong", "1", reward=0.0))
    prompt = Prompt(id="o", question="?", gold="", kind="open")
    scored = (answer(0, "open", "a", reward=0.25), answer(1, "open", "b", reward=0.75))
    rendered = Rendered(prompt=prompt, text="", token_ids=(1,))
    got = count([closed, Group(rendered=rendered, scored=scored)], ("think", "answer"))
    assert (got.questions, got.closed, got.open_answers, got.open_varied) == (2, 1, 2, 1)
    assert (got.right, got.informative, got.all_wrong, got.varied) == (1, 1, 0, 2)
    alone = count([Group(rendered=rendered, scored=scored)], ("think", "answer"))
    assert (alone.closed, alone.informative_low, alone.informative_high) == (0, 0.0, 1.0)
    assert judge(GOOD, alone, CONFIG).state == "can"


def test_gold_answers_on_the_real_graders():
    prompts = [
        Prompt(id="a", question="?", gold="72"),
        Prompt(id="b", question="?", gold="1/2"),
        Prompt(id="c", question="?", gold="Ja", kind="exact"),
        Prompt(id="d", question="?", gold='{"numbers": [2], "target": 2}', kind="countdown"),
        Prompt(id="e", question="?", gold=""),
    ]
    with GraderPool(workers=1, seconds=20.0) as pool:
        got = check_gold(prompts, pool)
        assert (got.tried, got.refused) == (4, 1)
        assert got.first[0].startswith("e: gold '' is ")
        assert refused(got)
        other = check_gold(prompts[:3], pool, answer_tag="result")
        assert (other.tried, other.refused) == (3, 0)
        assert not refused(other)
        nothing = check_gold(prompts[3:4], pool)
        assert nothing.tried == 0
        assert not refused(nothing)


SUM = '{"numbers": [2, 3, 4], "target": 14}'
COUNTDOWN = {  # columns -> whether the solution is tried, whether it is right
    "known": ({"solution": "2 + 3 * 4"}, True, True),
    "with its value": ({"solution": "(3 × 4) + 2 = 14"}, True, True),
    "wrong": ({"solution": "2 * 3 + 4"}, True, False),
    "a tale": ({"solution": "3 * 4 = 12, then 12 + 2 = 14"}, False, False),
    "in steps": ({"solution": "3 * 4 = 12\n12 + 2 = 14"}, False, False),
    "blank": ({"solution": " "}, False, False),
    "no text": ({"solution": 14}, False, False),
    "none": ({}, False, False),
}


def test_solutions_of_countdown():
    with GraderPool(workers=1, seconds=20.0) as pool:
        for name, (columns, tried, right) in COUNTDOWN.items():
            prompt = Prompt(id="a", question="?", gold=SUM, kind="countdown", columns=columns)
            got = check_gold([prompt], pool)
            wanted = Gold(
                tried=tried, refused=tried and not right, untried=not tried, first=got.first
            )
            assert replace(got, kind="") == wanted, name
        task = load("countdown?n=40", split="train", config=DataConfig()).prompts
        assert check_gold(task, pool) == Gold(tried=40, refused=0, first=())
        mixed = check_gold(
            [*task[:3], Prompt(id="b", question="?", gold=SUM, kind="countdown")], pool
        )
    assert mixed.sentence == "3 of 3 graded right; 1 without one to try"
    assert judge(replace(GOOD, tried=1, refused=1, kind="countdown"), None, CONFIG).todo.startswith(
        "The column 'solution'"
    )


def test_answers_of_gym():
    pytest.importorskip("reasoning_gym")
    prompts = load("gym:chain_sum?n=20", split="train", config=DataConfig()).prompts
    without = replace(prompts[0], columns={})
    wrong = [replace(prompt, columns={"answer": "no number"}) for prompt in prompts[:2]]
    with GraderPool(workers=1, seconds=20.0) as pool:
        assert check_gold(prompts, pool, "result") == Gold(tried=20, refused=0, first=())
        got = check_gold([*prompts, *wrong, without], pool)
    assert (got.tried, got.refused, got.untried, got.kind) == (22, 2, 1, "gym")
    assert refused(got)
    assert judge(got, None, CONFIG).todo.startswith("The task's scorer")


def test_no_gold_answer_to_try_is_said():
    nothing = Gold(tried=0, refused=0, first=(), untried=9)
    text = " ".join(" ".join(lines(facts(nothing, USUAL), CONFIG, rate=1.0)).split())
    assert "preflight: can learn gold answers none to try: these problems name no answer" in text
    assert "0 of 0" not in text
    stored = facts(GOOD, USUAL)
    del stored["gold"]["untried"], stored["gold"]["kind"]  # as an older version wrote it
    assert "256 of 256 graded right" in " ".join(lines(stored, CONFIG, rate=None))


def facts(gold: Gold, sampled: Sampled | None) -> dict:
    from dataclasses import asdict

    return {
        "verdict": asdict(judge(gold, sampled, CONFIG)),
        "gold": asdict(gold),
        "template": ["<think> is 3 tokens, not one: a model must learn to spell it " * 2],
        "sampled": asdict(sampled) if sampled else None,
    }


def test_what_is_said():
    said = lines(facts(GOOD, USUAL), CONFIG, rate=8448.0)
    assert said[0] == "preflight: can learn"
    text = " ".join(" ".join(said).split())
    assert "gold answers 256 of 256 graded right" in text
    assert "right 9% [4%, 19%]" in text  # 6 of 64
    assert "signal 3 of 4 groups hold both right and other answers: 75% [30%, 95%]" in text
    # 33 tokens x 16 x 16 = 8448 a step, a second each at that rate
    assert "about 8,448 tokens a step, sampled in about 1s; about 40s of sampling for 40" in text
    assert "at the first start" in " ".join(lines(facts(GOOD, USUAL), CONFIG, rate=None))


def test_what_is_said_fits_80_columns():
    odd = Gold(tried=9, refused=9, first=("x" * 90 + ": gold '路径' is unparsed, no_answer",) * 3)
    for gold, sampled in ((GOOD, WRONG), (odd, None)):
        said = lines(facts(gold, sampled), CONFIG, rate=1.0)
        assert said[0].startswith("preflight: cannot learn: ")
        assert all(width_of(line) <= 80 for line in said)
        assert any(line.startswith("  -> ") for line in said)
