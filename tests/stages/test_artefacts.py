"""The hash of a run: what must count counts, what may differ does not."""

import json

import pytest

from aha.config import resolve
from aha.errors import RunError
from aha.stages import artefacts, dag
from aha.stages.run_folder import opened


def run_folder(root, **files):
    """One stage by hand; `files` are put into it."""
    usual = {
        "fingerprint.json": "{}",
        "DONE": "{}",
        "weights/model.safetensors": "abc",
        "metrics.jsonl": json.dumps({"step": 1, "attempt": 1, "time": 5.0, "reward/mean": 0.5})
        + "\n",
    }
    for name, text in (usual | files).items():
        path = root / "zero" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "events.jsonl").write_text(str(root))
    return artefacts.hashes(root)


def metrics(**changed):
    row = {"step": 1, "attempt": 1, "time": 5.0, "reward/mean": 0.5, "time/step_s": 1.0}
    return json.dumps(row | changed) + "\n"


def test_where_when_and_how_often_do_not_count(tmp_path):
    a = run_folder(tmp_path / "a")
    other = {
        "metrics.jsonl": metrics(attempt=4, time=9.0, **{"time/step_s": 7.0}),
        "cost.json": '{"wall_s": 3}',
        "measures/cost.json": "{}",
        "judgements.jsonl": "{}\n",
        "dialogues.jsonl.review.jsonl": "{}\n",
    }
    assert run_folder(tmp_path / "b", **other) == a
    assert sorted(a) == [
        "zero/DONE",
        "zero/fingerprint.json",
        "zero/metrics.jsonl",
        "zero/weights/model.safetensors",
    ]


@pytest.mark.parametrize(
    "name, text",
    [
        ("weights/model.safetensors", "abd"),
        ("more.txt", ""),
        ("metrics.jsonl", metrics(**{"reward/mean": 0.25})),
        ("metrics.jsonl", metrics() + metrics(step=2)),
    ],
)
def test_what_differs_is_named(tmp_path, name, text):
    a, b = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", **{name: text})
    assert artefacts.difference(a, b) == [f"zero/{name}"]
    assert artefacts.of_stages(a)["zero"] != artefacts.of_stages(b)["zero"]


def test_what_was_set_aside_does_not_count(tmp_path):
    """So a run that was made again with --rerun has the hash of one that never was another."""
    made = resolve({"zero": {"steps": 3}})
    with opened(tmp_path, made) as folder:
        folder.begin(dag.graph(made)[0])
    before = artefacts.hashes(tmp_path)
    other = resolve({"zero": {"steps": 4}})
    with opened(tmp_path, other, rerun=True) as folder:
        folder.begin(dag.graph(other)[0])
    with opened(tmp_path, made, rerun=True) as folder:
        folder.begin(dag.graph(made)[0])
    assert len(list(tmp_path.glob("zero-*"))) == 2
    assert artefacts.hashes(tmp_path) == before


def test_the_measures_of_the_base_are_artefacts_too(tmp_path):
    run_folder(tmp_path)
    (tmp_path / "measures" / "base").mkdir(parents=True)
    (tmp_path / "measures" / "base" / "measures.json").write_text("{}")
    assert "measures/base/measures.json" in artefacts.hashes(tmp_path)


def test_what_a_killed_writer_left_is_told(tmp_path):
    run_folder(tmp_path, **{"weights.tmp-12/model.safetensors": "a"})
    assert artefacts.left_over(tmp_path) == ["zero/weights.tmp-12"]
    assert not any("tmp" in path for path in artefacts.hashes(tmp_path))


def test_the_command(tmp_path, capsys):
    from aha.__main__ import _run

    run_folder(tmp_path / "a")
    run_folder(tmp_path / "b")
    said = []
    for name in ("a", "b"):
        assert _run(["hash", str(tmp_path / name)], debug=True) == 0
        said.append(capsys.readouterr().out.replace(f"  {name}  ", "  run  "))
    assert said[0] == said[1]
    assert said[0].splitlines()[0].endswith("  zero  4 files")
    assert _run(["hash", "--json", str(tmp_path / "a")], debug=True) == 0
    assert json.loads(capsys.readouterr().out) == artefacts.hashes(tmp_path / "a")


def test_no_run_and_damaged_metrics_are_said(tmp_path):
    with pytest.raises(RunError, match="holds no stage"):
        artefacts.hashes(tmp_path)
    run_folder(tmp_path)
    (tmp_path / "zero" / "metrics.jsonl").write_text('{"step": 1, "no/such": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged"):
        artefacts.hashes(tmp_path)
