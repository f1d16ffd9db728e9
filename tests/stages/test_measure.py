"""Measures of a run of two stages: made after each, the same after a kill, never a reason to run again."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from aha import config, files
from aha.errors import ConfigError, RunError
from aha.evals import run as evals
from aha.stages import dag, launch, measure, measure_table
from tests.chaos.small_run import make_model

MADE = ("first/measures", "second/measures", "measures/base")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model, and dialogues that teach it the answer 7."""
    folder = tmp_path_factory.mktemp("measures")
    make_model(folder / "model")
    rows = [
        {
            "id": f"d{i}",
            "question": f"What is {i}?",
            "response": "<think>a</think><answer>7</answer>",
        }
        for i in range(16)
    ]
    files.write_jsonl(folder / "d.jsonl", rows)
    return folder


def recipe(place, run_dir, **measures):
    stage = {
        "kind": "sft",
        "train": str(place / "d.jsonl"),
        "examples_per_step": 8,
        "epochs": 3,
        "max_tokens": 256,
        "heldout_share": 0,
        "optim": {"lr": 0.005},
    }
    asked = {
        "heldout": {"sums": "arithmetic?difficulty=1&lang=mix", "talk": "talk?lang=mix"},
        "problems": 10,
        "samples": 3,
        "max_answer_tokens": 12,
        "base": True,
        "grader_workers": 1,
        "grader_seconds": 30.0,
    }
    return config.resolve(
        {
            "run_dir": str(run_dir),
            "threads": 1,
            "memory_gb": 4,
            "model": {"path": str(place / "model")},
            "data": {"max_prompt_tokens": 256},
            "stage": {"first": stage, "second": stage | {"start": "stage:first", "epochs": 1}},
            "measures": asked | measures,
        }
    )


def run(made):
    root = Path(made.run_dir) / made.name
    launch.run(made, root)
    return root


def measured(root, folder):
    return json.loads((root / folder / "measures.json").read_text())


def everything(root):
    """Bytes of all that measuring wrote, but for the time that it took."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in MADE
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and path.name != "cost.json"
    }


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    return run(recipe(place, tmp_path_factory.mktemp("whole")))


@pytest.fixture
def again(whole, tmp_path):
    """A copy of the finished run that a test may change."""
    shutil.copytree(whole, tmp_path / "runs" / "run")
    return tmp_path / "runs"


def test_every_model_is_measured_and_compared_with_the_one_before(whole):
    against = {folder: measured(whole, folder)["against"] for folder in MADE}
    assert against == {"measures/base": "", "first/measures": "base", "second/measures": "first"}
    found = measured(whole, "second/measures")
    sums, talk = found["sources"]
    assert (sums["name"], talk["name"]) == ("sums", "talk")
    assert sums["numbers"]["pass_at_1"]["n"] == 10
    assert sums["numbers"]["cons_at_k"]["k"] == 3
    assert set(sums["lang"]) == {"zh", "other"}  # `8 + 8 = ?` is in no language
    assert sums["numbers"]["form"]["value"] == 1.0  # the dialogues have it, as the base has
    assert {"helpful", "over_refusal"} <= set(talk["numbers"])
    assert "pass_at_1" not in talk["numbers"]
    assert {"win_rate"} == set(talk["compared"])
    assert found["all"]["numbers"] == sums["numbers"]  # conversation has no right answer to pool


def test_numbers_are_those_of_the_answers(whole):
    """Counted by hand from the samples."""
    for folder in MADE:
        samples = files.read_jsonl(whole / folder / "sums" / "samples.jsonl")
        assert len(samples) == 30
        numbers = measured(whole, folder)["sources"][0]["numbers"]
        right = sum(row["status"] == "correct" for row in samples)
        assert numbers["pass_at_1"]["value"] == pytest.approx(right / 30)
        assert numbers["tokens"]["value"] == pytest.approx(sum(r["tokens"] for r in samples) / 30)
        assert numbers["cut"]["value"] == sum(r["stopped"] == "length" for r in samples) / 30
        answers = files.read_jsonl(whole / folder / "sums" / "answers.jsonl")
        for row, one in zip(samples, answers, strict=True):
            assert one["correct"] == (row["status"] == "correct")
            assert one["think_tokens"] + one["summary_tokens"] <= one["tokens"]


def test_the_stage_that_learned_sevens_says_them(whole):
    """Measures are of the stage's own model, not of where it began."""
    votes = {
        folder: [a["vote"] for a in files.read_jsonl(whole / folder / "sums" / "answers.jsonl")]
        for folder in MADE
    }
    assert votes["second/measures"].count("7") > votes["measures/base"].count("7") + 5


@pytest.mark.parametrize("kill", [1, 4])
def test_killed_while_measuring_it_goes_on_to_the_same_bytes(
    place, whole, again, monkeypatch, kill
):
    """At the first and the last block of answers; two models are to be measured."""
    for folder in MADE[1:]:
        shutil.rmtree(again / "run" / folder)
    append, blocks = evals._append, []

    def stops(*arguments):
        append(*arguments)
        blocks.append(1)
        if len(blocks) == kill:
            raise KeyboardInterrupt

    made = recipe(place, again)
    monkeypatch.setattr(evals, "_append", stops)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    monkeypatch.setattr(evals, "_append", append)
    assert everything(again / "run") != everything(whole)
    assert everything(run(made)) == everything(whole)


@pytest.mark.parametrize("name", ["asked.json", "measures.json"])
def test_killed_before_a_file_is_written(place, whole, again, monkeypatch, name):
    shutil.rmtree(again / "run" / "second" / "measures")
    write = files.write_text

    def stops(path, text):
        if path.name == name:
            raise KeyboardInterrupt
        write(path, text)

    made = recipe(place, again)
    monkeypatch.setattr(files, "write_text", stops)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    monkeypatch.setattr(files, "write_text", write)
    assert everything(run(made)) == everything(whole)


def test_what_is_measured_is_not_measured_again(place, whole, again, monkeypatch):
    monkeypatch.setattr(measure, "_ask", None)
    monkeypatch.setattr(measure, "_numbers", None)
    assert everything(run(recipe(place, again))) == everything(whole)


def test_other_settings_measure_again_and_run_no_stage(place, whole, again, monkeypatch):
    stage = (again / "run" / "first" / "DONE").read_bytes()
    monkeypatch.setattr(launch, "_start", None)
    made = recipe(place, again, samples=2)
    root = run(made)
    assert measured(root, "second/measures")["sources"][0]["numbers"]["cons_at_k"]["k"] == 2
    assert (root / "first" / "DONE").read_bytes() == stage
    old, new = (files.read_jsonl(r / "first/measures/sums/samples.jsonl") for r in (whole, root))
    assert new == [row for row in old if row["sample"] < 2]  # counted random numbers


def test_a_source_more_leaves_the_others_alone(place, whole, again, monkeypatch):
    made = recipe(place, again)
    heldout = made.measures.heldout | {"more": "arithmetic?difficulty=2"}
    made = recipe(place, again, heldout=heldout)
    asked = []
    ask = measure._ask
    monkeypatch.setattr(
        measure, "_ask", lambda m, s, names: (asked.append(names), ask(m, s, names))
    )
    root = run(made)
    assert asked == [["more"]] * 3
    assert [one["name"] for one in measured(root, MADE[0])["sources"]] == ["sums", "talk", "more"]
    kept = "first/measures/sums/samples.jsonl"
    assert (root / kept).read_bytes() == (whole / kept).read_bytes()


def test_a_measure_that_fails_loses_no_stage(place, again, monkeypatch, capsys):
    for name in ("second", "first/measures", "second/measures"):
        shutil.rmtree(again / "run" / name, ignore_errors=True)
    ask = measure._ask

    def fails(measuring, subject, names):
        if subject.name == "first":
            raise ValueError("no room")
        ask(measuring, subject, names)

    made = recipe(place, again)
    monkeypatch.setattr(measure, "_ask", fails)
    with pytest.raises(RunError, match=r"not measured: first: no room\. The stages themselves"):
        run(made)
    root = again / "run"
    assert (root / "second" / "DONE").is_file()
    assert measured(root, "second/measures")["against"] == ""  # nothing to be compared with yet
    assert not (root / "first" / "measures" / "DONE").exists()
    monkeypatch.setattr(measure, "_ask", ask)
    run(made)
    assert measured(root, "second/measures")["against"] == "first"
    assert "what each stage did" in capsys.readouterr().out


def test_one_branch_is_measured_alone(place, tmp_path):
    made = recipe(place, tmp_path, base=False, stages=["first"])
    root = run(made)
    assert (root / "first" / "measures" / "DONE").is_file()
    assert not (root / "second" / "measures").exists()
    assert not (root / "measures").exists()


def test_without_a_table_nothing_is_measured(place, tmp_path, capsys):
    raw = recipe(place, tmp_path).model_dump()
    raw["measures"] = None
    raw["stage"].pop("second")
    root = run(config.resolve(raw))
    assert not list(root.rglob("measures"))
    assert "what each stage did" not in capsys.readouterr().out
    with pytest.raises(RunError, match=r"nothing is measured in .*add a \[measures\] table"):
        table(root)


def test_a_stage_without_a_model_that_writes_is_refused(place, tmp_path):
    with pytest.raises(ConfigError, match=r"names 'third'.*\(there is: first, second\)"):
        measure.subjects(recipe(place, tmp_path, stages=["third"]))


def test_a_stage_is_not_called_as_the_base_is(place, tmp_path):
    raw = recipe(place, tmp_path).model_dump()
    raw["stage"]["base"] = raw["stage"].pop("second")
    with pytest.raises(ConfigError, match="a stage is called 'base'"):
        measure.subjects(config.resolve(raw))


def student(place, run_dir, **stages):
    """A recipe with a stage that starts from a model of its own."""
    raw = recipe(place, run_dir).model_dump()
    first = raw["stage"]["first"]
    alone = first | {"start": "", "model": {"path": "small"}}
    raw["stage"] |= {"student": alone} | {name: first | more for name, more in stages.items()}
    return config.resolve(raw)


def test_a_student_is_compared_with_the_student_before_it_learned(place, tmp_path):
    """However near a stage of another model is through the data; and not with the recipe's base."""
    taught = student(place, tmp_path, more={"start": "stage:student"}, twin={"start": "small"})
    before = {one.name: one.before for one in measure.subjects(taught)}
    assert before == {
        "base": "",
        "first": "base",
        "second": "first",
        "student_base": "",  # named after the first that starts from it
        "student": "student_base",
        "more": "student",
        "twin": "student_base",
    }
    one = next(one for one in measure.subjects(taught) if one.name == "student_base")
    assert (one.model, one.after) == ("small", "student")
    assert one.folder.as_posix() == "measures/student_base"


def test_a_model_is_a_base_where_only_its_grandchild_is_measured(place, tmp_path):
    raw = student(place, tmp_path, more={"start": "stage:student"}).model_dump()
    raw["measures"]["stages"] = ["more"]
    before = [(one.name, one.before) for one in measure.subjects(config.resolve(raw))]
    assert before == [("base", ""), ("student_base", ""), ("more", "student_base")]


def test_a_stage_is_not_called_as_the_base_of_another(place, tmp_path):
    with pytest.raises(ConfigError, match="a stage is called 'student_base'"):
        measure.subjects(student(place, tmp_path, student_base={"start": ""}))


@pytest.mark.parametrize(
    ("heldout", "why"),
    [
        ({}, "name at least one source"),
        ({"all": "arithmetic"}, "heldout.all"),  # the name of the pooled numbers
        ({"../up": "arithmetic"}, "heldout.../up"),  # names are folders
    ],
)
def test_sources_have_names_that_a_folder_can_have(place, tmp_path, heldout, why):
    with pytest.raises(ConfigError, match=why):
        recipe(place, tmp_path, heldout=heldout)


def test_a_source_that_is_not_there_is_told_before_any_stage(place, tmp_path):
    made = recipe(place, tmp_path, heldout={"sums": "arithmetik"})
    with pytest.raises(Exception, match="arithmetik"):
        run(made)
    assert not (tmp_path / "run" / "first").exists()


# -- the table ---------------------------------------------------------------------------------------------


def table(*roots, **options):
    said = []
    plain = {"as_json": False, "as_csv": False, "brief": False}
    measure_table.show_runs(roots, **plain | options, echo=said.append)
    return "\n".join(said)


def test_the_table_has_a_column_for_each_model(whole):
    lines = table(whole).splitlines()
    assert lines[0].split()[-3:] == ["base", "first", "second"]
    assert "compared: first against base, second against first" in lines
    shown = {line.split("  ")[0] for line in lines}
    for label in ("sums pass@1, %", "sums zh pass@1, %", "sums cons@3, %", "talk: win rate, %"):
        assert label in shown
    brief = table(whole, brief=True)
    assert "sums pass@1, %" in brief
    assert "zh pass@1" not in brief


def test_all_numbers_as_lines_and_as_json(whole):
    rows = list(csv.DictReader(io.StringIO(table(whole, as_csv=True))))
    one = [r for r in rows if (r["stage"], r["source"], r["lang"]) == ("second", "sums", "")]
    found = {row["measure"]: float(row["value"]) for row in one}
    numbers = measured(whole, "second/measures")["sources"][0]["numbers"]
    for name, number in numbers.items():
        assert found[name] == number["value"]
    facts = json.loads(table(whole, as_json=True))
    assert facts["stages"] == ["base", "first", "second"]
    assert [m["name"] for m in facts["measures"]] == facts["stages"]
    with pytest.raises(ConfigError):
        table(whole, as_json=True, as_csv=True)


def test_several_seeds_are_a_mean_and_a_range(whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    text = (other / "recipe.toml").read_text().replace("seed = 0", "seed = 1")
    (other / "recipe.toml").write_text(text.replace('name = "run"', 'name = "other"'))
    path = other / "second" / "measures" / "measures.json"
    said = json.loads(path.read_text())
    said["sources"][0]["numbers"]["cut"] = {"value": 0.0, "n": 1}
    said["all"]["numbers"]["cut"] = {"value": 0.5, "n": 1}
    path.write_text(json.dumps(said))
    line = next(x for x in table(whole, other).splitlines() if x.startswith("cut at the cap"))
    before = measured(whole, "second/measures")["all"]["numbers"]["cut"]["value"]
    assert before == 0.0
    assert "25.0 (0.0 to 50.0)" in " ".join(line.split())


def test_runs_of_other_recipes_are_refused(whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    text = (other / "recipe.toml").read_text()
    (other / "recipe.toml").write_text(text.replace("epochs = 3.0", "epochs = 4.0"))
    with pytest.raises(RunError, match=r"different recipes .*epochs: 3.0 -> 4.0"):
        table(whole, other)


def test_measures_are_no_part_of_a_stage(place, tmp_path):
    """Their settings must not make a stage another one."""
    with_, without = recipe(place, tmp_path), recipe(place, tmp_path, samples=5)
    assert [n.fingerprint for n in dag.graph(with_)] == [n.fingerprint for n in dag.graph(without)]
