"""Conversion of a GGUF file that was written here from a known model."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aha.errors import ModelError
from aha.models import folder as model_folder
from aha.models.gguf import from_gguf, main

IDS = torch.tensor([[1, 70, 80, 90, 100, 2, 5]])


def test_the_folder_computes_what_the_model_did(tmp_path, tiny_gguf):
    tiny = tiny_gguf()
    said = from_gguf(tiny.file, tmp_path / "out", "float32")
    assert said["head"] == "tied"
    assert said["architecture"] == "llama"
    assert said["parameters"] == sum(p.numel() for p in tiny.model.parameters())
    got = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert got.dtype == torch.float32
    assert got.config.tie_word_embeddings
    assert got.config.rms_norm_eps == 1e-5  # not 9.999999747378752e-06
    with torch.no_grad():
        torch.testing.assert_close(got(IDS).logits, tiny.model(IDS).logits, rtol=1e-5, atol=1e-5)
    assert got.generation_config.eos_token_id == [2, 0]  # <|im_end|>, then <|endoftext|>
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert "quantization_config" not in config
    assert str(tmp_path) not in (tmp_path / "out" / "tokenizer_config.json").read_text("utf-8")


def test_bfloat16_weights_are_the_rounded_ones(tmp_path, tiny_gguf):
    tiny = tiny_gguf()
    from_gguf(tiny.file, tmp_path / "out")
    got = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert got.dtype == torch.bfloat16
    want = tiny.model.model.layers[1].mlp.up_proj.weight.to(torch.bfloat16)
    assert torch.equal(got.model.layers[1].mlp.up_proj.weight, want)


def test_a_head_split_by_the_format_is_tied_again_with_the_finer_of_the_two(tmp_path, tiny_gguf):
    tiny = tiny_gguf(head="again")
    said = from_gguf(tiny.file, tmp_path / "out", "float32")
    assert said["head"].startswith("tied again")
    assert "kept the head's" in said["head"]
    got = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert got.lm_head.weight is got.model.embed_tokens.weight
    assert torch.equal(got.lm_head.weight, torch.from_numpy(tiny.head.copy()))
    assert (
        model_folder.header(tmp_path / "out" / "model.safetensors")
        .keys()
        .isdisjoint({"lm_head.weight"})
    )


def test_a_head_of_its_own_stays_its_own(tmp_path, tiny_gguf):
    tiny = tiny_gguf(head="own")
    said = from_gguf(tiny.file, tmp_path / "out", "float32")
    assert said["head"].startswith("its own")
    got = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not got.config.tie_word_embeddings
    with torch.no_grad():
        torch.testing.assert_close(got(IDS).logits, tiny.model(IDS).logits, rtol=1e-5, atol=1e-5)


def test_the_tokenizer_splits_as_the_vocabulary_was_learned(tmp_path, tiny_gguf):
    tiny = tiny_gguf()
    from_gguf(tiny.file, tmp_path / "out", "float32")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    letter = {text: 3 + byte for byte, text in enumerate(tiny.letters)}
    # SmolLM: digits alone, so that the two spaces before them are one piece and one token (259);
    # the GPT-2 pattern by itself would leave the second space with the digits
    want = [letter["x"], 259, letter["1"], letter["2"], 260]
    assert tokenizer("x  12ab").input_ids == want
    assert tokenizer.decode(want) == "x  12ab"
    chat = [{"role": "user", "content": "a"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
    assert ids["input_ids"][0] == 1  # <|im_start|> stays whole
    assert ids["input_ids"].count(2) == 1  # <|im_end|>
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.model_max_length == 128


def test_qwen_text_is_brought_to_normal_form(tmp_path, tiny_gguf):
    tiny = tiny_gguf(pre="qwen2")
    from_gguf(tiny.file, tmp_path / "out", "float32")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("e\u0301").input_ids == tokenizer("\u00e9").input_ids  # NFC


def test_an_unknown_splitter_is_refused(tmp_path, tiny_gguf):
    tiny = tiny_gguf(pre="not-yet-invented")
    with pytest.raises(ModelError, match="not-yet-invented"):
        from_gguf(tiny.file, tmp_path / "out", "float32")
    assert not (tmp_path / "out").exists()


def test_a_missing_tensor_is_refused_not_made_up(tmp_path, tiny_gguf):
    tiny = tiny_gguf(drop="blk.1.ffn_up.weight")
    with pytest.raises(ModelError, match="lacks tensors"):
        from_gguf(tiny.file, tmp_path / "out", "float32")


def test_a_cut_file_is_refused(tmp_path, tiny_gguf):
    tiny = tiny_gguf()
    data = tiny.file.read_bytes()
    tiny.file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        from_gguf(tiny.file, tmp_path / "out", "float32")


def test_the_same_file_gives_the_same_bytes(tmp_path, tiny_gguf):
    tiny = tiny_gguf()
    for name in ("a", "b"):
        assert main([str(tiny.file), str(tmp_path / name)]) == 0
    one, two = ((tmp_path / name / "manifest.json").read_text("utf-8") for name in "ab")
    assert one == two


def test_the_command_explains_itself(tmp_path, capsys):
    assert main([]) == 2
    assert main([str(tmp_path / "no.gguf"), str(tmp_path / "out")]) == 1
    assert "must be a file" in capsys.readouterr().err
