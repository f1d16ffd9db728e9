"""What loading promises: switches that act, folders that come back, nothing private written."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from aha.config import ModelConfig
from aha.models import load as models
from aha.models.policy import pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def forwards(loaded: models.Loaded) -> int:
    """Forward passes of the first layer's MLP in one forward and backward."""
    count = 0

    def hook(*_: object) -> None:
        nonlocal count
        count += 1

    layer = loaded.policy.causal.model.layers[0].mlp
    handle = layer.register_forward_pre_hook(hook)  # recomputing stops before the layer ends
    loaded.policy(pack([[1, 2, 3]], [[[4, 5]]]))[0].sum().backward()
    handle.remove()
    return count


@pytest.mark.parametrize("rank", [0, 4])
def test_gradient_checkpointing_recomputes(folder, rank):
    plain = models.load(folder, ModelConfig(lora_rank=rank))
    again = models.load(folder, ModelConfig(lora_rank=rank, gradient_checkpointing=True))
    assert forwards(plain) == 1
    assert forwards(again) == 2


def test_a_saved_model_is_an_ordinary_folder(folder, tmp_path):
    loaded = models.load(folder, ModelConfig())
    models.save(tmp_path / "out", loaded)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "aha" not in json.dumps(written)
    plain = LlamaForCausalLM.from_pretrained(tmp_path / "out")
    before = dict(loaded.policy.causal.named_parameters())
    assert all(torch.equal(before[n], p) for n, p in plain.named_parameters())


def test_small_models_are_float32_and_asked_dtypes_are_kept(folder):
    assert models.load(folder, ModelConfig()).dtype == "float32"
    loaded = models.load(folder, ModelConfig(dtype="bfloat16"))
    assert {p.dtype for p in loaded.policy.parameters()} == {torch.bfloat16}
