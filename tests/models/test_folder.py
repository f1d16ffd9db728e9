"""Folders that lie: each gives one line, none is loaded, none runs code."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aha.errors import ModelError
from aha.models.folder import check, header


def make_model(folder: Path) -> Path:
    """The least that passes: not a working model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}
    save_file(weights, folder / "model.safetensors")
    return folder


def write_raw(path: Path, tensors: object, data: bytes = b"") -> None:
    text = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        check(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_folder_passes(tmp_path):
    folder = make_model(tmp_path / "m")
    assert check(folder) == folder
    found = header(folder / "model.safetensors")
    assert {name: told["shape"] for name, told in found.items()} == {"a": [2, 3], "b": [4]}


def test_what_is_missing_is_named(tmp_path):
    folder = make_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    assert "without tokenizer" in refusal(folder)
    (folder / "vocab.json").write_text("{}", "utf-8")
    (folder / "merges.txt").write_text("", "utf-8")
    check(folder)
    (folder / "model.safetensors").unlink()
    assert "no model.safetensors" in refusal(folder)
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(folder)
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    assert "adapter" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "x.ckpt"])
def test_pickles_are_refused_unread(tmp_path, name):
    folder = make_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "ran"
    (folder / name).write_bytes(f"cbuiltins\nopen\n(S'{trace}'\nS'w'\ntR.".encode())
    said = refusal(folder)
    assert name in said
    assert "save_pretrained" in said
    assert not trace.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_the_folder_is_refused(tmp_path, name):
    folder = make_model(tmp_path / "m")
    told = {"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    (folder / name).write_text(json.dumps(told), "utf-8")
    assert "auto_map" in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"model_type": 3}', "\ufeff{}"])
def test_a_config_that_is_none(tmp_path, text):
    folder = make_model(tmp_path / "m")
    (folder / "config.json").write_text(text, "utf-8")
    assert "config.json" in refusal(folder)


def tensor(offsets: list[object], shape: object = (2,), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "tensors, size",
    [
        ({"a": tensor([0, 8]), "b": tensor([4, 12])}, 12),  # overlap
        ({"a": tensor([0, 8]), "b": tensor([12, 20])}, 20),  # a gap
        ({"a": tensor([0, 8])}, 4),  # cut
        ({"a": tensor([0, 8])}, 12),  # something after the end
        ({"a": tensor([-8, 0])}, 8),
        ({"a": tensor([8, 0])}, 8),
        ({"a": tensor([0, 1 << 63], [1 << 61])}, 8),
        ({"a": tensor([0, 8], [3])}, 8),  # the shape says 12 bytes
        ({"a": tensor([0, 8], [-2])}, 8),
        ({"a": tensor([0, 8], [2.0])}, 8),
        ({"a": tensor([0, 8], [True, 2])}, 8),
        ({"a": tensor([0, 8], None)}, 8),
        ({"a": tensor([0, 8, 8])}, 8),
        ({"a": tensor([0, 8], dtype="F31")}, 8),
        ({"a": tensor([0, 8], dtype=["F32"])}, 8),
        ({"a": 8}, 8),
        ([], 8),
        ({}, 0),  # a model without tensors
    ],
)
def test_headers_that_lie(tmp_path, tensors, size):
    folder = make_model(tmp_path / "m")
    write_raw(folder / "model.safetensors", tensors, bytes(size))
    assert "is damaged" in refusal(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 1 << 63) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        struct.pack("<Q", 2) + b"{",
        struct.pack("<Q", 2) + b"\xff\xfe",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
)
def test_files_that_are_no_safetensors(tmp_path, data):
    folder = make_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(data)
    assert "is damaged" in refusal(folder)


def test_a_file_cut_anywhere_is_noticed(tmp_path):
    folder = make_model(tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    for length in range(len(whole)):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(ModelError):
            check(folder)


def sharded(folder: Path) -> Path:
    make_model(folder)
    (folder / "model.safetensors").unlink()
    save_file({"a": torch.zeros(2)}, folder / "model-1.safetensors")
    save_file({"b": torch.zeros(2)}, folder / "model-2.safetensors")
    write_index(folder, {"a": "model-1.safetensors", "b": "model-2.safetensors"})
    return folder


def write_index(folder: Path, where: object) -> None:
    text = json.dumps({"metadata": {}, "weight_map": where})
    (folder / "model.safetensors.index.json").write_text(text, "utf-8")


def test_shards_are_followed(tmp_path):
    folder = sharded(tmp_path / "m")
    check(folder)
    (folder / "model-2.safetensors").write_bytes(b"")
    assert "is damaged" in refusal(folder)
    (folder / "model-2.safetensors").unlink()
    assert "lacks the shard model-2.safetensors" in refusal(folder)


@pytest.mark.parametrize(
    "where, said",
    [
        ({"a": "../model-1.safetensors"}, "outside the folder"),
        ({"a": "/etc/model-1.safetensors"}, "outside the folder"),
        ({"a": "..\\model-1.safetensors"}, "outside the folder"),
        ({"a": 1}, "outside the folder"),
        ({"a": "model-1.bin"}, "only safetensors"),
        ({"c": "model-1.safetensors"}, "lacks 'c'"),
        ({}, "no weight_map"),
        (["a"], "no weight_map"),
    ],
)
def test_indices_that_lie(tmp_path, where, said):
    folder = sharded(tmp_path / "m")
    write_index(folder, where)
    assert said in refusal(folder)
