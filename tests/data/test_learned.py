"""Several sources into one supervised stage: weights, what is said, what cannot be."""

import json

import pytest

from aha.config import DataConfig
from aha.data import learned
from aha.data.overlap import Index
from aha.errors import ConfigError, DataError
from aha.records import Prompt

CONFIG = DataConfig(template="chat")


def file(path, count, word, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"question": f"{word} {i}?", "response": f"{word} {i}.", **more} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sources(tmp_path):
    return (
        file(tmp_path / "rejection" / "dialogues.jsonl", 40, "sum", area="math"),
        file(tmp_path / "talk" / "dialogues.jsonl", 10, "tea", area="general"),
    )


def test_weights_are_shares_of_the_dialogues(sources):
    """3 to 1 as in the paper: 10 of the scarcer source allow 30 of the other."""
    reasoning, talk = sources
    made = learned.load([f"{reasoning}?weight=3", f"{talk}?weight=1"], config=CONFIG, seed=0)
    assert len(made.dialogues) == 40
    assert sum(one.area == "math" for one in made.dialogues) == 30
    assert {name: said["taken"] for name, said in made.sources.items()} == {
        "rejection/dialogues.jsonl": 30,
        "talk/dialogues.jsonl": 10,
    }
    assert made.lines()[1] == (
        "talk/dialogues.jsonl: 10 of 10 dialogues, 25.0%; 4 more would let all be used"
    )
    other = learned.load([f"{reasoning}?weight=3", talk], config=CONFIG, seed=1)
    assert len(other.dialogues) == 40  # a source without a weight has 1
    assert [one.id for one in other.dialogues] != [one.id for one in made.dialogues]


def test_without_weights_everything_is_taken_in_order(sources):
    made = learned.load(list(sources), config=CONFIG, seed=0)
    assert len(made.dialogues) == 50
    assert [one.area for one in made.dialogues] == ["math"] * 40 + ["general"] * 10
    assert made.sources["talk/dialogues.jsonl"]["share"] == 0.2


def test_one_source_needs_no_lines(sources):
    made = learned.load(sources[0], config=CONFIG, seed=0)
    assert (len(made.dialogues), made.lines()) == (40, [])


def test_facts_are_the_same_wherever_the_run_lies(sources, tmp_path):
    moved = tmp_path / "moved"
    (tmp_path / "rejection").rename(moved)
    before = learned.load([sources[1]], config=CONFIG, seed=0).sources
    (tmp_path / "talk").rename(moved / "talk")
    after = learned.load([str(moved / "talk" / "dialogues.jsonl")], config=CONFIG, seed=0).sources
    assert before == after


def test_files_of_one_name_are_told_apart(tmp_path):
    one, two = (file(tmp_path / name / "style.jsonl", 2, name) for name in ("a", "b"))
    made = learned.load([one, two], config=CONFIG, seed=0)
    assert list(made.sources) == ["style.jsonl (1)", "style.jsonl (2)"]


def test_what_cannot_be(sources):
    with pytest.raises(ConfigError, match=r"names .* twice"):
        learned.load([sources[0], f"{sources[0]}?weight=2"], config=CONFIG, seed=0)
    with pytest.raises(ConfigError, match="empty list"):
        learned.load([], config=CONFIG, seed=0)
    same = [f"{sources[0]}?weight=1", f"{sources[0]}?weight=1&domain=area"]
    with pytest.raises(DataError, match="no dialogue that an earlier source has not"):
        learned.load(same, config=CONFIG, seed=0)


def test_what_shares_text_with_a_held_out_problem_is_left_out(sources):
    """Here a whole question; every turn but a system message is looked at."""
    held = [Prompt(id="h", question="sum 3", gold="3"), Prompt(id="g", question="tea 4", gold="4")]
    index = Index(held, 10, solutions=True)
    made = learned.load(list(sources), config=CONFIG, seed=0, index=index)
    assert len(made.dialogues) == 48
    assert [(name, hit[:2]) for name, hit in made.contaminated] == [
        ("dialogues-4", (0, "same")), ("dialogues-5", (1, "same")),
    ]  # fmt: skip
    assert {name: said["there"] for name, said in made.sources.items()} == {
        "rejection/dialogues.jsonl": 39,
        "talk/dialogues.jsonl": 9,
    }


def test_why_nothing_is_checked():
    off = learned.held_out(DataConfig(overlap_words=0))
    assert off.facts([]) == {"not_checked": "data.overlap_words = 0"}
    assert off.line([]) == "not checked against held-out problems: data.overlap_words = 0"
    on = learned.held_out(DataConfig(train="arithmetic", heldout="arithmetic?n=5"))
    assert on.facts([]) == {"problems": 5, "words": 10, "dropped": 0, "why": {}, "first": []}
    assert on.line([]).endswith("5 held-out problems: no dialogue shares text with one")


def test_what_is_taken_of_a_run_does_not_depend_on_how_its_folder_is_written(tmp_path, monkeypatch):
    """`stage:zero` is the folder RUN/zero: "demo/zero" from beside it, with its whole path after a resume."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo" / "zero").mkdir(parents=True)
    assert (
        learned._names(["demo/zero"])
        == learned._names([str(tmp_path / "demo" / "zero")])
        == ["zero"]
    )
