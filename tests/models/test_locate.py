"""What a user may type for a model, and what is said when there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aha.errors import ModelError
from aha.models import locate as located
from aha.models.locate import locate


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    return folder


def make_checkpoint(stage: Path, step: int, *, whole: bool = True) -> Path:
    folder = stage / "checkpoints" / f"step_{step:06d}"
    make_model(folder / "hf")
    if whole:
        (folder / "manifest.json").write_text("{}", "utf-8")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty home, no hub, and no shipped models but those a test makes."""
    monkeypatch.setenv("AHA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(located, "PACKAGED", tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_and_fetched_names_and_shipped_ones(tmp_path):
    assert locate(str(make_model(tmp_path / "mine"))) == tmp_path / "mine"
    assert locate("mine") == Path("mine")
    fetched = make_model(tmp_path / "home" / "models" / "tiny-0.1b")
    assert locate("tiny-0.1b") == fetched
    shipped = make_model(tmp_path / "weights" / "base")
    assert locate("aha:base") == shipped
    assert located.names() == ["aha:base", "smollm2-135m", "tiny-0.1b"]


def test_unknown_shipped_models_are_listed(tmp_path):
    make_model(tmp_path / "weights" / "base")
    with pytest.raises(ModelError, match=r"aha:bass .*there is: aha:base"):
        locate("aha:bass")
    for name in ("aha:../home", "aha:", "aha:/etc"):
        with pytest.raises(ModelError, match="there is: aha:base"):
            locate(name)


def test_runs_stages_and_checkpoints(tmp_path):
    run = tmp_path / "runs" / "r"
    first = make_checkpoint(run / "pretrain", 900)
    assert locate(str(run)) == first / "hf"
    ended = make_model(run / "pretrain" / "model")
    assert locate(str(run)) == locate(str(run / "pretrain")) == ended
    older = make_checkpoint(run / "zero", 9)
    newer = make_checkpoint(run / "zero", 10)
    make_checkpoint(run / "zero", 11, whole=False)  # its writer was killed
    make_model(run / "zero" / "checkpoints" / "step_000012.tmp-77" / "hf")
    assert locate(str(run)) == newer / "hf"
    assert locate(str(run / "zero")) == newer / "hf"
    assert locate(str(older)) == older / "hf"
    assert locate(str(older / "hf")) == older / "hf"


def test_a_run_without_checkpoints_says_so(tmp_path):
    (tmp_path / "r" / "zero" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ModelError, match="without a checkpoint yet"):
        locate(str(tmp_path / "r"))
    with pytest.raises(ModelError, match="no whole checkpoint yet"):
        locate(str(tmp_path / "r" / "zero"))


def test_a_damaged_checkpoint_is_refused(tmp_path):
    folder = make_checkpoint(tmp_path / "zero", 1)
    (folder / "hf" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="damaged"):
        locate(str(folder))


@pytest.mark.parametrize(
    "typed, said",
    [
        ("smollm2-135m", "aha model get smollm2-135m"),
        ("smollm-135m", "did you mean smollm2-135m"),
        ("./mime", "did you mean mine"),
        ("~nobody-here/m", "no folder"),
        ("", "no model ''"),
        ("mine.gguf", "python -m aha.models.gguf"),
        ("mine.txt", "is a file"),
        ("../../etc", "no folder"),
    ],
)
def test_what_is_said_when_there_is_none(tmp_path, typed, said):
    make_model(tmp_path / "mine")
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    (tmp_path / "mine.txt").write_bytes(b"")
    with pytest.raises(ModelError, match=said.replace(".", r"\.")):
        locate(typed)


def test_hub_ids_come_from_the_cache_then_the_hub(tmp_path, monkeypatch):
    asked = []
    snapshot = make_model(tmp_path / "snapshot")

    def hub(name: str, *, fetch: bool) -> Path | None:
        asked.append((name, fetch))
        return snapshot if fetch else None

    monkeypatch.setattr(located, "hub_folder", hub)
    assert locate("org/name") == snapshot
    assert asked == [("org/name", False), ("org/name", True)]


def test_a_hub_that_cannot_be_reached_is_explained(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"cannot be had from the hub.*Give a folder"):
        locate("nobody-here/nothing-at-all")


def test_no_torch_is_loaded():
    code = (
        "import sys, aha.models.locate, aha.models.get, aha.models.gguf; "
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    root = Path(located.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
