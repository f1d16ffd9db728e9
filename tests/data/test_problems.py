"""Problems of a recipe: lists of sources, ids, held-out parts, and what is taken out of training."""

import json
from collections import Counter
from fractions import Fraction

import pytest

from aha.config import DataConfig, resolve, to_toml
from aha.data import problems, sources
from aha.data.order import Order
from aha.errors import ConfigError, DataError

WORDS = "the old clock in the tower of the town strikes once for every full hour of the day"


def write(path, questions, **more):
    path.parent.mkdir(exist_ok=True)
    rows = [{"question": question, "answer": "1", **more} for question in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asked(prefix, n):
    return [f"{prefix} {i}?" for i in range(n)]


def test_one_source_is_as_it_was():
    found = problems.load(DataConfig(train="arithmetic?n=50"))
    alone = sources.load("arithmetic?n=50", split="train", config=DataConfig())
    assert found.train == alone.prompts
    assert found.facts[0] == f"data    {alone.sentence()}"
    assert found.shares.order(found.train, seed=3, phase=8) == Order(50, 3)
    again = problems.load(DataConfig(train="arithmetic?n=50&weight=7"))
    assert again.train == found.train


def test_a_list_of_sources(tmp_path):
    rows = write(tmp_path / "rows.jsonl", asked("Row", 30), domain="d", lang="zh")
    config = DataConfig(train=["arithmetic?n=90&weight=3", f"{rows}?weight=0.5", "countdown?n=20"])
    found = problems.load(config)
    assert len(found.train) == 140
    assert len({prompt.id for prompt in found.train}) == 140
    by = Counter((prompt.source, prompt.kind) for prompt in found.train)
    assert by == {
        ("arithmetic", "math"): 90,
        ("rows.jsonl", "math"): 30,
        ("countdown", "countdown"): 20,
    }
    row = next(prompt for prompt in found.train if prompt.source == "rows.jsonl")
    assert (row.domain, row.lang) == ("d", "zh")
    assert found.shares.weights == (Fraction(3), Fraction(1, 2), Fraction(1))
    said = [line for line in found.facts if "(train)" in line]
    assert [line.split()[:3][-2:] for line in said[:1]] == [["66.7%", "arithmetic?n=90&weight=3"]]
    assert "11.1%" in said[1]
    assert "22.2%" in said[2]
    order = found.shares.order(found.train, seed=0, phase=18)
    indices, _ = order.take(18, 0)
    counted = Counter(found.train[index].source for index in indices)
    assert counted == {"arithmetic": 12, "rows.jsonl": 2, "countdown": 4}


def test_heldout_problems_take_turns(tmp_path):
    config = DataConfig(train=["arithmetic?n=40&weight=3", "countdown?n=40"])
    found = problems.load(config)
    for n in (4, 8, 20):
        assert Counter(p.source for p in found.heldout[:n]) == {
            "arithmetic": 3 * n // 4,
            "countdown": n // 4,
        }
    assert len(found.heldout) == 80
    alone = sources.load("countdown?n=40", split="heldout", config=DataConfig()).prompts
    assert [p for p in found.heldout if p.source == "countdown"] == alone
    named = DataConfig(train="arithmetic?n=9", heldout=["countdown?n=3", "arithmetic?n=3&weight=3"])
    assert Counter(p.source for p in problems.load(named).heldout[:4])["arithmetic"] == 3


def test_sources_without_a_heldout_part_are_said(tmp_path):
    rows = write(tmp_path / "rows.jsonl", asked("Row", 5))
    found = problems.load(DataConfig(train=["arithmetic?n=5", rows]))
    assert {prompt.source for prompt in found.heldout} == {"arithmetic"}
    assert any("none held out" in line and "rows.jsonl" in line for line in found.facts)
    alone = problems.load(DataConfig(train=rows))
    assert alone.heldout == []
    assert "heldout none" in alone.facts[-1]
    with pytest.raises(DataError):
        problems.load(DataConfig(train="arithmetic?n=5", heldout=str(tmp_path / "nothing.jsonl")))


def test_ids_that_meet_get_their_source(tmp_path):
    config = DataConfig(train=["arithmetic?n=20&difficulty=1", "arithmetic?n=20&difficulty=8"])
    ids = [prompt.id for prompt in problems.load(config).train]
    assert len(set(ids)) == 40
    assert ids[20] == f"arithmetic?n=20&difficulty=8:{ids[20].split(':')[-1]}"


@pytest.mark.parametrize(
    "train, said",
    [
        ([], "empty list"),
        (["arithmetic?weight=0", "countdown"], "0.001 to 1000"),
        (["arithmetic?weight=-1", "countdown"], "0.001 to 1000"),
        (["arithmetic?weight=nan", "countdown"], "0.001 to 1000"),
        (["arithmetic?weight=inf", "countdown"], "0.001 to 1000"),
        (["arithmetic?weight=1e999999999", "countdown"], "0.001 to 1000"),
        ("arithmetic?weight=much", "0.001 to 1000"),
        (["arithmetic", "arithmetic?weight=2"], "twice"),
        (["arithmetic?wieght=2", "countdown"], "known keys|did you mean"),
    ],
)
def test_lists_that_are_refused(train, said):
    with pytest.raises(ConfigError, match=said):
        problems.load(DataConfig(train=train))


def test_recipes_take_lists():
    raw = {"zero": {}, "data": {"train": ["arithmetic?weight=3", "countdown"]}}
    recipe = resolve(raw)
    assert recipe.data.train == ["arithmetic?weight=3", "countdown"]
    assert 'train = ["arithmetic?weight=3", "countdown"]' in to_toml(recipe)


def test_training_copies_are_left_out_and_said(tmp_path):
    train = [*asked("Train", 4), "Held 1", f"Tell me: {WORDS}?", "held  2!"]
    write(tmp_path / "d" / "train.jsonl", train)
    write(tmp_path / "d" / "test.jsonl", [*asked("Held", 3), f"Once {WORDS}, is it?"])
    folder = str(tmp_path / "d")
    found = problems.load(DataConfig(train=folder))
    assert [prompt.question for prompt in found.train] == asked("Train", 4)
    assert len(found.heldout) == 4
    line = found.facts[-1]
    assert "3 training questions are also held out, left out: 2 the same question" in line
    assert "1 with 10 words in a row, e.g. train-6 and test-4: 'the old clock" in line
    exact = problems.load(DataConfig(train=folder, overlap_words=0))
    assert len(exact.train) == 5


def test_all_training_questions_held_out(tmp_path):
    write(tmp_path / "d" / "train.jsonl", asked("Same", 3))
    write(tmp_path / "d" / "test.jsonl", asked("Same", 3))
    with pytest.raises(ConfigError, match="every training question is also held out"):
        problems.load(DataConfig(train=str(tmp_path / "d")))


def test_a_source_with_no_question_left(tmp_path):
    found = problems.load(DataConfig(train=["arithmetic?n=5", "countdown?n=5"]))
    short = [prompt for prompt in found.train if prompt.source == "arithmetic"]
    with pytest.raises(DataError, match=r"no question of countdown\?n=5 is left"):
        found.shares.order(short, seed=0, phase=2)


def test_a_source_with_fewer_questions_than_its_share():
    found = problems.load(DataConfig(train=["arithmetic?n=50", "countdown?n=5"]))
    assert found.shares.order(found.train, seed=0, phase=10).n == 55
    with pytest.raises(ConfigError, match=r"has 5 questions, but its share of a phase is 6 of 12"):
        found.shares.order(found.train, seed=0, phase=12)
