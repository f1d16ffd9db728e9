"""A first run as a user meets it: the verdict before, tables and curves after, commands that work."""

import json
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.config import dump_toml
from aha.stages import summary
from aha.stages.run_folder import stored_recipe
from tests.chaos import same
from tests.end_to_end.conftest import Said, events, exact_task, plain, short

Aha = Callable[..., Said]


def small(tmp_path: Path, gold: str = "7") -> list[str]:
    """Two steps on questions with one answer; the tiny model says it one time in ten."""
    task = exact_task(tmp_path / "say", gold)
    return [*task, "zero.steps=2", "zero.group_size=8", "zero.prompts_per_step=2"]


def test_the_run_is_the_same_with_and_without(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    settings = small(tmp_path)
    for name, setting in (("with", "zero.preflight=32"), ("without", "zero.preflight=0")):
        place = f"run_dir={tmp_path / name}"  # the name is in the model cards
        said = aha("run", recipe, *short(*settings, setting, "name=one", place))
        assert said.code == 0, said.text
        assert ("preflight: " in said.out) == (name == "with")
    with_, without = (tmp_path / name / "one" for name in ("with", "without"))
    facts = json.loads((with_ / "zero" / "preflight.json").read_text("utf-8"))
    assert facts["sampled"]["answers"] % 8 == 0
    assert 32 <= facts["sampled"]["answers"] <= 4 * 32
    (with_ / "zero" / "preflight.json").unlink()
    assert same.difference(without, with_) is None


def test_what_cannot_be_learned_stops_and_a_mended_recipe_goes_on(
    aha: Aha, recipe: Path, tmp_path: Path
) -> None:
    """The tiny model says digits; no answer is ever `no`."""
    hopeless = small(tmp_path, "no")
    strict = "zero.preflight_strict=true"
    said = aha("run", recipe, *short(*hopeless, strict, "zero.rewards={accuracy=1.0}"))
    plain(said, 1, "cannot learn: none of 32 answers to 4 questions is right", "preflight_strict")
    run = tmp_path / "runs" / "run"
    stored = json.loads((run / "zero" / "preflight.json").read_text("utf-8"))
    assert stored["verdict"]["state"] == "cannot"
    assert not (run / "zero" / "checkpoints").exists()
    assert len(events(run, "preflight")) == 1
    # the form differs between answers: a run would get better at nothing else
    said = aha("run", recipe, *short(*hopeless, strict))
    plain(said, 1, "it would learn only the form")
    assert len(events(run, "preflight")) == 2  # another recipe: measured anew
    said = aha("run", recipe, *short(*hopeless))  # not strict, else the same: read, not measured
    plain(said, 0, "it would learn only the form", "done. model:")
    assert len(events(run, "preflight")) == 2


def test_the_command_says_the_same(aha: Aha, recipe: Path, tmp_path: Path) -> None:
    words = [word for pair in small(tmp_path, "7") for word in ("--set", pair)]
    said = aha("preflight", recipe, *words, "--json")
    assert said.code == 0, said.text
    facts = json.loads(said.out)
    assert facts["verdict"]["state"] == "can"
    assert facts["gold"] == {"tried": 16, "refused": 0, "first": [], "untried": 0, "kind": ""}
    sampled = facts["sampled"]
    assert sampled["right_low"] <= sampled["right"] / sampled["answers"] <= sampled["right_high"]
    assert not (tmp_path / "runs").exists()
    said = aha("preflight", recipe, *words, "--set", "zero.max_answer_tokens=3")
    plain(said, 1, "preflight: cannot learn", "were cut at the cap of 3 tokens")
    assert all(len(line) <= 80 for line in said.out.splitlines())


def test_a_named_stage_is_looked_at_as_the_first_one(
    aha: Aha, recipe: Path, tmp_path: Path
) -> None:
    words = [word for pair in small(tmp_path, "7") for word in ("--set", pair)]
    first = json.loads(aha("preflight", recipe, *words, "--json").out)
    mine = tmp_path / "mine.toml"
    stage = tomllib.loads(recipe.read_text("utf-8"))["zero"] | {"kind": "rl"}
    judged = {"kind": "rl", "start": "stage:again"}
    more = {"stage": {"again": stage, "last": judged, "asked": {"kind": "sample"}}}
    raw = tomllib.loads(recipe.read_text("utf-8")) | more
    del raw["zero"]
    mine.write_text(dump_toml(raw), "utf-8")
    words = [word.replace("zero.", "stage.again.") for word in words]
    for asked in ([], ["again"]):
        said = aha("preflight", mine, *asked, *words, "--json")
        assert said.code == 0, said.text
        found = json.loads(said.out)
        assert {**found, "sampled_tokens_per_s": 0} == {**first, "sampled_tokens_per_s": 0}
    plain(
        aha("preflight", mine, "last", *words),
        2,
        "last needs the stage again",
        "aha run RECIPE again",
    )
    plain(
        aha("preflight", mine, "asked", *words),
        2,
        "asked is of kind sample",
        "kind rl: again, last",
    )
    plain(aha("preflight", mine, "agian", *words), 2, "did you mean again?")
    plain(aha("preflight", mine, "again", "last", *words), 2, "one stage at a time")


def test_after_the_run(unbroken: Path) -> None:
    found = json.loads((unbroken / "zero" / "summary.json").read_text("utf-8"))
    assert found == json.loads(json.dumps(summary.summary(unbroken)))  # made again from the folder
    assert found["steps"] == [0, 6]
    assert found["problems"] == 6
    result = (unbroken / "zero" / "eval" / "step_000006" / "result.json").read_text("utf-8")
    right = json.loads(result)["numbers"]["pass_at_1"]
    first = found["measures"][0]
    assert (first["name"], first["after"]["value"]) == ("pass@1", right)
    assert found["differ"] == []


def test_tables_and_curves_are_shown_again_after_a_resume(
    aha: Aha, unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "again"
    shutil.copytree(unbroken, run)
    (run / "zero" / "DONE").unlink()
    (run / "zero" / "summary.json").unlink()
    said = aha("resume", run)
    plain(said, 0, "before and after 6 steps: 6 held-out problems x 2 answers", "curves over")
    lines = said.out.splitlines()
    assert any(line.startswith("pass@1, %") for line in lines)
    assert any(line.startswith("reward ") for line in lines)
    assert "preflight" not in said.out
    after = lines[lines.index("curves over the steps") :]
    assert all(line.isascii() and len(line) <= 80 for line in after if str(tmp_path) not in line)
    assert same.difference(unbroken, run) is None


def test_the_next_commands_work(aha: Aha, unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "a run"  # a name that needs quotes
    shutil.copytree(unbroken, run)
    commands = summary.next_commands(run, stored_recipe(run))
    assert [words[0] for _, words in commands] == ["sample", "eval", "run"]
    for _, words in commands:
        pasted = "\n".join(summary.pasteable(words))
        assert shlex.split(pasted.replace("\\\n", " ")) == words
    (_, sample), (_, evaluate), (_, again) = commands
    said = aha(*sample)
    assert said.code == 0, said.text
    assert "answer 1 of 1" in said.out
    assert evaluate[3] == "arithmetic?difficulty=2&lang=en"
    said = aha(*evaluate, "--limit", "4", "--k", "1")
    assert said.code == 0, said.text
    assert "pass@1" in said.out
    assert again[3:] == ["name=run-seed4", "--set", "seed=4"]
    said = aha(*again, "--set", f"run_dir={tmp_path}", *short("zero.steps=1"))
    assert said.code == 0, said.text
    assert (tmp_path / "run-seed4" / "zero" / "DONE").is_file()


@pytest.mark.parametrize(
    "settings, source",
    [
        (["data.train=arithmetic", "data.heldout="], "arithmetic?difficulty=4"),
        (["data.heldout=arithmetic?lang=mix&difficulty=8"], "arithmetic?difficulty=8&lang=mix"),
        (["data.train=countdown?n=3", "data.heldout="], "countdown?n=3"),
        (["data.train=a.jsonl", "data.heldout=b.jsonl"], "b.jsonl"),
    ],
)
def test_what_to_measure_next(
    recipe: Path, tmp_path: Path, settings: list[str], source: str
) -> None:
    from aha import config

    loaded = config.load(recipe, settings)

    def data() -> str:
        words = summary.next_commands(tmp_path, loaded)[1][1]
        return words[words.index("--data") + 1]

    assert data() == "arithmetic"  # nothing was held out: a task always has something
    done = tmp_path / "zero" / "eval" / "step_000000"
    done.mkdir(parents=True)
    (done / "result.json").write_text("{}")
    (done / "samples.jsonl").write_text("")
    assert data() == source


def test_a_long_command_goes_on_after_a_backslash() -> None:
    words = ["aha", "eval", "r" * 60, "--max-tokens", "160", "--data", "x?a=1&b=2", "-p", "it's"]
    lines = summary.pasteable(words)
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].endswith("--max-tokens 160 \\") or lines[1].startswith("      --max-tokens 160")
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == words
