"""`tiny_gguf`: a random Llama of some 100,000 parameters, written as GGUF by the gguf library."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

HIDDEN, HEADS, KV_HEADS, LAYERS, INNER = 64, 4, 2, 2, 96
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    file: Path
    model: object
    """The transformers model whose weights were written (float32)."""
    embedding: np.ndarray
    """As a reader gets it back."""
    head: np.ndarray | None
    letters: list[str]
    """Byte -> its letter in the vocabulary; its token is 3 + byte."""


def _byte_letters() -> list[str]:
    """The 256 letters of GPT-2's byte alphabet, by byte (Radford et al. 2019, encoder.py)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(extra)) for byte in range(256)]


def _interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q and k as llama.cpp wants them: pairs (i, i + d/2) of a head become neighbours."""
    rows = []
    size = weight.shape[0] // heads
    for head in range(heads):
        for i in range(size // 2):
            rows += [head * size + i, head * size + i + size // 2]
    return weight[rows]


def _write(path: Path, *, head: str = "none", pre: str = "smollm", drop: str = "") -> Tiny:
    """Write a tiny GGUF file.

    Args:
        head: none (left out), again (the embedding a second time, stored finer), own (another).
        pre: the splitter's name in the file.
        drop: name of a tensor to leave out.
    """
    import gguf
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *_byte_letters(), "ĠĠ", "ab"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens), hidden_size=HIDDEN, intermediate_size=INNER, rms_norm_eps=1e-5,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
        max_position_embeddings=128, tie_word_embeddings=head != "own", initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ Ġ", "a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, value: np.ndarray, kind: object = None) -> np.ndarray:
        """Write one tensor; returns what a reader gets back."""
        if name == drop:
            return value
        if kind is None:
            writer.add_tensor(name, np.ascontiguousarray(value, dtype=np.float32))
            return value
        packed = gguf.quants.quantize(np.ascontiguousarray(value, dtype=np.float32), kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
        return gguf.quants.dequantize(packed, kind)

    coarse = gguf.GGMLQuantizationType.Q5_0 if head == "again" else None
    embedding = add("token_embd.weight", state["model.embed_tokens.weight"], coarse)
    written = None
    if head == "again":
        fine = gguf.GGMLQuantizationType.Q8_0
        written = add("output.weight", state["model.embed_tokens.weight"], fine)
    elif head == "own":
        written = add("output.weight", state["lm_head.weight"])
    add("output_norm.weight", state["model.norm.weight"])
    for layer in range(LAYERS):
        ours, theirs = f"model.layers.{layer}", f"blk.{layer}"
        q = state[f"{ours}.self_attn.q_proj.weight"]
        k = state[f"{ours}.self_attn.k_proj.weight"]
        add(f"{theirs}.attn_q.weight", _interleave(q, HEADS))
        add(f"{theirs}.attn_k.weight", _interleave(k, KV_HEADS))
        add(f"{theirs}.attn_v.weight", state[f"{ours}.self_attn.v_proj.weight"])
        add(f"{theirs}.attn_output.weight", state[f"{ours}.self_attn.o_proj.weight"])
        add(f"{theirs}.ffn_gate.weight", state[f"{ours}.mlp.gate_proj.weight"])
        add(f"{theirs}.ffn_up.weight", state[f"{ours}.mlp.up_proj.weight"])
        add(f"{theirs}.ffn_down.weight", state[f"{ours}.mlp.down_proj.weight"])
        add(f"{theirs}.attn_norm.weight", state[f"{ours}.input_layernorm.weight"])
        add(f"{theirs}.ffn_norm.weight", state[f"{ours}.post_attention_layernorm.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Tiny(path, model, embedding, written, _byte_letters())


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Callable[..., Tiny]:
    """Writes `tiny.gguf` into tmp_path; options as in `_write`."""
    return lambda **options: _write(tmp_path / "tiny.gguf", **options)
