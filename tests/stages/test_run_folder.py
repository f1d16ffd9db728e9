import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from aha.config import load, resolve
from aha.errors import RunError
from aha.stages import dag, resolution, run_folder
from aha.stages.run_folder import differences, opened, stored_recipe


def recipe(**zero):
    return resolve({"zero": zero, "threads": 2})


def node_of(made):
    return dag.graph(made)[-1]


def begun(root, made):
    with opened(root, made) as folder:
        folder.begin(node_of(made))


def events(root):
    return [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]


def test_a_run_folder_is_readable_without_us(tmp_path):
    root, made = tmp_path / "runs" / "a", recipe(steps=3)
    node = node_of(made)
    with opened(root, made) as folder:
        assert folder.attempt == 1
        stage = folder.begin(node)
        folder.event("note", text="中")
        assert dag.status(node, root) == "begun"
        folder.finish(node, {"step": 3})
    assert tomllib.loads((root / "recipe.toml").read_text())["zero"]["steps"] == 3
    assert load(root / "recipe.toml") == made == stored_recipe(root)
    assert tomllib.loads((stage / "config.toml").read_text())["zero"]["steps"] == 3
    assert json.loads((root / "env.json").read_text())["versions"]["torch"]
    done = json.loads((stage / "DONE").read_text())
    assert done == {"fingerprint": node.fingerprint, "step": 3}
    assert [e["event"] for e in events(root)] == ["attempt", "note", "done"]
    assert (root / "logs" / "attempt_1").is_dir()
    with opened(root, made) as folder:
        assert folder.attempt == 2
        assert dag.status(node, root) == "done"
    assert {e["attempt"] for e in events(root)} == {1, 2}


HOLDER = """
import sys, time
from pathlib import Path
from aha.config import resolve
from aha.stages.run_folder import opened
with opened(Path(sys.argv[1]), resolve({"zero": {}, "threads": 2})):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_the_lock_dies_with_its_holder(tmp_path):
    root = tmp_path / "a"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        before = sorted(root.rglob("*"))
        with pytest.raises(RunError, match=rf"in use by another aha \(process {holder.pid}\)"):
            begun(root, recipe())
        assert sorted(root.rglob("*")) == before
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with opened(root, recipe()) as folder:
        assert folder.attempt == 2
        assert (root / ".lock").read_text() == str(os.getpid())


def test_the_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), opened(tmp_path / "a", recipe()):
        raise ZeroDivisionError
    begun(tmp_path / "a", recipe())


def test_another_recipe_is_refused_with_the_changed_keys(tmp_path):
    root = tmp_path / "a"
    begun(root, recipe(steps=3))
    before = (root / "recipe.toml").read_bytes()
    with pytest.raises(RunError) as caught, opened(root, recipe(steps=4, kl_coef=0.5)):
        pass
    said = str(caught.value)
    assert "zero.steps: 3 -> 4" in said
    assert "zero.kl_coef: 0.001 -> 0.5" in said
    assert "--set name=NAME" in said
    assert "--rerun" in said
    assert (root / "recipe.toml").read_bytes() == before
    begun(root, recipe(steps=3))  # and the own one still goes on


def test_where_and_how_may_change(tmp_path):
    root = tmp_path / "a"
    begun(root, recipe())
    begun(root, resolve({"zero": {}, "threads": 1, "memory_gb": 2.0, "run_dir": "other"}))


def test_rerun_sets_aside_and_loses_nothing(tmp_path):
    root = tmp_path / "a"
    recipes = [recipe(steps=n) for n in (3, 4, 3)]
    begun(root, recipes[0])
    (root / "zero" / "result").write_text("first")
    for number, made in enumerate(recipes[1:], 2):
        with opened(root, made, rerun=True) as folder:
            assert dag.status(node_of(made), root) == "new"
            stage = folder.begin(node_of(made))
            (stage / "result").write_text(f"number {number}")
        assert stored_recipe(root) == made
    with opened(root, recipes[1], rerun=True):
        pass
    kept = sorted((p.parent.name, p.read_text()) for p in root.glob("*/result"))
    first, second = (node_of(r).fingerprint for r in recipes[:2])
    assert kept == sorted(
        [
            (f"zero-{first}", "first"),
            (f"zero-{second}", "number 2"),
            (f"zero-{first}-2", "number 3"),
        ]
    )


def test_rerun_of_the_same_recipe_sets_nothing_aside(tmp_path):
    root = tmp_path / "a"
    begun(root, recipe())
    with opened(root, recipe(), rerun=True):
        assert dag.status(node_of(recipe()), root) == "begun"


def test_rerun_past_a_damaged_mark(tmp_path):
    root = tmp_path / "a"
    begun(root, recipe())
    (root / "zero" / "fingerprint.json").write_text("{")
    with pytest.raises(RunError, match="--rerun"):
        begun(root, recipe())
    with opened(root, recipe(), rerun=True):
        assert dag.status(node_of(recipe()), root) == "new"
    assert [p.name for p in root.glob("zero-*")] == ["zero-damaged"]


def test_a_change_to_a_stage_not_yet_begun_is_taken_and_stored(tmp_path):
    """Otherwise `aha resume`, which reads the stored recipe, would go on with another one."""
    root = tmp_path / "a"
    with opened(root, recipe(steps=3)):
        pass
    begun(root, recipe(steps=4))
    assert stored_recipe(root) == recipe(steps=4)
    begun(root, stored_recipe(root))


def test_a_folder_that_is_not_a_run_is_refused(tmp_path):
    root = tmp_path / "a"
    root.mkdir()
    (root / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match=r"not empty and not a run folder \(it holds thesis.txt\)"):
        begun(root, recipe())
    assert (root / "thesis.txt").read_text() == "x"
    with pytest.raises(RunError, match=r"not a run folder: it has no recipe\.toml"):
        stored_recipe(root)


def test_a_run_killed_while_it_was_made_can_be_made_again(tmp_path, monkeypatch):
    """At every step of making the folder: the next attempt finds nothing it must refuse."""
    made, root = recipe(), tmp_path / "a"
    calls = {"os.replace": (os, "replace"), "mkdir": (Path, "mkdir"), "open": (Path, "open")}
    for owner, name in calls.values():
        original = getattr(owner, name)
        for allowed in range(6):
            left = [allowed]

            def dies(*args, left=left, original=original, **kwargs):
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                return original(*args, **kwargs)

            with monkeypatch.context() as patch:
                patch.setattr(owner, name, dies)
                with contextlib.suppress(KeyboardInterrupt):
                    begun(root, made)
            begun(root, made)
            subprocess.run(["rm", "-r", str(root)], check=True)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_no_permission_is_said(tmp_path, monkeypatch, code):
    def fails(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", fails)
    with pytest.raises(RunError, match=r"cannot write the run folder .*run_dir=DIR"):
        begun(tmp_path / "a", recipe())


def test_a_missing_run_names_the_runs_there_are(tmp_path):
    begun(tmp_path / "first", recipe())
    with pytest.raises(RunError, match=r"not a run folder.*runs in .*: first"):
        stored_recipe(tmp_path / "frist")


def test_differences_by_hand():
    old = {"a": 1, "b": {"c": 2, "d": 3}, "threads": 1, "e": None}
    new = {"a": 1, "b": {"c": 2, "d": 4, "threads": 5}, "threads": 2, "e": {"f": 1}}
    assert differences(old, new) == [
        "b.d: 3 -> 4",
        "b.threads: None -> 5",
        "e: None -> {'f': 1}",
    ]


def test_too_little_disk_is_said(tmp_path):
    run_folder.check_disk(tmp_path, 1)
    with pytest.raises(RunError, match=r"GB free; two checkpoints need"):
        run_folder.check_disk(tmp_path, 1 << 60)


def test_a_resumed_run_stands_where_it_was_started(tmp_path, monkeypatch):
    """Relative paths of a recipe mean the folder it was started in, wherever `resume` is typed."""
    from aha import __main__ as command
    from aha.stages import launch, run_folder

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    recipe = resolve({"name": "r", "zero": {"steps": 1}})
    with opened(Path("runs/r"), recipe):
        pass
    stood: list[Path] = []
    monkeypatch.setattr(launch, "run", lambda *_, **__: stood.append(Path.cwd()))
    monkeypatch.chdir(there)
    assert command._run(["resume", str(here / "runs" / "r")], debug=True) == 0
    assert stood == [here]
    assert Path.cwd() == there
    (here / "runs" / "r" / "env.json").write_text("{}")
    assert run_folder.started_in(here / "runs" / "r") == there


def test_an_attempt_that_fails_early_leaves_where_the_run_was_started(tmp_path, monkeypatch):
    root = tmp_path / "a"
    begun(root, recipe())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = run_folder.started_in(root)
    monkeypatch.chdir(elsewhere)
    with opened(root, recipe()):
        pass
    assert run_folder.started_in(root) == here
    begun(root, recipe())
    assert run_folder.started_in(root) == elsewhere


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"resolved": {"wheels": 4}}'])
def test_damaged_resolutions_say_what_to_do(tmp_path, damage):
    (tmp_path / resolution.RESOLVED).write_text(damage)
    with pytest.raises(RunError, match=r"resolved\.json is damaged.*remove it"):
        resolution.planned(tmp_path, lambda: pytest.fail("measured again"))


def test_a_resolution_is_made_once(tmp_path):
    made = []
    for _ in range(2):
        found = resolution.once(
            tmp_path, lambda: made.append(1) or {"n": len(made)}, lambda said: said["n"]
        )
        assert found == 1
    assert made == [1]
