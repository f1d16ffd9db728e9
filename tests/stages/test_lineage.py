"""Where a model comes from: hashes of what a stage began from and read, and the stages behind it."""

import hashlib
import json
import re

import pytest

from aha.config import resolve
from aha.errors import ModelError, RunError
from aha.models import card
from aha.stages import dag, lineage, run_folder
from aha.stages.run_folder import opened


def model_folder(folder, content=b"\x00\x01\x02\x03", **more):
    """The least that `locate` takes for a model: one tensor of four bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    head = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + content)
    for name, text in more.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def graph_of(tmp_path, **changes):
    """base -> zero (rl) -> kept (sample) -> dev (sft), helpful (reward model) -> last (rl)."""
    data = tmp_path / "problems.jsonl"
    data.write_text('{"question": "1+1?", "answer": "2"}\n\nnot json\n')
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("prompt,chosen,rejected\na,b,c\nd,e,f\n")
    raw = {
        "name": "small",
        "seed": 7,
        "model": {"path": str(model_folder(tmp_path / "base"))},
        "data": {"train": [str(data), "arithmetic?n=5"]},
        "zero": {},
        "stage": {
            "kept": {"kind": "sample", "start": "stage:zero"},
            "dev": {
                "kind": "sft",
                "train": ["stage:kept?n=2", "org/name?split=train"],
                "data": {"template": "chat", "system": "Be `brief`."},
            },
            "helpful": {"kind": "reward_model", "train": str(pairs)},
            "last": {
                "kind": "rl",
                "start": "stage:dev",
                "rewards": {"format": 1.0, "helpful": 1.0},
                "reward_models": {"helpful": {"path": "stage:helpful"}},
            },
        },
    }
    return resolve(raw | changes)


def run_all(tmp_path, recipe, root):
    """Every stage as a run leaves it, with made-up weights; the lineage of each, by name."""
    found = {}
    with opened(root, recipe) as run:
        for number, node in enumerate(dag.graph(recipe)):
            folder = run.begin(node)
            if node.kind == "sample":
                (folder / "dialogues.jsonl").write_text('{"question": "q", "response": "r"}\n' * 3)
            else:
                inside = "model" if node.kind == "reward_model" else "checkpoints/step_000004/hf"
                made = model_folder(folder / inside, bytes([number] * 4))
                if inside != "model":
                    (made.parent / "manifest.json").write_text("{}")
                run.describe(made, step=4)
            run.finish(node, {})
            found[node.name] = json.loads((folder / "lineage.json").read_text())
    return found


@pytest.fixture
def found(tmp_path):
    return run_all(tmp_path, graph_of(tmp_path), tmp_path / "run")


def test_the_first_stage_names_the_hashes_of_what_came_from_outside(tmp_path, found):
    zero = found["zero"]
    assert (zero["recipe"], zero["stage"], zero["kind"], zero["seed"]) == ("small", "zero", "rl", 7)
    weights = digest(tmp_path / "base" / "model.safetensors")
    assert zero["start"]["sha256"] == {"model.safetensors": weights}
    assert zero["start"]["model"] == str(tmp_path / "base")
    rows, task = zero["data"]
    assert rows["files"] == [
        # of three lines one is empty; what cannot be used is a row too
        {"file": "problems.jsonl", "rows": 2, "sha256": digest(tmp_path / "problems.jsonl")}
    ]
    assert task == {"source": "arithmetic?n=5"}


def test_dialogues_are_named_by_hash_and_by_the_stage_that_wrote_them(tmp_path, found):
    own, hub = found["dev"]["data"]
    assert own["source"] == "stage:kept?n=2"
    path = tmp_path / "run" / "kept" / "dialogues.jsonl"
    assert own["files"] == [{"file": "dialogues.jsonl", "rows": 3, "sha256": digest(path)}]
    assert (own["from"]["stage"], own["from"]["kind"]) == ("kept", "sample")
    assert own["from"]["start"]["lineage"]["stage"] == "zero"
    assert hub == {"source": "org/name?split=train"}
    # supervised training from the base again: it did not start from zero
    assert found["dev"]["start"]["model"] == str(tmp_path / "base")
    assert "lineage" not in found["dev"]["start"]


def test_the_whole_way_back_is_there_and_agrees_with_the_fingerprints(tmp_path, found):
    recipe = graph_of(tmp_path)
    nodes = {node.name: node.fingerprint for node in dag.graph(recipe)}
    last = found["last"]
    dev = last["start"]["lineage"]
    kept = dev["data"][0]["from"]
    zero = kept["start"]["lineage"]
    judged = last["rewards"][0]
    chain = [("last", last), ("dev", dev), ("kept", kept), ("zero", zero)]
    chain.append(("helpful", judged["lineage"]))
    for name, said in chain:
        assert (said["stage"], said["fingerprint"]) == (name, nodes[name])
    assert zero["start"]["model"] == str(tmp_path / "base")
    assert dev["step"] == 4
    assert (judged["name"], judged["model"]) == ("helpful", "stage:helpful")
    assert judged["sha256"] == card.weights(tmp_path / "run" / "helpful" / "model")


def test_two_runs_in_different_folders_say_the_same(tmp_path, found):
    again = run_all(tmp_path, graph_of(tmp_path), tmp_path / "elsewhere" / "run")
    assert again == found
    for name in ("README.md", "lineage.json"):
        inside = f"last/checkpoints/step_000004/hf/{name}"
        one, other = tmp_path / "run" / inside, tmp_path / "elsewhere" / "run" / inside
        assert one.read_bytes() == other.read_bytes()
        assert str(tmp_path / "run").encode() not in one.read_bytes()


def test_it_is_made_once_and_then_read(tmp_path, found):
    """A resumed stage says what it began from, whatever became of that since."""
    (tmp_path / "problems.jsonl").write_text("")
    recipe = graph_of(tmp_path)
    (tmp_path / "problems.jsonl").unlink()
    node = dag.graph(recipe)[0]
    assert lineage.of_stage(recipe, node, tmp_path / "run") == found["zero"]


def test_a_model_beside_weights_names_step_and_hash(tmp_path, found):
    folder = tmp_path / "run" / "last" / "checkpoints" / "step_000004" / "hf"
    said = json.loads((folder / "lineage.json").read_text())
    assert said["step"] == 4
    assert said["weights"] == {"model.safetensors": digest(folder / "model.safetensors")}
    assert {key: said[key] for key in found["last"]} == found["last"]


def test_a_missing_start_is_the_error_of_whoever_looks_for_it(tmp_path):
    recipe = resolve({"model": {"path": str(tmp_path / "gone")}, "zero": {}})
    with pytest.raises(ModelError, match="gone"):
        lineage.make(recipe, dag.graph(recipe)[0], tmp_path)


@pytest.mark.parametrize(
    "name, text, wanted",
    [
        ("README.md", "---\nlicense: MIT\n---\n# x", "MIT"),
        ("README.md", "license: mit\n", None),  # not in a head
        ("aha_source.json", '{"name": "n", "sha256": "s", "licence": "Apache-2.0"}', "Apache-2.0"),
        ("provenance.json", '{"stage": "pretrain", "recipe": {"name": "r", "seed": 1}}', None),
    ],
)
def test_what_is_known_of_a_model_from_outside(tmp_path, name, text, wanted):
    folder = model_folder(tmp_path / "base")
    (folder / name).write_text(text)
    recipe = resolve({"model": {"path": str(folder)}, "zero": {}})
    made = lineage.make(recipe, dag.graph(recipe)[0], tmp_path)
    assert made["license"] == wanted
    if name == "provenance.json":
        assert (made["start"]["source"]["recipe"], made["start"]["source"]["seed"]) == ("r", 1)


def test_a_model_of_the_hubs_cache_is_known_by_id_and_revision(tmp_path):
    folder = tmp_path / "models--Org--Small-1.5B" / "snapshots" / ("ab" * 20)
    recipe = resolve({"model": {"path": str(model_folder(folder))}, "zero": {}})
    made = lineage.make(recipe, dag.graph(recipe)[0], tmp_path)
    assert (made["start"]["hub"], made["start"]["revision"]) == ("Org/Small-1.5B", "ab" * 20)


def test_a_shipped_model_has_the_packages_license(tmp_path):
    recipe = resolve({"model": {"path": "aha:base"}, "zero": {}})
    made = lineage.make(recipe, dag.graph(recipe)[0], tmp_path)
    assert (made["start"]["model"], made["license"]) == ("aha:base", "apache-2.0")
    assert re.fullmatch("[0-9a-f]{64}", made["start"]["sha256"]["model.safetensors"])


def test_pretraining_begins_from_nothing(tmp_path):
    recipe = resolve({"pretrain": {}, "seed": 5})
    made = lineage.make(recipe, dag.graph(recipe)[0], tmp_path)
    assert made["start"] is None
    assert "seed 5" in made["data"][0]["source"]


def test_dialogues_that_people_wrote_come_from_no_model(tmp_path):
    (tmp_path / "people.jsonl").write_text('{"question": "q", "response": "r"}\n')
    stage = {"kind": "sample", "written": str(tmp_path / "people.jsonl")}
    recipe = resolve({"model": {"path": "nowhere"}, "stage": {"given": stage}})
    made = lineage.make(recipe, dag.graph(recipe)[0], tmp_path)
    assert made["start"] is None
    assert [one["file"] for one in made["data"][0]["files"]] == ["people.jsonl"]


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '{"a": "\\ud800"}'])
def test_a_file_that_says_nothing_is_none(tmp_path, text):
    (tmp_path / "lineage.json").write_text(text)
    said = lineage.read(tmp_path / "lineage.json")
    assert said is None or json.dumps(said, ensure_ascii=False).encode()


def test_a_stage_does_not_go_on_with_other_data_or_another_model(tmp_path):
    template, paid = tmp_path / "template.txt", tmp_path / "paid.py"
    template.write_text("{question}\n")
    paid.write_text("def f(completions, **_): return [1.0 for _ in completions]\n")
    train = str(tmp_path / "problems.jsonl")
    rewards = {"rewards": {"accuracy": 1.0, f"{paid}:f": 1.0}}
    recipe = graph_of(tmp_path, data={"train": train, "template": str(template)}, zero=rewards)
    root, node = tmp_path / "run", dag.graph(recipe)[0]
    with opened(root, recipe) as run:
        (run.begin(node) / "metrics.jsonl").write_text("{}")
    with opened(root, recipe) as run:  # nothing changed
        run.begin(node)
    data, weights = tmp_path / "problems.jsonl", tmp_path / "base" / "model.safetensors"
    tokenizer = tmp_path / "base" / "tokenizer.json"
    for path, named in (
        (data, "problems.jsonl"),
        (weights, "the model .*base: model.safetensors"),
        (template, "template"),
        (tokenizer, "tokenizer"),
        (paid, "paid.py:f"),
    ):
        was = path.read_bytes()
        path.write_bytes(was[:-1] + b" " if path != tokenizer else b'{"version": "1.0"}')
        with (
            opened(root, recipe) as run,
            pytest.raises(RunError, match=rf"zero: .*{named} changed.*--from zero"),
        ):
            run.begin(node)
        path.write_bytes(was)
        with opened(root, recipe) as run:
            run.begin(node)


def test_files_that_come_to_a_folder_of_data_or_go_are_changes(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for number in (0, 1):
        (data / f"train-{number}.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    recipe, root = graph_of(tmp_path, data={"train": str(data)}), tmp_path / "run"
    node = dag.graph(recipe)[0]
    with opened(root, recipe) as run:
        (run.begin(node) / "metrics.jsonl").write_text("{}")
    (data / "train-0.jsonl").rename(data / "train-2.jsonl")
    (data / "train-0.jsonl.review.jsonl").write_text("{}")  # no data
    with (
        opened(root, recipe) as run,
        pytest.raises(RunError, match=r"train-0.jsonl has gone; .*train-2.jsonl has come\."),
    ):
        run.begin(node)


def test_what_was_held_out_of_dialogues_is_part_of_them(tmp_path):
    train, heldout = tmp_path / "train.jsonl", tmp_path / "heldout.jsonl"
    train.write_text('{"question": "q", "response": "r"}\n')
    heldout.write_text('{"question": "1+1?", "answer": "2"}\n')
    recipe = resolve(
        {
            "model": {"path": str(model_folder(tmp_path / "base"))},
            "data": {"heldout": str(heldout)},
            "sft": {"train": str(train)},
        }
    )
    root, node = tmp_path / "run", dag.graph(recipe)[0]
    with opened(root, recipe) as run:
        (run.begin(node) / "metrics.jsonl").write_text("{}")
    heldout.write_text('{"question": "2+2?", "answer": "4"}\n')
    with (
        opened(root, recipe) as run,
        pytest.raises(RunError, match=r"sft: data.heldout heldout.jsonl changed"),
    ):
        run.begin(node)


def test_a_stage_that_has_computed_nothing_takes_data_that_were_mended(tmp_path):
    recipe, root = graph_of(tmp_path), tmp_path / "run"
    node = dag.graph(recipe)[0]
    with opened(root, recipe) as run:
        folder = run.begin(node)
        (folder / "resolved.json").write_text("{}")
    data = tmp_path / "problems.jsonl"
    data.write_text('{"question": "2+2?", "answer": "4"}\n')
    with opened(root, recipe) as run:
        run.begin(node)
    said = json.loads((folder / "lineage.json").read_text())
    assert said["data"][0]["files"][0]["sha256"] == digest(data)
    assert run_folder.started_in(root)


def test_a_stage_that_was_killed_before_it_was_begun_takes_the_data_of_now(tmp_path):
    recipe, root = graph_of(tmp_path), tmp_path / "run"
    node = dag.graph(recipe)[0]
    with opened(root, recipe) as run:
        folder = run.begin(node)
    (folder / dag.FINGERPRINT).unlink()
    data = tmp_path / "problems.jsonl"
    data.write_text('{"question": "2+2?", "answer": "4"}\n')
    with opened(root, recipe) as run:
        run.begin(node)
    said = json.loads((folder / "lineage.json").read_text())
    assert said["data"][0]["files"][0]["sha256"] == digest(data)
