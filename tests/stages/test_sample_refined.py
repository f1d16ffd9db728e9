"""What a sampling stage rewrites: by rules, by a model behind an address, under a judge, and in pairs."""

import json
import re
import threading
from pathlib import Path

import pytest
from judge_server import says, server, verdict

from aha.config import resolve
from aha.data import preferences
from aha.data.selecting import Sampled
from aha.errors import ConfigError, RunError
from aha.records import Grade, Prompt
from aha.rewards.judge import Judge
from aha.rewards.judge_ask import Asked, Called, Reply, Sampling
from aha.rewards.judge_cache import VerdictCache
from aha.rewards.workers import GraderPool
from aha.stages import artefacts, launch, sample, sample_refined

V3 = {"v3": {"url": "http://127.0.0.1:1/v1", "model": "m"}}


def stage(**keys):
    made = resolve({"stage": {"s": {"kind": "sample", **keys}}})
    return made, made.stage["s"]


def sampled(number, value, *, sample=0, status=None, kind="math", domain="", **more):
    right = number + 6
    status = status or ("correct" if value == right else "wrong")
    prompt = Prompt(
        id=f"p{number}",
        question=f"Compute {number} + 2 * 3.",
        gold=str(right),
        kind=kind,
        source="s",
        lang="en",
        domain=domain,
    )
    text = (
        f"<think> First 2 * 3 = 6. Then {number} + 6 = {value}. </think> <answer> {value} </answer>"
    )
    grade = Grade(status=status, score=float(status == "correct"), extracted=str(value))
    return Sampled(
        prompt=prompt, sample=sample, text=more.pop("text", text), grade=grade, policy="z", **more
    )


def chosen(samples, *, judge=None, judged=frozenset(), refiner=None, **keys):
    recipe, config = stage(refine=True, **keys)
    with GraderPool(workers=1, seconds=20.0) as graders:
        check = sample_refined.check_of(graders, config, judge=judge)
        return sample._chosen(recipe, config, samples, [], check, judged=judged, refiner=refiner)


# -- pairs -------------------------------------------------------------------------------------------------


def test_refined_answers_make_pairs_that_differ_in_what_is_said(tmp_path):
    samples = [
        one
        for number in range(1, 5)
        for one in (sampled(number, number + 6), sampled(number, 99, sample=1))
    ]
    rows, pairs, facts = chosen(samples)
    assert len(rows) == len(pairs) == 4
    assert facts["refined"]["unfit"] == {"not_correct": 4}
    for row, pair in zip(rows, pairs, strict=True):
        assert pair["chosen"] == row["response"]
        assert pair["rejected"].startswith("<think>\nFirst 2 * 3 = 6. Then ")
        assert pair["rejected"].endswith("The answer is \\boxed{99}.")
        assert pair["from"]["rewritten"] == "rules"
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    recipe, _ = stage()
    found = preferences.load_pairs(str(path), split="train", config=recipe.data).items
    assert [one.rejected for one in found] == [pair["rejected"] for pair in pairs]


def test_where_rules_cannot_give_the_form_both_sides_stay_as_they_were():
    cut = sampled(1, 99, sample=1, text="<think> First 2 * 3 = 6. Then", stopped="length")
    right = sampled(1, 7)
    rows, [pair], _ = chosen([right, cut])
    assert "<answer>" not in rows[0]["response"]
    assert pair["chosen"].endswith("<answer> 7 </answer>")
    assert pair["rejected"] == "<think> First 2 * 3 = 6. Then"
    assert "rewritten" not in pair["from"]


# -- with a judge ------------------------------------------------------------------------------------------


def by_word(messages):
    """A judge that finds 7 right, whoever wrote it and however."""
    return verdict("correct" if re.search(r"\b7\b", messages[-1]["content"]) else "incorrect")


def open_sample(value, number=0, status="correct"):
    return sampled(1, value, sample=number, status=status, kind="open", domain="math")


def test_what_a_judge_approved_is_refined_and_kept():
    """No rule can grade it again: all of these were dropped as answer_form."""
    asked = []

    def judge():
        return Judge(
            asker=Called(lambda messages: asked.append(messages) or by_word(messages), name="j")
        )

    samples = [open_sample(7), open_sample(9, 1, "wrong")]
    judged = frozenset({("p1", 0), ("p1", 1)})
    rows, pairs, facts = chosen(samples, judge=judge, judged=judged)
    assert facts["refined"]["refined"] == 1
    assert rows[0]["response"].endswith("The answer is \\boxed{7}.")
    assert [pair["rejected"].endswith("\\boxed{9}.") for pair in pairs] == [True]
    assert asked == []  # the verdict was on what is still said


def test_a_text_of_a_model_is_put_to_the_judge_again(tmp_path):
    def writes(value):
        def ask(messages):
            if "editor" in messages[0]["content"]:
                return "I am asked for 1 + 2 * 3. First 2 * 3 = 6. Then 1 + 6."
            return f"First $2 \\times 3 = 6$.\n\nThe answer is \\boxed{{{value}}}."

        return ask

    for value, kept in ((7, 1), (6, 0)):
        asked = []

        def judge(asked=asked):
            def ask(messages):
                asked.append(messages)
                said = messages[-1]["content"]
                return verdict("correct" if "boxed{7}" in said else "incorrect")

            return Judge(asker=Called(ask, name="j"))

        def refiner(value=value):
            cache = VerdictCache(tmp_path / f"{value}.jsonl")
            return Judge(asker=Called(writes(value), name="r"), cache=cache)

        rows, _, facts = chosen(
            [open_sample(7)],
            judge=judge,
            judged=frozenset({("p1", 0)}),
            refiner=refiner,
            refine_by="v3",
            refiners=V3,
        )
        assert len(rows) == kept
        assert len(asked) == 1
        assert facts["refined"]["unfit"] == ({} if kept else {"changed_answer": 1})


# -- replies that are kept ---------------------------------------------------------------------------------


class Numbered:
    """Replies with the number of the asking; remembers how many were asked together."""

    name = "numbered"

    def __init__(self, *, fails=()):
        self.fails, self.calls = set(fails), []

    def ask_all(self, asked):
        self.calls.append(len(asked))
        return [self._one(one.messages[0]["content"]) for one in asked]

    def _one(self, text):
        if text in self.fails:
            return Reply(status="timeout", reason="no reply")
        return Reply(status="ok", text=f"re {text} \ud800", cut=text == "3", ms=5.0)


def askings(count):
    return [
        Asked(messages=({"role": "user", "content": f"{number}"},), sampling=Sampling())
        for number in range(count)
    ]


def test_no_reply_is_paid_for_twice(tmp_path):
    path, count = tmp_path / "replies.jsonl", sample_refined.BLOCK + 6
    failing = Numbered(fails=["1", "2"])
    first = sample_refined.Kept(failing, VerdictCache(path)).ask_all(askings(count))
    assert failing.calls == [sample_refined.BLOCK, 6]
    with path.open("ab") as file:
        file.write(b'{"key": "torn')
    again = Numbered()
    second = sample_refined.Kept(again, VerdictCache(path)).ask_all([*askings(count), *askings(3)])
    assert again.calls == [2]  # equal askings are one, failures are asked again
    assert [one.text for one in second[count:]] == [one.text for one in second[:3]]
    assert second[3:count] == first[3:]
    assert second[3].cut
    assert second[1].text == "re 1 \ud800"


def test_a_refiner_that_is_not_there_stops_the_stage_at_once(tmp_path):
    count = 3 * sample_refined.BLOCK
    asker = Numbered(fails=[f"{number}" for number in range(20)])
    kept = sample_refined.Kept(asker, VerdictCache(tmp_path / "r.jsonl"), most_failed=0.1)
    with pytest.raises(RunError, match=r"left 20 of 192 askings.*max_refiner_failures=0\.1"):
        kept.ask_all(askings(count))
    assert asker.calls == [sample_refined.BLOCK]  # nobody waits for the others
    assert len(VerdictCache(tmp_path / "r.jsonl")) == sample_refined.BLOCK - 20


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"refine": True, "refine_by": "v3"}, "names no table of refiners"),
        ({"refine": True, "refiners": V3}, "asks none of them"),
        ({"refine_by": "v3", "refiners": V3}, "set refine = true too"),
        ({"refine": True, "refine_by": "v3", "refiners": {"v3": {"url": "http://x"}}}, "url and model"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit(keys, said):
    with pytest.raises(ConfigError, match=said):
        stage(**keys)


def test_a_refiner_has_room_for_a_thinking():
    _, config = stage(refine=True, refine_by="v3", refiners=V3)
    asked = sample_refined.refiner_of(config, Path("."))
    assert asked.sampling.max_tokens == 4096


# -- the stage ---------------------------------------------------------------------------------------------


def rewrites(handler, number, body):
    """A refiner that keeps the notes, without tags, and ends in the last number of the thinking."""
    system, user = (message["content"] for message in body["messages"])
    text = re.search(r"(?:notes|line of thought) begins ---\n(.*?)\n---", user, re.S)[1]
    if "editor" not in system:
        text = (
            f"Step by step: {text}\n\nThe answer is \\boxed{{{re.findall(r'-?[0-9]+', text)[-1]}}}."
        )
    says(text)(handler, number, body)


def run(folder, url):
    raw = {
        "run_dir": str(folder),
        "threads": 1,
        "memory_gb": 4,
        "model": {"path": "aha:base"},
        "data": {"train": "arithmetic?digits=1&n=200"},
        "stage": {
            "kept": {
                "kind": "sample",
                "problems": 8,
                "samples": 4,
                "max_answer_tokens": 120,
                "refine": True,
                "refine_by": "v3",
                "refiners": {"v3": {"url": url, "model": "m"}},
            }
        },
    }
    made = resolve(raw)
    root = folder / made.name
    launch.run(made, root, stage=None)
    return root


def test_a_recipe_refines_by_a_model_and_goes_on_without_asking_again(tmp_path):
    left: list[threading.Semaphore] = []  # replies before the endpoint is gone; none: it stays

    def answers(handler, number, body):
        if left and not left[0].acquire(blocking=False):
            handler.send_error(400)
        else:
            rewrites(handler, number, body)

    with server(answers) as (url, seen):
        whole = run(tmp_path / "whole", url)
        asked = len(seen)
        left.append(threading.Semaphore(3))
        with pytest.raises(
            RunError, match=r"askings without a reply.*Samples and replies are kept"
        ):
            run(tmp_path / "killed", url)
        kept = (tmp_path / "killed" / "run" / "kept" / "refinements.jsonl").read_bytes()
        assert kept.count(b"\n") == 3
        left.clear()
        before = len(seen)
        again = run(tmp_path / "killed", url)
        assert len(seen) - before == asked - 3
    assert artefacts.hashes(again) == artefacts.hashes(whole)
    assert "kept/refinements.jsonl" not in artefacts.hashes(whole)
    rows = [
        json.loads(line) for line in (whole / "kept" / "dialogues.jsonl").read_text().splitlines()
    ]
    assert rows
    for row in rows:
        assert row["from"]["rewritten"] == "model"
        assert "Step by step: " in row["response"].split("</think>")[1]
