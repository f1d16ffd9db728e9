import random

import pytest
import tiny

from aha.records import Grade, Group, Prompt, Rendered, Rollout, Scored
from aha.rollout.collect import collect
from aha.rollout.engine import SamplingParams

PARAMS = SamplingParams(max_tokens=8, stream=(0, "zero", 3))


def question(name, *, gold="7", kind="math", prefill="", ids=(5, 6)):
    prompt = Prompt(id=name, question=f"{name}?", gold=gold, kind=kind)
    return Rendered(prompt=prompt, text=f"{name}?", token_ids=ids, prefill=prefill)


class FakeEngine:
    """Finishes what was submitted in a given (random) order, `width` answers a step."""

    version = 4

    def __init__(self, seed=0, width=3):
        self.random, self.width = random.Random(seed), width
        self.waiting = []
        self.submitted = []

    def submit(self, prompt_id, token_ids, n, params, *, attempt=0):
        self.submitted.append((prompt_id, tuple(token_ids), n, params, attempt))
        self.waiting += [(prompt_id, i, attempt) for i in range(n)]
        self.random.shuffle(self.waiting)

    def pending(self):
        return len(self.waiting)

    def step(self):
        ended, self.waiting = self.waiting[: self.width], self.waiting[self.width :]
        return [
            Rollout(
                prompt_id=prompt_id,
                sample=i,
                token_ids=(1,) * (i + 1),
                logprobs=(-1.0,) * (i + 1),
                text=f"{prompt_id}:{i}",
                policy_version=4,
                stopped="eos",
                attempt=attempt,
            )
            for prompt_id, i, attempt in ended
        ]


class FakeGraders:
    """Verdicts come back in random order, a few at a time, some only long after the last answer."""

    def __init__(self, engine, seed=0, failing=()):
        self.engine, self.random, self.failing = engine, random.Random(seed), failing
        self.open, self.seen, self.left_at_submit = [], {}, []

    def submit(self, key, kind, gold, response, **options):
        assert key not in self.seen
        self.seen[key] = (kind, gold, response, options)
        self.left_at_submit.append(self.engine.pending())
        self.open.append(key)

    def pending(self):
        return len(self.open)

    def poll(self, timeout=0):
        self.random.shuffle(self.open)
        done, self.open = self.open[:2], self.open[2:]
        return [(key, self.verdict(self.seen[key][2])) for key in done]

    def verdict(self, response):
        if response in self.failing:
            return Grade(status="timeout", score=0.0, reason="deadline")
        right = int(response[-1]) % 2
        return Grade(status="correct" if right else "wrong", score=float(right), reason=response)


def score(question, rollouts, grades):
    scored = [
        Scored(
            rollout=rollout,
            grade=grade,
            parts={"accuracy": grade.score, "prefill": float(len(question.prefill))},
            reward=grade.score,
            valid=not grade.failed,
        )
        for rollout, grade in zip(rollouts, grades, strict=True)
    ]
    return Group(rendered=question, scored=tuple(scored))


def run(seed=0, questions=None, n=4, failing=(), width=3, **options):
    engine = FakeEngine(seed, width)
    graders = FakeGraders(engine, seed + 1, failing)
    questions = questions or [question(name) for name in ("z", "a", "m")]
    groups = collect(engine, graders, score, questions, n, PARAMS, phase="p0", **options)
    return groups, engine, graders


def test_the_order_is_that_of_the_questions_whatever_finished_first():
    first, _, _ = run(0)
    assert [group.rendered.prompt.id for group in first] == ["z", "a", "m"]
    for group in first:
        assert [s.rollout.sample for s in group.scored] == [0, 1, 2, 3]
        for s in group.scored:  # each answer has its own verdict
            assert s.rollout.prompt_id == group.rendered.prompt.id
            assert s.grade.reason == s.rollout.text == f"{s.rollout.prompt_id}:{s.rollout.sample}"
            assert s.reward == s.rollout.sample % 2
    for seed in range(1, 12):
        assert run(seed, width=1 + seed % 5)[0] == first


def test_answers_are_graded_while_others_decode():
    _, _, graders = run(0)
    assert graders.left_at_submit == [9, 9, 9, 6, 6, 6, 3, 3, 3, 0, 0, 0]


def test_what_engine_and_graders_are_told():
    questions = [
        question("q", gold="42", kind="countdown", prefill="<think>\n", ids=(5, 6, 7)),
        question("r"),
    ]
    groups, engine, graders = run(0, questions, n=2, attempt=3, mode="eval", tags=("t", "a"))
    assert engine.submitted == [("q", (5, 6, 7), 2, PARAMS, 3), ("r", (5, 6), 2, PARAMS, 3)]
    options = {"prefill": "<think>\n", "mode": "eval", "think_tag": "t", "answer_tag": "a"}
    assert graders.seen["p0/3/q/1"] == ("countdown", "42", "q:1", options)
    assert set(graders.seen) == {f"p0/3/{name}/{i}" for name in "qr" for i in range(2)}
    assert groups[0].scored[0].parts["prefill"] == len("<think>\n")
    assert groups[1].scored[0].parts["prefill"] == 0


def test_a_grader_failure_is_not_a_wrong_answer():
    groups, _, _ = run(0, failing=("a:1", "m:2"))
    invalid = {s.rollout.text: s.grade.status for g in groups for s in g.scored if not s.valid}
    assert invalid == {"a:1": "timeout", "m:2": "timeout"}
    assert sum(len(group.scored) for group in groups) == 12


def test_two_questions_with_one_id_are_refused_before_anything_starts():
    engine = FakeEngine()
    with pytest.raises(ValueError, match="same id"):
        collect(
            engine,
            FakeGraders(engine),
            score,
            [question("a"), question("b"), question("a")],
            2,
            PARAMS,
            phase="p0",
        )
    assert engine.submitted == []


def test_progress_counts_answers_and_tokens():
    seen = []
    run(0, progress=lambda ended, tokens: seen.append((ended, tokens)))
    assert seen == sorted(seen)
    assert [ended for ended, _ in seen[:4]] == [3, 6, 9, 12]
    assert seen[-1] == (12, 3 * (1 + 2 + 3 + 4))


def test_no_questions_are_no_groups():
    engine = FakeEngine()
    assert collect(engine, FakeGraders(engine), score, [], 4, PARAMS, phase="p0") == []


def test_with_the_local_engine(new_engine):
    """Short answers reach the graders while long ones decode; groups equal those of few slots."""

    def groups(**options):
        engine = new_engine("llama", eos=(3, 30, 31, 32, 33, 34, 35), **options)
        graders = FakeGraders(engine)
        graders.verdict = lambda response: Grade(status="wrong", score=0.0, reason=response)
        questions = [question(name, ids=(7, i + 5)) for i, name in enumerate("xyzw")]
        return collect(engine, graders, score, questions, 5, PARAMS, phase="p"), graders

    wide, graders = groups()
    assert max(graders.left_at_submit) > 0
    assert len(set(graders.left_at_submit)) > 3
    narrow, _ = groups(max_rows=3)
    for a, b in zip(wide, narrow, strict=True):
        for x, y in zip(a.scored, b.scored, strict=True):
            assert x.grade.reason == x.rollout.text
            assert x.rollout.token_ids == y.rollout.token_ids
    prompt, rollout = wide[2].rendered, wide[2].scored[3].rollout
    model = tiny.policy("llama").model
    logp = tiny.slow_logprobs(model, prompt.token_ids, rollout.token_ids).tolist()
    assert list(rollout.logprobs) == pytest.approx(logp, abs=1e-5)
