"""What a supervised stage reads: no question on both sides, nothing held out learned, lengths that fit."""

import json
import shutil

import pytest

from aha import config
from aha.data import templates
from aha.errors import ConfigError, DataError
from aha.models import load as models
from aha.models.locate import locate
from aha.stages import launch, sft

PIPES = "A pipe fills one third of a large tank in two hours and forty minutes. How long for all?"
SOLVED = (
    "One third takes 160 minutes, so the whole of that tank needs three times as much, eight hours."
)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def answers(question, count, **more):
    return [{"question": question, "response": f"Way {n}: so.", **more} for n in range(count)]


def read(train, *, data=None, **sft_keys):
    raw = {"data": {"overlap_words": 0} | (data or {}), "sft": {"train": train} | sft_keys}
    made = config.resolve(raw)
    return sft.read_data(made, made.sft)


def asked(some):
    return {one.asked for one in some}


def test_other_answers_to_a_held_out_question_are_not_learned(tmp_path):
    rows = [row for n in range(100) for row in answers(f"Question {n}?", 4)]
    found = read(write(tmp_path / "d.jsonl", rows), heldout_share=0.1)
    assert (len(found.learned), len(found.heldout)) == (360, 40)
    assert len(asked(found.heldout)) == 10
    assert not asked(found.learned) & asked(found.heldout)
    again = read(write(tmp_path / "d.jsonl", rows), heldout_share=0.1)
    assert again.heldout == found.heldout


def test_a_question_in_another_dress_is_the_same_one(tmp_path):
    """Case, space and a system message make no other question: these are one, so none can be held out."""
    rows = [
        {"question": "What is 2 + 3?", "response": "5"},
        {"question": "what is  2 + 3", "response": "Five.", "system": "Be brief."},
        {"question": "WHAT IS 2 + 3 ?", "response": "It is 5."},
    ]
    found = read(write(tmp_path / "d.jsonl", rows), heldout_share=0.5)
    assert (len(found.learned), len(found.heldout)) == (3, 0)
    assert found.doubts[-1] == "nothing is held out: all 3 dialogues begin with one question"


def test_too_many_answers_to_each_question_are_said(tmp_path):
    """Two of 100 are to be set aside, and every question has four: no part of a question is."""
    rows = [row for n in range(25) for row in answers(f"Question {n}?", 4)]
    found = read(write(tmp_path / "d.jsonl", rows))
    assert (len(found.learned), len(found.heldout)) == (100, 0)
    assert "100 dialogues begin with 25 questions" in found.doubts[-1]


def test_questions_of_signs_alone_are_told_apart(tmp_path):
    rows = [{"question": sign, "response": "r"} for sign in ("?", "!", "...", "?!")]
    found = read(write(tmp_path / "d.jsonl", rows), heldout_share=0.5)
    assert (len(found.learned), len(found.heldout)) == (2, 2)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_data_are_learned(tmp_path, count):
    rows = [{"question": f"q {n}", "response": "r"} for n in range(count)]
    found = read(write(tmp_path / "d.jsonl", rows))
    assert (len(found.learned), len(found.heldout), found.doubts[1:]) == (count, 0, [])


def test_named_held_out_dialogues_take_their_questions_along(tmp_path):
    """Not the messages as they are: another system message, and another answer, give nothing new."""
    rows = [*answers("What is 2?", 2, system="S"), *answers("What is 3?", 2)]
    held = write(tmp_path / "h.jsonl", answers("what is 2", 1))
    found = read(write(tmp_path / "d.jsonl", rows), heldout=held)
    assert asked(found.learned) == {("what is 3",)}
    assert (len(found.heldout), found.shared) == (1, 2)


def test_what_came_before_a_last_turn_counts_where_it_is_learned(tmp_path):
    turns = [("user", "a"), ("assistant", "first"), ("user", "b"), ("assistant", "second")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    train = write(tmp_path / "d.jsonl", [row, *answers("c", 1)])
    held = write(tmp_path / "h.jsonl", answers("A", 1))
    assert len(read(train, heldout=held).learned) == 2  # only the answer to "a, b" is learned
    assert len(read(train, heldout=held, turns="all").learned) == 1


# -- held-out problems ------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path):
    return write(
        tmp_path / "held.jsonl", [{"id": "h7", "question": PIPES, "answer": f"{SOLVED} #### 8"}]
    )


def dialogues(tmp_path):
    return write(
        tmp_path / "d.jsonl",
        [
            {"id": "same", "question": PIPES.upper(), "response": "<think>\nx\n</think>\n\n8"},
            {"id": "part", "question": f"Now: {PIPES[:60]} what then?", "response": "r"},
            {"id": "said", "question": "Tanks?", "response": f"<think>\n{SOLVED}\n</think>\n\n8"},
            {"id": "free", "question": "How long is a day?", "response": "24 hours."},
        ],
    )


def test_what_is_held_out_is_not_learned_from_a_file(tmp_path, held):
    found = read(dialogues(tmp_path), data={"heldout": held, "overlap_words": 10})
    assert [one.id for one in found.learned] == ["free"]
    said = found.contaminated
    assert (said["problems"], said["words"], said["dropped"]) == (1, 10, 3)
    assert said["why"] == {"ngram": 2, "same": 1}
    assert [(one["id"], one["heldout"]) for one in said["first"]] == [
        ("same", "h7"), ("part", "h7"), ("said", "h7"),
    ]  # fmt: skip
    assert "3 dialogues left out, 1 ask the same, 2 share 10 words in a row" in found.lines[-1]
    assert str(tmp_path) not in json.dumps(said)


def test_the_check_can_be_off_or_impossible_and_says_so(tmp_path, held):
    off = read(dialogues(tmp_path), data={"heldout": held, "overlap_words": 0})
    assert (len(off.learned), off.contaminated) == (4, {"not_checked": "data.overlap_words = 0"})
    alone = {"train": held, "overlap_words": 10}  # one file has no held-out part
    none = read(dialogues(tmp_path), data=alone)
    assert none.contaminated == {"not_checked": "[data] has no held-out problems"}
    gone = read(
        dialogues(tmp_path), data={"heldout": str(tmp_path / "no.jsonl"), "overlap_words": 10}
    )
    assert gone.contaminated == {"not_checked": "the held-out problems of [data] cannot be read"}
    assert "no data at" in gone.doubts[0]  # it was named: the user does not expect this
    assert (len(none.learned), len(gone.learned)) == (4, 4)


def test_shares_are_those_of_what_may_be_learned(tmp_path, held):
    """3 to 1 of what is left: what is held out takes no place in the mixture."""
    reasoning = write(tmp_path / "a.jsonl", [*answers(PIPES, 9), *_different("a", 9)])
    talk = write(tmp_path / "b.jsonl", _different("b", 9))
    found = read(
        [f"{reasoning}?weight=3", f"{talk}?weight=1"],
        data={"heldout": held, "overlap_words": 10},
        heldout_share=0,
    )
    assert (len(found.learned), found.contaminated["dropped"]) == (12, 9)
    assert found.sources["a.jsonl"]["there"] == 9


def _different(name, count):
    return [{"question": f"{name} {n}?", "response": f"{name} {n}."} for n in range(count)]


def test_nothing_but_held_out_problems_is_an_error(tmp_path, held):
    train = write(tmp_path / "d.jsonl", answers(PIPES, 2))
    with pytest.raises(DataError, match=r"all of its 2 dialogues share .* h7: .*overlap_words = 0"):
        read(train, data={"heldout": held, "overlap_words": 10})


# -- positions --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The shipped base, with 64 positions and a tokenizer without a chat template."""
    folder = tmp_path_factory.mktemp("models") / "short"
    shutil.copytree(locate("aha:base"), folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"max_position_embeddings": 64}))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    kept = json.loads((folder / "tokenizer_config.json").read_text())
    kept.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    return folder


def recipe(folder, short, *, model=None, data=None, **sft_keys):
    rows = [
        {"question": f"What is {n} + 2?", "response": f"<think>\n{n} + 2\n</think>\n\n{n + 2}"}
        for n in range(16)
    ]
    raw = {
        "run_dir": str(folder),
        "threads": 1,
        "memory_gb": 4,
        "model": {"path": str(short)} | (model or {}),
        "data": {"template": "chat", "answer_tag": "", "chat_template": "plain"} | (data or {}),
        "sft": {
            "train": write(folder / "d.jsonl", rows),
            "examples_per_step": 8,
            "epochs": 1,
            "max_tokens": 128,
            "heldout_share": 0.1,
        }
        | sft_keys,
    }
    return config.resolve(raw)


def test_longer_dialogues_than_positions_are_refused(tmp_path, short):
    made = recipe(tmp_path, short)
    with pytest.raises(ConfigError, match=r"sft\.max_tokens=128 tokens, but .* has 64 positions"):
        launch.run(made, tmp_path / "run")
    assert not (tmp_path / "run" / "sft" / "resolved.json").exists()


def test_other_stages_are_refused_by_what_bounds_them(tmp_path, short):
    shared = {"run_dir": str(tmp_path), "model": {"path": str(short)}}
    raw = shared | {"data": {"max_prompt_tokens": 40}, "zero": {"max_answer_tokens": 30}}
    said = r"data\.max_prompt_tokens=40 \+ zero\.max_answer_tokens=30 = 70 tokens, but .* has 64"
    with pytest.raises(ConfigError, match=said):
        launch.run(config.resolve(raw), tmp_path / "run")
    sampling = {"kind": "sample", "max_answer_tokens": 25}
    raw = shared | {"data": {"max_prompt_tokens": 40}, "stage": {"ask": sampling}}
    with pytest.raises(ConfigError, match=r"stage\.ask\.max_answer_tokens=25 = 65 tokens"):
        launch.run(config.resolve(raw), tmp_path / "other")


def test_a_later_stage_is_refused_before_the_first_begins(tmp_path, short):
    made = recipe(tmp_path, short, max_tokens=64)
    later = {"kind": "sft", "train": made.sft.train, "max_tokens": 65}
    made = config.resolve(made.model_dump(exclude_none=True) | {"stage": {"later": later}})
    with pytest.raises(ConfigError, match=r"stage later: stage\.later\.max_tokens=65 .* has 64"):
        launch.run(made, tmp_path / "run")
    assert not (tmp_path / "run" / "sft").exists()


def test_a_student_without_template_and_positions_gets_both(tmp_path, short):
    """Trained with a template of ours and more positions, it is asked without either key."""
    made = recipe(tmp_path, short, model={"max_positions": 256, "rope_theta": 50000.0})
    launch.run(made, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "sft" / "data.json").read_text())
    assert (facts["learned"], facts["heldout"], facts["shared"]) == (15, 1, 0)
    assert facts["contaminated"]["dropped"] == 0
    folder = tmp_path / "run" / "sft"
    loaded = models.load(locate(str(folder)), config.ModelConfig(path=str(folder)))
    described = loaded.policy.model.config
    assert described.max_position_embeddings == 256
    assert described.rope_parameters["rope_theta"] == 50000.0
    asked_with = config.DataConfig(template="chat", answer_tag="")
    template = templates.load_template(asked_with, loaded.tokenizer, generation_eos=loaded.eos_ids)
    before, answer = templates.example(
        template, [("user", "What is 3 + 2?")], "<think>\n3 + 2\n</think>\n\n5"
    )
    text = loaded.tokenizer.decode(before)
    assert text.endswith("User: What is 3 + 2?\n\nAssistant:")
    assert answer[-1] == loaded.tokenizer.eos_token_id
    with pytest.raises(ConfigError, match=r"data\.chat_template=plain"):
        templates.load_template(asked_with, models.load(short, config.ModelConfig()).tokenizer)
