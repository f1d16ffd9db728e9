"""What a sampling stage decides without its model: who judges, by which budget, which questions."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from judge_server import says, server, verdict

from aha import config
from aha.config import DataConfig, SampleConfig, resolve
from aha.data.problems import Problems, Shares
from aha.data.selecting import Rules, Sampled, select
from aha.errors import ConfigError, DoesNotFit, RunError
from aha.models.locate import locate
from aha.records import Grade, Prompt, Rendered
from aha.rewards.judge import Judge
from aha.rewards.judge_ask import Called
from aha.rewards.judge_cache import VerdictCache
from aha.stages import launch, resolution, sample, sample_budget, sample_verdicts
from aha.train import plan

JUDGE = {"judge": "v3", "judges": {"v3": {"url": "http://127.0.0.1:1/v1", "model": "m"}}}
CORRECT = Grade(status="correct", score=1.0)


def prompt(name="p", gold="seven", **more):
    return Prompt(id=name, question=f"What is 3 + 4, {name}?", gold=gold, **more)


def sampled(name="p", *, status="open", reason="", sample=0, **more):
    return Sampled(
        prompt=prompt(name, **more),
        sample=sample,
        text=f"<think>\n3 and {sample + 4}.\n</think>\n\nIt is seven.",
        grade=Grade(status=status, score=float(status == "correct"), reason=reason),
    )


def judge(reply, path=None):
    cache = VerdictCache(path) if path else None
    return Judge(asker=Called(lambda _: reply, name="test"), cache=cache)


# -- verdicts --------------------------------------------------------------------------------------


def test_a_judge_decides_where_rules_do_not():
    some = [
        sampled("a"),
        sampled("b", status="error", reason="gold_unreadable"),
        sampled("c", status="wrong"),
        sampled("d", status="correct"),
    ]
    ruled = sample_verdicts.rule(some, judge(verdict("correct")), most_unreached=0)
    assert [one.grade.status for one in ruled.samples] == ["correct", "correct", "wrong", "correct"]
    assert (ruled.asked, ruled.correct, ruled.wrong, ruled.failed) == (2, 2, 0, 0)
    no = sample_verdicts.rule(some, judge(verdict("incorrect")), most_unreached=0)
    kept = select(no.samples, Rules()).rows
    assert [row["id"] for row in kept] == ["d/0"]


def test_a_judge_that_cannot_be_read_is_no_verdict():
    ruled = sample_verdicts.rule([sampled()], judge("Hm."), most_unreached=0)
    assert (ruled.failed, ruled.unreached) == (1, 0)
    assert ruled.first.startswith("judge_unparsed")
    assert [one.reason for one in select(ruled.samples).decisions] == ["grader_failed"]


def test_a_judge_that_is_not_there_stops_the_stage_and_what_it_said_is_kept(tmp_path):
    """Else its failure would be a small file of dialogues, and nobody would ask again."""
    some = [sampled(f"p{i}") for i in range(sample_verdicts.BLOCK + 8)]

    def answers(handler, number, body):
        if number >= sample_verdicts.BLOCK:
            handler.send_error(400)
        else:
            says(verdict("correct"))(handler, number, body)

    made = resolve({"stage": {"s": {"kind": "sample", **JUDGE}}}).stage["s"].judges["v3"]
    cache = tmp_path / "judgements.jsonl"
    recipe = resolve({"stage": {"s": {"kind": "sample"}}})
    with server(answers) as (url, seen):
        asked = sample._judge(recipe, made.model_copy(update={"url": url}), tmp_path)
        with pytest.raises(RunError, match=r"did not answer for 8 of 72 answers.*run again"):
            sample_verdicts.rule(some, asked, most_unreached=0.05)
        assert len(cache.read_text().splitlines()) == sample_verdicts.BLOCK
        again = sample._judge(recipe, made.model_copy(update={"url": url}), tmp_path)
        tolerant = sample_verdicts.rule(some, again, most_unreached=0.5)
        assert len(seen) == 72 + 8  # what was said is not asked again
    assert (tolerant.correct, tolerant.failed) == (sample_verdicts.BLOCK, 8)


def test_what_a_judge_is_asked_about():
    plain, judged = SampleConfig(), SampleConfig(**JUDGE, judged=["stem", "proofs"])
    choice, proof = prompt(kind="choice"), prompt(domain="proofs")
    for one in (choice, proof, prompt(kind="open")):
        assert sample_verdicts.for_judge(one, judged)
        assert not sample_verdicts.for_judge(one, plain)
    assert not sample_verdicts.for_judge(prompt(kind="math"), judged)
    question = Rendered(prompt=choice, text="?", token_ids=(1,))
    left = sample_verdicts.left_open(question, judged).prompt
    assert (left.kind, left.domain) == ("open", "stem")  # the area stays what it was
    assert sample_verdicts.left_open(question, plain) is question


def test_questions_without_a_verdict_are_told_before_anything_is_sampled():
    some = [prompt("a", kind="open"), prompt("b")]
    [said] = sample_verdicts.check_prompts(some, SampleConfig(), "talk")
    assert said.startswith("1 of 2 questions give nothing")
    assert sample_verdicts.check_prompts(some, SampleConfig(**JUDGE), "talk") == []
    assert sample_verdicts.check_prompts(some[:1], SampleConfig(correct=False), "talk") == []
    with pytest.raises(ConfigError, match=r"stage\.talk\.correct=false"):
        sample_verdicts.check_prompts(some[:1], SampleConfig(), "talk")
    blank = replace(some[0], gold=" ")
    with pytest.raises(ConfigError, match="they have none"):
        sample_verdicts.check_prompts([blank], SampleConfig(**JUDGE), "talk")


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"judge": "v3"}, "names no table of judges"),
        ({"judges": JUDGE["judges"]}, "asks none of them"),
        ({"judged": ["stem"]}, "set judge too"),
        ({**JUDGE, "correct": False}, "a judge has nothing to decide"),
        ({"written": "d.jsonl", "refine": True}, "taken as they are"),
        ({"min_score": 1.5}, "less than or equal to 1"),
        ({"think": "sometimes"}, "'keep', 'none' or 'auto'"),
    ],
)
def test_keys_that_do_not_fit(keys, said):
    with pytest.raises(ConfigError, match=said):
        resolve({"stage": {"s": {"kind": "sample", **keys}}})


# -- the budget ------------------------------------------------------------------------------------


def recipe(**keys):
    raw = {"threads": 2, "model": {"path": "aha:base"}, "stage": {"s": {"kind": "sample", **keys}}}
    return config.resolve(raw)


def test_a_budget_is_measured_once(tmp_path, monkeypatch):
    """A stage that goes on with another amount of free memory decodes as it began."""
    made = recipe()
    folder = locate("aha:base")
    monkeypatch.setattr(plan, "available_memory", lambda device="cpu": 2_000_000_000)
    first = sample_budget.resolve(made, made.stage["s"], tmp_path, folder, block=32)
    stored = (tmp_path / resolution.RESOLVED).read_bytes()
    monkeypatch.setattr(plan, "available_memory", lambda device="cpu": 900_000_000)
    assert sample_budget.measure(made, made.stage["s"], folder, block=32) != first
    assert sample_budget.resolve(made, made.stage["s"], tmp_path, folder, block=32) == first
    assert (tmp_path / resolution.RESOLVED).read_bytes() == stored
    assert json.loads(stored)["resolved"]["threads"] == 2


def test_a_budget_follows_the_recipe_and_says_what_does_not_fit(tmp_path):
    folder = locate("aha:base")
    given = recipe(samples=2, max_answer_tokens=64)
    given = given.model_copy(update={"memory_gb": 3.0})
    found = sample_budget.measure(given, given.stage["s"], folder, block=4)
    assert (found.memory_bytes, found.max_rows, found.dtype) == (3_000_000_000, 8, "float32")
    small = given.model_copy(update={"memory_gb": 0.5})
    with pytest.raises(DoesNotFit, match="Lower max_answer_tokens"):
        sample_budget.measure(small, small.stage["s"], folder, block=4)


# -- the questions ---------------------------------------------------------------------------------


def test_several_sources_are_asked_by_their_weights():
    names = {"a": 30, "b": 30, "c": 2}
    train = [prompt(f"{name}{i}") for name, count in names.items() for i in range(count)]
    source_of = {one.id: list(names).index(one.id[0]) for one in train}
    shares = Shares(tuple(names), (Fraction(3), Fraction(1), Fraction(1)), source_of)
    asked = Problems(train, [], [], shares)
    found = [one.id for one in sample.questions_of(asked, 20, seed=0)]
    assert len(set(found)) == 20
    counts = {name: sum(one[0] == name for one in found) for name in names}
    assert counts["c"] == 2  # it has no more: the others take its turns
    assert counts["a"] >= 12
    assert counts["a"] + counts["b"] == 18
    assert found == [one.id for one in sample.questions_of(asked, 20, seed=0)]
    assert len(sample.questions_of(asked, 100, seed=0)) == len(train)


def test_chat_style_is_a_key_of_a_stage():
    raw = {"stage": {"s": {"kind": "sample", "data": {"template": "chat", "answer_tag": ""}}}}
    assert DataConfig(**resolve(raw).stage["s"].data).answer_tag == ""


# -- dialogues of people ---------------------------------------------------------------------------


def test_written_dialogues_pass_through_the_stage(tmp_path):
    """No model is asked; an answer without thinking gets an empty part, a repeated one goes."""
    rows = [{"question": f"Tell me about number {i}, please.", "response": f"{i}."} for i in (1, 2)]
    path = tmp_path / "style.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    raw = {
        "run_dir": str(tmp_path / "runs"),
        "model": {"path": "aha:base"},
        "stage": {"style": {"kind": "sample", "written": str(path), "overlap_words": 0}},
    }
    made, root = resolve(raw), tmp_path / "runs" / "run"
    launch.run(made, root)
    kept = [
        json.loads(one) for one in (root / "style" / "dialogues.jsonl").read_text().splitlines()
    ]
    assert [one["response"] for one in kept] == [
        "<think>\n\n</think>\n\n1.",
        "<think>\n\n</think>\n\n2.",
    ]
    facts = json.loads((root / "style" / "data.json").read_text())
    assert (facts["samples"], facts["kept"], facts["dropped"]) == (3, 2, {"duplicate": 1})
    assert json.loads((root / "style" / "DONE").read_text())["dialogues"] == 2
