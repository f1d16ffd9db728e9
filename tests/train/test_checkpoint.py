import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_policies import group, lora, saved_after_a_step, trainer
from tiny import fresh as policy

from aha import files
from aha.config import ZeroConfig
from aha.errors import RunError
from aha.models.attention import NAME
from aha.train import checkpoint
from aha.train.checkpoint import State
from aha.train.credit import to_trees
from aha.train.reference import Reference

GROUPS = [group("a", [5, 6, 7], [[8, 9, 1], [10, 1]], [1.0, 0.0])]


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


def made_by_hand(folder, step, text="x"):
    with files.new_folder(folder / checkpoint.step_name(step)) as aside:
        (aside / "state").mkdir()
        files.write_text(aside / "state" / "state.json", text)
    return folder / checkpoint.step_name(step)


@pytest.mark.parametrize(
    "dtype,adapters",
    [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)],
)
def test_a_loaded_run_goes_on_bit_for_bit(tmp_path, dtype, adapters):
    path, worker, reference = saved_after_a_step(tmp_path, dtype=dtype, adapters=adapters)
    assert path == tmp_path / "step_000001"
    of = lora(dtype=dtype) if adapters else policy(dtype=dtype)
    anchor = Reference(of)
    again = trainer(of, reference=anchor)
    with torch.no_grad():
        for parameter in again.optimizer.parameters.values():
            parameter.add_(0.5)  # whatever was there before loading must not matter
    state = checkpoint.load(path, optimizer=again.optimizer, reference=anchor)
    assert state == State(step=1, phase=1, cursor=2, alerts={"z": [1, 2.5], "a": None})
    assert equal(worker.optimizer.state(), again.optimizer.state())
    assert equal(reference.state(), anchor.state())
    assert equal(worker.policy.state_dict(), again.policy.state_dict())
    for number in (1, 2):
        for one in (worker, again):
            trees = to_trees(GROUPS, ZeroConfig())
            assert one.step(trees, number, on_policy=False).made
    assert equal(worker.optimizer.state(), again.optimizer.state())
    assert equal(worker.policy.state_dict(), again.policy.state_dict())


def test_random_generators_go_on_where_they_were(tmp_path):
    path, worker, reference = saved_after_a_step(tmp_path)

    def draws():
        return random.random(), float(np.random.rand()), torch.rand(2).tolist()

    checkpoint.load(path, optimizer=worker.optimizer, reference=reference)
    first = draws()
    checkpoint.load(path, optimizer=worker.optimizer, reference=reference)
    assert draws() == first


@pytest.mark.parametrize("adapters", [False, True])
def test_the_hf_folder_is_an_ordinary_model(tmp_path, adapters):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, worker, _ = saved_after_a_step(tmp_path, adapters=adapters)
    for text in (path / "hf").glob("*.json"):
        assert NAME not in text.read_text("utf-8")
    plain = AutoModelForCausalLM.from_pretrained(path / "hf")
    assert plain.config._attn_implementation == "sdpa"
    ids = torch.tensor([[5, 6, 7, 8, 9, 1]])
    with torch.no_grad():
        theirs = torch.log_softmax(plain(ids).logits[0].float(), -1)
        ours = worker.logprobs(to_trees(GROUPS, ZeroConfig()))[0]
    wanted = [float(theirs[2 + t, token]) for t, token in enumerate([8, 9, 1])]
    assert ours == pytest.approx(wanted, abs=1e-5)
    assert AutoTokenizer.from_pretrained(path / "hf").decode([8, 1]) == "w8 w1"
    # saving left the policy as it was: it still attends by layout
    assert worker.policy.causal.config._attn_implementation == NAME


def test_equal_states_give_equal_bytes_in_two_processes(tmp_path):
    script = (
        "import sys; from pathlib import Path; from aha.models.load import quiet; quiet();"
        "import random, numpy, torch; random.seed(1); numpy.random.seed(1); torch.manual_seed(1);"
        "from small_policies import saved_after_a_step;"
        "saved_after_a_step(Path(sys.argv[1]), dtype=torch.bfloat16)"
    )
    here = Path(__file__).parent
    found = []
    for name in ("one", "two"):
        paths = [str(here), *map(str, here.parents[:2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in reversed(paths) if p)}
        environment["PYTHONHASHSEED"] = {"one": "1", "two": "2"}[name]
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)],
            check=True,
            env=environment,
            cwd=tmp_path,
        )
        found.append(digests(tmp_path / name))
    assert found[0] == found[1]
    assert {
        "step_000001/state/optimizer.safetensors",
        "step_000001/state/reference.safetensors",
        "step_000001/state/state.json",
        "step_000001/manifest.json",
        "step_000001/hf/model.safetensors",
        "step_000001/hf/config.json",
        "step_000001/hf/tokenizer.json",
    } <= found[0].keys()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES = {
    "a file is cut": lambda p: truncate(p / "state" / "state.json"),
    "a bit is flipped": lambda p: flip(p / "state" / "state.json"),
    "a file is missing": lambda p: (p / "state" / "state.json").unlink(),
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "half a manifest": lambda p: (p / "manifest.json").write_text(
        (p / "manifest.json").read_text()[:60]
    ),
    "an empty manifest": lambda p: (p / "manifest.json").write_text(""),
    "a manifest that lists nothing": lambda p: (p / "manifest.json").write_text('{"files": {}}'),
    "a manifest of another shape": lambda p: (p / "manifest.json").write_text('{"files": [1]}'),
    "a damaged key": lambda p: (p / "manifest.json").write_text(
        (p / "manifest.json").read_text().replace('"bytes"', '"cytes"')
    ),
    "a damaged hash": lambda p: (p / "manifest.json").write_text(
        (p / "manifest.json").read_text().replace('"sha256": "', '"sha256": "0')
    ),
    "not utf-8": lambda p: (p / "manifest.json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, damage):
    older, newer = made_by_hand(tmp_path, 3), made_by_hand(tmp_path, 20, "some text")
    said = []
    assert checkpoint.newest(tmp_path, warn=said.append) == newer
    assert said == []
    DAMAGES[damage](newer)
    assert checkpoint.newest(tmp_path, warn=said.append) == older
    assert len(said) == 1
    assert str(newer) in said[0]
    assert "damaged" in said[0]
    DAMAGES[damage](older)
    assert checkpoint.newest(tmp_path) is None


def test_every_single_bit_flip_of_a_manifest_is_survived(tmp_path):
    older, newer = made_by_hand(tmp_path, 3), made_by_hand(tmp_path, 20)
    manifest = newer / "manifest.json"
    whole = manifest.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        manifest.write_bytes(bytes(damaged))
        assert checkpoint.newest(tmp_path) in (older, newer)  # and nothing is raised


def test_leftovers_of_killed_writers_do_not_count(tmp_path):
    made_by_hand(tmp_path, 3)
    (tmp_path / f"step_000009{files.TMP}123").mkdir()
    said = []
    assert checkpoint.newest(tmp_path, warn=said.append).name == "step_000003"
    assert said == []
    assert checkpoint.newest(tmp_path / "nowhere") is None


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_pruning_keeps_the_last_ones_and_the_best(tmp_path):
    for step in (0, 5, 10, 15, 20):
        made_by_hand(tmp_path, step)
    checkpoint.prune(tmp_path, keep_last=2, best_step=5)
    assert names(tmp_path) == ["step_000005", "step_000015", "step_000020"]
    checkpoint.prune(tmp_path, keep_last=1, best_step=-1)
    assert names(tmp_path) == ["step_000020"]


def test_pruning_never_leaves_only_a_damaged_one(tmp_path):
    """Resumed from step 5 because step 20 is damaged; the next checkpoint is step 10."""
    for step in (5, 10, 20):
        made_by_hand(tmp_path, step)
    DAMAGES["a file is cut"](tmp_path / "step_000020")
    checkpoint.prune(tmp_path, keep_last=1, best_step=-1, step=10)
    assert checkpoint.newest(tmp_path).name == "step_000010"
    assert "step_000005" not in names(tmp_path)


def test_a_checkpoint_of_another_model_or_recipe_is_refused(tmp_path):
    path, _, _ = saved_after_a_step(tmp_path)
    other = policy("qwen3")
    worker = trainer(other)
    with pytest.raises(RunError, match=r"cannot be resumed.*another model.*[Ss]tart a new run"):
        checkpoint.load(path, optimizer=worker.optimizer, reference=None)
    (path / "state" / "reference.safetensors").unlink()
    same = policy()
    with pytest.raises(RunError, match=r"cannot be resumed.*reference"):
        checkpoint.load(path, optimizer=trainer(same).optimizer, reference=Reference(same))


def test_a_state_of_another_version_is_refused(tmp_path):
    path, worker, _ = saved_after_a_step(tmp_path)
    text = path / "state" / "state.json"
    saved = json.loads(text.read_text())
    text.write_text(json.dumps({**saved, "unheard_of": 1}))
    with pytest.raises(RunError, match="unheard_of"):
        checkpoint.load(path, optimizer=worker.optimizer, reference=None)


def test_a_writer_that_fails_leaves_nothing_and_the_older_one_whole(tmp_path):
    path, worker, reference = saved_after_a_step(tmp_path)
    before = digests(tmp_path)

    def broken(folder):
        folder.mkdir()
        (folder / "half").write_text("x")
        raise ZeroDivisionError

    for step in (1, 2):  # the same step again, and a later one
        with pytest.raises(ZeroDivisionError):
            checkpoint.save(
                tmp_path,
                policy=worker.policy,
                save_model=broken,
                optimizer=worker.optimizer,
                reference=reference,
                state=State(step=step),
            )
        assert digests(tmp_path) == before
        assert names(tmp_path) == ["step_000001"]
    assert checkpoint.newest(tmp_path) == path


@pytest.mark.parametrize(
    "code,said", [(errno.ENOSPC, "disk is full"), (errno.EROFS, "no permission")]
)
@pytest.mark.parametrize("where", ["fsync", "mkdir", "rename", "save_model"])
def test_a_full_or_read_only_disk_is_named(tmp_path, monkeypatch, code, said, where):
    path, worker, reference = saved_after_a_step(tmp_path)
    before = digests(tmp_path)

    def fails(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    def save(save_model=Path.mkdir):
        checkpoint.save(
            tmp_path,
            policy=worker.policy,
            save_model=save_model,
            optimizer=worker.optimizer,
            reference=reference,
            state=State(step=2),
        )

    with monkeypatch.context() as patch:
        if where in ("fsync", "rename", "mkdir"):
            patch.setattr(os, where, fails)
        with pytest.raises(RunError, match=said) as caught:
            save(fails if where == "save_model" else Path.mkdir)
    assert "step_000002" in str(caught.value)
    assert digests(tmp_path) == before
    assert checkpoint.newest(tmp_path) == path
    save()  # and once there is room it works
    assert checkpoint.newest(tmp_path).name == "step_000002"


def test_the_full_disk_of_safetensors_is_named_too(tmp_path, monkeypatch):
    path, worker, _ = saved_after_a_step(tmp_path)

    class SafetensorError(Exception):
        pass

    def fails(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", fails)
    with pytest.raises(RunError, match=r"disk is full.*step_000002.*free some space"):
        checkpoint.save(
            tmp_path,
            policy=worker.policy,
            save_model=lambda hf: hf.mkdir(),
            optimizer=worker.optimizer,
            reference=None,
            state=State(step=2),
        )
    assert names(tmp_path) == [path.name]
