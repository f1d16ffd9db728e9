"""Stored answers of an RL stage: read whole, every one kept or counted, the same ones each time."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import dialogues, stored
from aha.errors import ConfigError, DataError


def answer(prompt, sample, reward, *, status=None, text=None, stopped="eos", valid=True, **more):
    """A row of rollouts/step_N.jsonl with the token ids that stand beside it."""
    text = f" answer {prompt} {sample}" if text is None else text
    ids = more.pop("ids", [ord(sign) % 90 for sign in text] + [1])
    row = {
        "prompt_id": prompt, "sample": sample, "attempt": 0, "question": f"question {prompt}",
        "gold": "g", "kind": "math", "source": "s", "lang": "en", "domain": "d", "area": "math",
        "prefill": "", "text": text, "tokens": len(ids), "stopped": stopped, "policy_version": 0,
        "status": status or ("correct" if reward > 0.5 else "wrong"), "extracted": None,
        "reason": "", "parts": {}, "reward": reward, "valid": valid, **more,
    }  # fmt: skip
    return row, ids


def write(folder, steps):
    """{step: answers} as an RL stage writes them."""
    for step, rows in steps.items():
        name = folder / "rollouts" / f"step_{step:06d}"
        name.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row, _ in rows)
        name.with_suffix(".jsonl").write_text(text, "utf-8")
        table = {
            "prompt_id": [row["prompt_id"] for row, _ in rows],
            "sample": [row["sample"] for row, _ in rows],
            "token_ids": [ids for _, ids in rows],
            "logprobs": pa.array([[-0.5] * len(ids) for _, ids in rows], pa.list_(pa.float32())),
            "advantage": [0.0 for _ in rows],
        }
        pq.write_table(pa.table(table), name.with_suffix(".parquet"))
    return folder


STEPS = {
    1: [
        answer("a", 0, 1.0),
        answer("a", 1, 0.0),
        answer("a", 2, 0.25),
        answer("b", 0, 0.0),
        answer("b", 1, 0.0),
    ],
    2: [
        answer("a", 0, 1.0),  # the same text as in step 1
        answer("a", 1, 1.0, text=" again"),
        answer("c", 0, 1.0, stopped="length"),
        answer("c", 1, 0.0, valid=False, status="error"),
        answer("c", 2, 1.0, text="  ", ids=[1]),
        answer("c", 3, 1.0, text=" c"),
        answer("c", 4, 0.0, stopped="length", status="unparsed"),
    ],
}


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "zero", STEPS)


def ids(answers):
    return [one.id for one in answers]


def test_right_answers_are_kept_and_each_other_one_has_its_reason(folder):
    found = stored.load_answers(str(folder))
    assert ids(found.kept) == ["a/1.0.0", "a/2.0.1", "c/2.0.3"]
    assert found.dropped == {
        "cut": 1,
        "duplicate": 1,
        "empty": 1,
        "grader_failed": 1,
        "not_correct": 5,
    }
    assert found.rows == 12 == len(found.kept) + sum(found.dropped.values())
    one = found.kept[0]
    assert (one.text, one.response, len(one.token_ids)) == (" answer a 0", " answer a 0", 12)
    assert one.logprobs == (-0.5,) * 12
    assert "3 kept of 12 stored answers" in found.sentence()


def test_keys_choose(folder):
    def kept(keys):
        return ids(stored.load_answers(f"{folder}?{keys}").kept)

    assert kept("steps=2") == ["a/2.0.0", "a/2.0.1", "c/2.0.3"]
    assert kept("per_problem=1") == ["a/1.0.0", "c/2.0.3"]
    assert kept("n=1&correct=true") == ["a/1.0.0"]
    assert kept("steps=1-1&correct=false") == [
        f"{p}/1.0.{s}" for p, s in ("a0", "a1", "a2", "b0", "b1")
    ]
    assert stored.load_answers(f"{folder}?n=1").dropped["after_n"] == 2


def test_pairs_are_the_best_against_the_worst_of_a_group(folder):
    found = stored.load_pairs(str(folder), seed=0)
    assert [(p.chosen.id, p.rejected.id) for p in found.kept] == [
        ("a/1.0.0", "a/1.0.1"),
        ("c/2.0.3", "c/2.0.4"),  # cut answers are rejected at most
    ]
    assert found.dropped == {"empty": 1, "flat": 4, "grader_failed": 1, "spare": 2}
    assert found.rows == 12 == 2 * len(found.kept) + sum(found.dropped.values())


def test_pairs_by_reward_alone_and_more_of_a_group(tmp_path):
    """correct=false: what earned more, right or not; the pairs of a group share no answer."""
    rewards = [0.0, 0.5, 0.25, 0.1, 0.3]
    rows = [answer("a", i, reward, status="wrong") for i, reward in enumerate(rewards)]
    folder = write(tmp_path / "zero", {1: rows})
    with pytest.raises(DataError, match="none of 5 stored answers is two answers to one problem"):
        stored.load_pairs(str(folder), seed=0)
    pairs = stored.load_pairs(f"{folder}?correct=false&per_problem=9", seed=0).kept
    assert [(p.chosen.reward, p.rejected.reward) for p in pairs] == [(0.5, 0.0), (0.3, 0.1)]
    pairs = stored.load_pairs(f"{folder}?correct=false&per_problem=9&margin=0.2", seed=0).kept
    assert [(p.chosen.reward, p.rejected.reward) for p in pairs] == [(0.5, 0.0)]


def test_equal_answers_are_drawn_by_the_seed(tmp_path):
    rows = [answer("a", i, float(i % 2)) for i in range(16)]
    folder = write(tmp_path / "zero", {1: rows})
    drawn = {seed: stored.load_pairs(str(folder), seed=seed).kept for seed in range(6)}
    assert drawn[3] == stored.load_pairs(str(folder), seed=3).kept
    assert len({(p[0].chosen.sample, p[0].rejected.sample) for p in drawn.values()}) > 1


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from([0.0, 0.5, 1.0]),
            st.sampled_from(["eos", "stop", "length"]),
            st.booleans(),
            st.sampled_from(["", " x", " yy", "\x00é"]),
        ),
        min_size=1,
        max_size=14,
    ),
    keys=st.sampled_from(["", "?correct=false", "?per_problem=2", "?n=1", "?per_problem=3&n=2"]),
)
def test_every_answer_is_counted_once(tmp_path_factory, data, keys):
    seen = {}
    rows = []
    for prompt, reward, stopped, valid, text in data:
        seen[prompt] = seen.get(prompt, -1) + 1
        rows.append(answer(prompt, seen[prompt], reward, stopped=stopped, valid=valid, text=text))
    folder = write(tmp_path_factory.mktemp("rollouts") / "zero", {1: rows})
    for load, of_each in ((stored.load_answers, 1), (lambda s: stored.load_pairs(s, seed=0), 2)):
        try:
            found = load(f"{folder}{keys}")
        except DataError:
            continue
        assert found.rows == len(rows) == of_each * len(found.kept) + sum(found.dropped.values())
        if of_each == 2:
            used = [one.id for p in found.kept for one in (p.chosen, p.rejected)]
            assert len(set(used)) == len(used)
            assert all(p.chosen.reward > p.rejected.reward for p in found.kept)


def test_they_are_dialogues_too(folder):
    found = dialogues.load(f"{folder}?correct=true", split="train", config=DataConfig())
    assert next(one.messages for one in found.dialogues) == (
        ("user", "question a"),
        ("assistant", "answer a 0"),
    )
    assert found.dropped["not_correct"] == 5
    assert "3 dialogues of 12 rows, 0 broken, 1 cut" in found.sentence()
    assert {one.domain for one in found.dialogues} == {"d"}


@pytest.mark.parametrize(
    "keys, said",
    [
        ("correkt=true", "did you mean 'correct'"),
        ("steps=5-2", "write FIRST-LAST"),
        ("steps=x", "write a whole number"),
        ("n=0", "write 1 or more"),
        ("per_problem=-1", "write 1 or more"),
        ("margin=-1", "write 0 or more"),
        ("correct=perhaps", "write true or false"),
    ],
)
def test_keys_that_cannot_be_are_refused(folder, keys, said):
    with pytest.raises(ConfigError, match=said):
        stored.load_pairs(f"{folder}?{keys}", seed=0)


def test_a_step_that_is_not_there_says_which_are(folder):
    with pytest.raises(DataError, match="no step from 7 to 9; it has 1 to 2"):
        stored.load_answers(f"{folder}?steps=7-9")
    with pytest.raises(DataError, match="name the folder of an RL stage"):
        stored.load_answers(str(folder / "rollouts"))
    assert not stored.holds(str(folder.parent / "nothing"))
    assert not stored.holds("openai/gsm8k?name=main")


def test_files_that_do_not_belong_together_are_refused(folder):
    rollouts = folder / "rollouts"
    lines = (rollouts / "step_000001.jsonl").read_text().splitlines(keepends=True)
    swapped = [lines[1], lines[0], *lines[2:]]
    for text, said in (
        ("".join(lines[:3]), "has 3 answers and step_000001.parquet 5"),
        ("".join(swapped), "jsonl:1: ValueError the token ids beside it are of a sample 0"),
        (
            lines[0].replace('"tokens": 12', '"tokens": 11') + "".join(lines[1:]),
            "11 tokens, 12 ids",
        ),
        ('{"prompt_id": "a", "sample": 0}\n' + "".join(lines[1:]), "KeyError"),
        (lines[0].replace(" answer a 0", "\\ud800nswer a 0") + "".join(lines[1:]), "UnicodeEncode"),
    ):
        (rollouts / "step_000001.jsonl").write_text(text)
        with pytest.raises(DataError, match=said):
            stored.load_answers(str(folder))
        assert len(stored.load_answers(f"{folder}?steps=2").kept) == 3  # the way out that it names
    (rollouts / "step_000001.jsonl").write_text("".join(lines))
    (rollouts / "step_000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        stored.load_answers(str(folder))
    (rollouts / "step_000001.parquet").unlink()
    with pytest.raises(DataError, match="is missing; restore both files"):
        stored.load_answers(str(folder))
