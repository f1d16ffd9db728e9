"""What is wrong with a later stage is told before the first one begins, and nothing else is."""

import pytest
from test_planning import data, every_kind, files_of, models  # noqa: F401

from aha import files
from aha.config import RewardModelConfig
from aha.errors import ConfigError, DataError, DoesNotFit, ModelError
from aha.stages import ahead, dag, doctor, launch


def wrong(made):
    return dict(ahead.faults(made, dag.graph(made), files_of(made)))


def with_stage(made, name, **changes):
    stage = made.stage[name].model_copy(update=changes)
    return made.model_copy(update={"stage": {**made.stage, name: stage}})


def test_a_recipe_without_faults_leaves_nothing_behind(models, data):  # noqa: F811
    made = every_kind(models[0], data)
    assert wrong(made) == {}
    assert ahead.refuse(made, dag.graph(made), files_of(made)) == []
    assert not (data / "runs").exists()


@pytest.mark.parametrize(
    "stage, changes, error, text",
    [
        ("helpful", {"train": "nowhere.jsonl"}, DataError, "nowhere.jsonl"),
        ("learn", {"train": ["stage:keep", "nowhere.jsonl"]}, DataError, "nowhere.jsonl"),
        ("keep", {"data": {"train": "arithmetic?dificulty=1"}}, ConfigError, "dificulty"),
        ("keep", {"data": {"template": "nowhere.txt"}, "start": ""}, ConfigError, "nowhere.txt"),
        ("helpful", {"model": {"path": "smolm2-135m"}}, ModelError, "smollm2-135m"),
        ("last", {"rewards": {"accuracy": 1.0}}, ConfigError, "'helpful' has no weight"),
        ("last", {"rewards": {"acuracy": 1.0, "helpful": 1.0}}, ConfigError, "accuracy"),
        ("last", {"rewards": {"mine.py:right": 1.0, "helpful": 1.0}}, ConfigError, "mine.py"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_wrong_with_a_later_stage_is_told_at_once(
    models, data, tmp_path, monkeypatch, stage, changes, error, text  # noqa: F811
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    made = with_stage(every_kind(models[0], data), stage, **changes)
    found = wrong(made)
    assert next(iter(found)) == stage  # and those that need it
    assert isinstance(found[stage], error)
    assert text in str(found[stage])

    made = made.model_copy(update={"run_dir": str(tmp_path)})
    with pytest.raises(error, match=f"stages? {stage}.*: .*before the first stage was begun"):
        launch.run(made, tmp_path / made.name)
    assert not (tmp_path / made.name / "zero").exists()
    checks = [check for check in doctor.examine(made) if check.name == stage]
    assert [check.state for check in checks] == ["bad"]
    assert text in checks[0].seen


def test_one_fault_of_several_stages_is_said_once(models, data, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    made = every_kind(models[0], data)
    for name in ("keep", "last"):
        made = with_stage(made, name, data={"train": "nowhere.jsonl"})
    made = with_stage(made, "helpful", train="neither.jsonl")
    with pytest.raises(ConfigError) as caught:
        ahead.refuse(made, dag.graph(made), tmp_path)
    lines = str(caught.value).split("\n")
    assert len(lines) == 3
    assert "stages keep, last: " in lines[1]
    assert "stage helpful: " in lines[2]


def test_memory_that_is_short_now_may_be_there_then(models, data):  # noqa: F811
    made = every_kind(models[0], data, memory_gb=0.001)
    assert all(isinstance(error, DoesNotFit) for error in wrong(made).values())
    assert "would not fit" in ahead.refuse(made, dag.graph(made), files_of(made))[-1]


def test_broken_rows_are_not_judged_by_the_first_ones(models, data, tmp_path):  # noqa: F811
    rows = ['{"question": "q?"}'] * 3 + [
        f'{{"question": "q{i}?", "answer": "{i}"}}' for i in range(400)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    made = with_stage(
        every_kind(models[0], data), "keep", data={"train": str(tmp_path / "rows.jsonl")}
    )
    assert wrong(made) == {}


def test_what_no_stage_makes_is_refused(models, data):  # noqa: F811
    made = every_kind(models[0], data)
    wrong_kinds = (
        ("learn", {"start": "stage:keep"}, "learn: start .* kind sample"),
        ("learn", {"train": "stage:helpful"}, "learn: train .* kind reward_model.* stages that do: zero"),
        ("helpful", {"train": "stage:learn"}, "helpful: train .* kind sft"),
        ("last", {"reward_models": {"helpful": RewardModelConfig(path="stage:learn")}}, "reward_models"),
        ("keep", {"data": {"train": "stage:learn"}}, "keep: data .* problems"),
    )  # fmt: skip
    for stage, changes, said in wrong_kinds:
        with pytest.raises(ConfigError, match=said):
            dag.graph(with_stage(made, stage, **changes))


def test_long_examples_at_the_head_of_a_file_are_no_reason(models, data, tmp_path):  # noqa: F811
    rows = [{"question": "q?", "response": "y" * 400} for _ in range(250)]
    rows += [{"question": f"q{i}?", "response": f"<think>\na\n</think>\n\n{i}"} for i in range(9)]
    files.write_jsonl(tmp_path / "sorted.jsonl", rows)
    made = with_stage(every_kind(models[0], data), "learn", train=str(tmp_path / "sorted.jsonl"))
    assert wrong(made) == {}


def test_dialogues_that_a_stage_is_still_to_write_are_waited_for(models, data):  # noqa: F811
    made = with_stage(every_kind(models[0], data), "keep", refine=False)
    copy = made.stage["keep"].model_copy(update={"start": "", "written": "stage:keep"})
    made = made.model_copy(update={"stage": {**made.stage, "copied": copy}})
    assert wrong(made) == {}


def test_nothing_is_set_aside_for_a_recipe_that_cannot_run(models, data, tmp_path):  # noqa: F811
    made = every_kind(models[0], data)
    asked = made.data.model_copy(update={"max_prompt_tokens": 64})
    made = made.model_copy(update={"run_dir": str(tmp_path), "stage": {}, "data": asked})
    root = tmp_path / made.name
    launch.run(made, root)
    changed = made.model_copy(
        update={"data": made.data.model_copy(update={"train": "nowhere.jsonl"})}
    )
    for how in ({"rerun": True}, {"redo": ["zero"], "rerun": True}):
        with pytest.raises(DataError, match="nowhere"):
            launch.run(changed, root, **how)
    assert [path.name for path in root.glob("zero*")] == ["zero"]
    assert dag.status(dag.graph(made)[0], root) == "done"
