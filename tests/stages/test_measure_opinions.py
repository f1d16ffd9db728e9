"""Open prompts in a run: style without verdicts, a reward model that is waited for, a judge that compares."""

import json
import re
import shutil
from pathlib import Path

import pytest
from judge_server import completion, send, server

from aha import config, files
from aha.errors import ConfigError, RunError
from aha.rewards.judge import Comparison
from aha.rewards.judge_screen import summary
from aha.stages import launch, measure, measure_opinions, measure_table
from tests.chaos.small_run import make_model

MODELS = ("base", "first", "student_base", "student")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two tiny models, dialogues, preferences, and prompts without answers."""
    folder = tmp_path_factory.mktemp("opinions")
    make_model(folder / "model")
    shutil.copytree(folder / "model", folder / "other")
    learned = "<think>a</think><answer>7</answer>"
    dialogues = [{"question": f"What is {i}?", "response": learned} for i in range(8)]
    files.write_jsonl(folder / "d.jsonl", dialogues)
    pairs = [{"prompt": f"Is {i}?", "chosen": "yes", "rejected": "no"} for i in range(8)]
    files.write_jsonl(folder / "pairs.jsonl", pairs)
    asks = [{"prompt": f"Tell me about {what}."} for what in ("rain", "snow", "tea", "cats")]
    files.write_jsonl(folder / "asks.jsonl", asks)
    return folder


def recipe(place, run_dir, **measures):
    """Both stages are measured before the reward model is there."""
    small = {"epochs": 1, "max_tokens": 256, "heldout_share": 0.25}
    stage = {"kind": "sft", "train": str(place / "d.jsonl"), "examples_per_step": 4} | small
    other = {"model": {"path": str(place / "other")}}
    pairs = {"kind": "reward_model", "train": str(place / "pairs.jsonl"), "examples_per_step": 4}
    asked = {
        "heldout": {
            "sums": "arithmetic?difficulty=1&lang=en",
            "zahlen": "arithmetic?difficulty=1&lang=zh",
            "asks": f"{place / 'asks.jsonl'}?kind=open&area=helpful",
        },
        "problems": 4,
        "samples": 2,
        "max_answer_tokens": 12,
        "base": True,
        "reward_model": "stage:helpful",
        "grader_workers": 1,
        "grader_seconds": 30.0,
    }
    return config.resolve(
        {
            "run_dir": str(run_dir),
            "threads": 1,
            "memory_gb": 4,
            "model": {"path": str(place / "model"), "device": "cpu"},
            "data": {"max_prompt_tokens": 256},
            "stage": {"first": stage, "student": stage | other, "helpful": pairs | small},
            "measures": asked | measures,
        }
    )


def run(made, **options):
    root = config_root(made)
    launch.run(made, root, **options)
    return root


def config_root(made):
    return Path(made.run_dir) / made.name


def folder_of(root, name):
    return root / "measures" / name if name.endswith("base") else root / name / "measures"


def measured(root, name):
    return json.loads((folder_of(root, name) / "measures.json").read_text())


def asks(root, name):
    return measured(root, name)["sources"][2]


def everything(root):
    """Bytes of what measuring wrote, but for what differs between identical runs."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for name in MODELS
        for path in sorted(folder_of(root, name).rglob("*"))
        if path.is_file() and path.name not in ("cost.json", "judgements.jsonl")
    }


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    return run(recipe(place, tmp_path_factory.mktemp("whole")))


@pytest.fixture
def again(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs" / "run")
    return tmp_path / "runs"


def table(root, **options):
    said = []
    plain = {"as_json": False, "as_csv": False, "brief": False}
    measure_table.show_runs([root], **plain | options, echo=said.append)
    return "\n".join(said)


def test_an_open_source_has_style_and_opinions_and_no_pass_at_one(whole):
    found = asks(whole, "first")
    assert found["numbers"]["form"]["n"] == 4
    assert {"think_tokens", "refusal_phrases", "reward"} <= found["numbers"].keys()
    assert not {"pass_at_1", "grader_failed", "unparsed"} & found["numbers"].keys()
    assert set(found["compared"]) == {"reward_win_rate"}
    assert "reward" not in measured(whole, "first")["sources"][0]["numbers"]  # no opinion of sums


def test_problems_of_two_sources_with_the_same_ids_are_not_one(whole):
    sums, zahlen = measured(whole, "first")["sources"][:2]
    ids = [
        {row["problem"] for row in files.read_jsonl(folder_of(whole, "first") / name / "samples.jsonl")}
        for name in ("sums", "zahlen")
    ]  # fmt: skip
    assert ids[0] & ids[1]  # else this test shows nothing
    both = measured(whole, "first")["all"]
    assert both["numbers"]["pass_at_1"]["n"] == 8
    assert both["numbers"]["cons_at_k"]["k"] == both["numbers"]["pass_at_k"]["k"] == 2
    right = [one["numbers"]["pass_at_k"]["value"] for one in (sums, zahlen)]
    assert both["numbers"]["pass_at_k"]["value"] == pytest.approx(sum(right) / 2)
    assert both["compared"]["gain"]["n"] == 8


def test_scores_are_those_of_the_model_that_came_later(whole):
    from aha.models.reward_model import RewardModel

    model, scores = RewardModel.load(whole / "helpful"), {}
    for name in ("base", "first"):
        rows = files.read_jsonl(folder_of(whole, name) / "asks" / "samples.jsonl")
        pairs = [(row["question"], row["prefill"] + row["response"]) for row in rows]
        scores[name] = model.score(pairs)
        said = json.loads((folder_of(whole, name) / "asks" / "rewarded.json").read_text())
        assert [one["score"] for one in said["opinions"]] == pytest.approx(scores[name], rel=1e-5)
        known = [score for score in scores[name] if score is not None]
        assert asks(whole, name)["numbers"]["reward"]["value"] == pytest.approx(
            sum(known) / len(known), rel=1e-5
        )
    lowest = float("-inf")
    sides = zip(*([lowest if s is None else s for s in scores[n]] for n in scores), strict=True)
    wins = [(after > before) + 0.5 * (after == before) for before, after in sides]
    found = asks(whole, "first")["compared"]["reward_win_rate"]
    assert found["value"] == pytest.approx(sum(wins) / len(wins))


def test_a_student_stands_beside_its_own_base(whole):
    head, *lines = table(whole).splitlines()
    assert head.split()[-4:] == list(MODELS)
    assert "compared: first against base, student against student_base" in lines
    shown = {line.split("  ")[0] for line in lines}
    assert {"asks: win rate by the reward model, %", "asks: readable, %"} <= shown
    page = (whole / "report.html").read_text("utf-8")
    assert "student_base" in page
    # the two models are copies of each other
    same = [folder_of(whole, name) / "sums" / "samples.jsonl" for name in ("base", "student_base")]
    assert same[0].read_bytes() == same[1].read_bytes()


def test_until_the_reward_model_is_there_the_column_says_so(place, whole, tmp_path, monkeypatch):
    made = recipe(place, tmp_path)
    root = run(made, stage=["student"])
    assert measured(root, "student")["waiting"] == {"reward_model": "stage helpful is not done"}
    assert not (folder_of(root, "first") / "DONE").exists()  # it was not asked for
    said = " ".join(table(root).split())
    assert "asks: score of the reward model waits waits" in said
    assert "student waits for the opinion of the reward_model: stage helpful is not done" in said
    asked = []
    ask = measure._ask
    monkeypatch.setattr(
        measure, "_ask", lambda m, s, names: (asked.append(s.name), ask(m, s, names))
    )
    run(made)
    assert asked == ["first"]  # the stored answers of the others are scored
    assert everything(root) == everything(whole)


def test_killed_while_scoring_it_goes_on_to_the_same_bytes(place, whole, again, monkeypatch):
    for path in again.rglob("rewarded.json"):
        path.unlink()
    for name in MODELS:
        (folder_of(again / "run", name) / "DONE").unlink()
    store, stored = measure_opinions._store, []

    def stops(path, mark, found):
        if len(stored) == 2:
            raise KeyboardInterrupt
        stored.append(path)
        store(path, mark, found)

    monkeypatch.setattr(measure_opinions, "_store", stops)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(place, again))
    monkeypatch.setattr(measure_opinions, "_store", store)
    monkeypatch.setattr(measure, "_ask", None)  # no answer is asked for again
    assert everything(run(recipe(place, again))) == everything(whole)


# -- the judge ---------------------------------------------------------------------------------------------


def longer(handler, number, body):
    """Prefers the longer of two answers, wherever it stands."""
    text = body["messages"][1]["content"]
    a, b = (re.search(f"answer {n} begins ---\n(.*?)\n---", text, re.S)[1] for n in "AB")
    mark = "A=B" if len(a) == len(b) else "A>B" if len(a) > len(b) else "B>A"
    send(handler, 200, json.dumps(completion(f"[[{mark}]]")).encode())


def verdicts(root):
    """(model, key of the asking) of what the judge said."""
    return {
        (name, row["key"])
        for name in ("first", "student")
        for path in (folder_of(root, name) / "asks").glob("judgements.jsonl")
        for row in files.read_jsonl(path)
    }


def test_a_judge_compares_with_the_model_before_and_is_asked_once(place, again, monkeypatch):
    """The first time it breaks off; what it said is kept, and the column lacks its word only."""
    monkeypatch.setattr(measure, "_ask", None)
    broken = [True]

    def answers(handler, number, body):
        if broken[0] and number >= 3:
            send(handler, 400, b"{}")
        else:
            longer(handler, number, body)

    with server(answers) as (url, seen):
        judge = {"url": url, "model": "m", "seconds": 20.0, "parallel": 1}
        made = recipe(place, again, reward_model="", judge=judge)
        with pytest.raises(RunError, match="first: no opinion of the judge: the judge did not"):
            run(made)
        root = config_root(made)
        assert asks(root, "first")["numbers"]["form"]["n"] == 4
        assert "did not answer" in measured(root, "first")["waiting"]["judge"]
        assert not (folder_of(root, "first") / "DONE").exists()
        kept = verdicts(root)
        assert len(kept) == 3  # those before it broke off
        broken[0] = False
        at = len(seen)
        run(made)
        done = len(seen)
        assert verdicts(root) >= kept
        assert done - at == len(verdicts(root) - kept) > 0  # each is asked for once
        run(made)
        assert len(seen) == done  # what is stored is not asked again
    assert measured(root, "first")["waiting"] == {}
    rows = {
        name: files.read_jsonl(folder_of(root, name) / "asks" / "samples.jsonl")
        for name in ("base", "first")
    }
    lengths = [
        [len(summary(row["prefill"] + row["response"]) or "") for row in rows[name]]
        for name in ("first", "base")
    ]
    wins = [(a > b) + 0.5 * (a == b) for a, b in zip(*lengths, strict=True)]
    found = asks(root, "first")["compared"]
    assert found["judge_win_rate"]["value"] == pytest.approx(sum(wins) / len(wins))
    assert found["judge_failed"]["value"] == 0.0
    assert "judge_win_rate" not in asks(root, "base")["compared"]


# -- what cannot be meant ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measures", "why"),
    [
        ({"reward_model": "stage:first"}, r"no stage 'first' that makes such .*there is: helpful"),
        ({"reward_model": "", "judge": {"path": "stage:helpful"}}, r"measures.judge.path=.*first"),
        ({"opinions_on": ["sums"]}, "'sums' has no open prompt"),
        ({"heldout": {"sums": "arithmetic"}}, "no source of measures.heldout has any"),
    ],
)
def test_it_is_refused_before_any_stage(place, tmp_path, measures, why):
    made = recipe(place, tmp_path, **measures)
    with pytest.raises(ConfigError, match=why):
        run(made)
    assert not (config_root(made) / "first").exists()


@pytest.mark.parametrize(
    ("measures", "why"),
    [
        ({"opinions_on": ["other"]}, "names 'other', which is no source"),
        ({"opinions_on": ["asks"], "reward_model": ""}, "name a reward_model or a judge"),
    ],
)
def test_sources_of_opinions_are_sources(place, tmp_path, measures, why):
    with pytest.raises(ConfigError, match=why):
        recipe(place, tmp_path, **measures)


def test_silence_ends_it_at_once_and_what_does_not_fit_is_none():
    def told(status, reason, count):
        one = Comparison(status=status, score=None, consistent=None, opinions=(), reason=reason)
        return [one] * count

    measure_opinions._refuse_silent(told("error", "too_long: 5 tokens", 64), 64)
    measure_opinions._refuse_silent(told("timeout", "no reply", 50), 1000)
    with pytest.raises(RunError, match=r"about 51 of 51 pairs \(of 1000; first: no reply\)"):
        measure_opinions._refuse_silent(told("timeout", "no reply", 51), 1000)
