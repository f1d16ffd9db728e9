"""A GGUF file becomes an ordinary model folder: de-quantised weights, tokenizer, chat template.

    python -m aha.models.gguf FILE.gguf NEW_FOLDER

transformers reads the file; here is what it leaves to be done. A model loaded from GGUF refuses to
be saved, so it is rebuilt from its configuration and tensors. The format stores the output head
apart even where the model has none of its own: such a head is tied to the embedding again. And what
the format knows only by the name of its text splitter is completed: digits and normal form.

Not covered:    quantised weights are a lossy start; nothing here repairs that.
May import:     torch, transformers, gguf (extra `models`), inside the functions.
"""

import contextlib
import importlib.util
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha.errors import ModelError
from aha.files import new_folder, write_json
from aha.models import folder as model_folder

log = logging.getLogger(__name__)

TIE_BELOW = 0.1
"""Relative Frobenius distance of head and embedding up to which they are one matrix that was
quantised twice (4 to 8 bits: 0.005-0.09). Two different matrices are above 1."""
END_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>",
)  # fmt: skip
"""Special tokens that end a turn or a text: each one that the model has ends an answer."""


def from_gguf(file: Path, folder: Path, dtype: str = "bfloat16") -> dict[str, Any]:
    """De-quantise `file` into `folder` (which is made if need be).

    Args:
        dtype: of the stored weights, float32 or bfloat16.

    Returns:
        What was found: architecture, parameters, head (how it was tied, or that it was not).

    Raises:
        ModelError: the file cannot be read, lacks tensors, or splits text in a way we do not know.
    """
    if dtype not in ("float32", "bfloat16"):
        raise ModelError(f"dtype={dtype!r}: models are stored as float32 or bfloat16")
    for package in ("gguf", "accelerate"):  # transformers needs both to read the format
        if importlib.util.find_spec(package) is None:
            raise ModelError(f"reading GGUF needs {package}: pip install gguf accelerate")
    import gguf

    with _quiet():
        try:
            facts = gguf.GGUFReader(file)
            model, tokenizer = _read(file)
        except ModelError:
            raise
        except Exception as error:  # three libraries read it, each with errors of its own
            reason = str(error).strip().split("\n")[0][:300]
            raise ModelError(
                f"{file} cannot be read as GGUF ({type(error).__name__}: {reason}); check its "
                "sha256, or use a model whose architecture transformers reads from GGUF"
            ) from error
        _complete_splitter(tokenizer, facts, file)
        head = _tie(model, facts)
        folder.mkdir(parents=True, exist_ok=True)
        parameters = _save(model, tokenizer, folder, dtype)
    model_folder.check(folder)
    log.info("%s: %d parameters, head %s", file.name, parameters, head)
    return {"architecture": model.config.model_type, "parameters": parameters, "head": head}


def _read(file: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model, report = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        lost = missing or sorted(str(key) for key in report["mismatched_keys"])
        raise ModelError(f"{file} lacks tensors of its architecture: {', '.join(lost[:5])}")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(f"{file}: {len(tokenizer)} tokens, but an embedding of {rows} rows")
    return model, tokenizer


def _complete_splitter(tokenizer: Any, facts: Any, file: Path) -> None:
    """Give the tokenizer the splitting and normal form its vocabulary was learned with.

    GGUF keeps their name only. SmolLM: each digit alone, then the GPT-2 pattern; Qwen2: NFC first
    (both as in the models' own tokenizer.json). Any other name must be one transformers acts upon.
    """
    from tokenizers import normalizers, pre_tokenizers

    field = facts.fields.get("tokenizer.ggml.pre")
    name = str(field.contents()) if field is not None else "default"
    backend = tokenizer.backend_tokenizer
    if name == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif name in ("qwen2", "deepseek-r1-qwen"):
        backend.normalizer = normalizers.NFC()
    elif name not in ("default", "gpt-2") and isinstance(
        backend.pre_tokenizer, pre_tokenizers.ByteLevel
    ):
        raise ModelError(
            f"{file} splits text by {name!r}, which this transformers does not know: its tokens "
            "would not be those of training. Use the model's own folder, or a newer transformers"
        )


def _tie(model: Any, facts: Any) -> str:
    """Make head and embedding one again if they are one matrix; says in words what was done."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or head.weight is embedding.weight:
        model.config.tie_word_embeddings = True
        return "tied"
    if head.weight.shape != embedding.weight.shape:
        return "its own"
    ours, theirs = embedding.weight.detach(), head.weight.detach()
    distance = float((theirs - ours).norm() / ours.norm())
    if not distance < TIE_BELOW:
        model.config.tie_word_embeddings = False
        return f"its own (relative distance to the embedding {distance:.3f})"
    bits = {
        tensor.name: 8 * int(tensor.n_bytes) / int(tensor.n_elements)
        for tensor in facts.tensors
        if tensor.name in ("token_embd.weight", "output.weight")
    }
    taken, weight = "embedding", embedding.weight
    if bits.get("output.weight", 0) > bits.get("token_embd.weight", 0):
        taken, weight = "head", head.weight
    embedding.weight = head.weight = weight
    model.config.tie_word_embeddings = True
    return f"tied again (relative distance {distance:.4f}; kept the {taken}'s, stored finer)"


def _save(model: Any, tokenizer: Any, folder: Path, dtype: str) -> int:
    """Write the folder from configuration and tensors; returns the number of parameters."""
    import torch
    from transformers import GenerationConfig

    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    vars(config).pop("_model_name_or_path", None)  # a title, not a place
    for key, value in vars(config).items():  # 32-bit numbers of the file, in their shortest form
        if isinstance(value, float):
            setattr(config, key, _shortest(value))
    config.dtype = getattr(torch, dtype)
    config.architectures = [type(model).__name__]
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    state = {
        # fresh memory: what was loaded may be unaligned, and that changes the bits of products
        name: tensor.detach().to(config.dtype, copy=True).contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    with torch.device("meta"):
        clean = type(model)(config)
    clean.load_state_dict(state, strict=not tied, assign=True)
    clean.tie_weights()
    ends = [config.eos_token_id] if isinstance(config.eos_token_id, int) else config.eos_token_id
    ends = list(ends or [])
    added = tokenizer.added_tokens_encoder
    ends += [added[text] for text in END_TOKENS if text in added and added[text] not in ends]
    clean.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=ends, pad_token_id=config.pad_token_id
    )
    clean.save_pretrained(folder)
    tokenizer.model_max_length = getattr(config, "max_position_embeddings", None) or 1 << 20
    tokenizer.save_pretrained(folder)
    _tidy(folder)
    return sum(parameter.numel() for parameter in clean.parameters())


def _tidy(folder: Path) -> None:
    """Leave nothing of the temporary place in the files, and a name every transformers knows."""
    told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    for key in ("is_local", "local_files_only", "name_or_path", "backend"):
        told.pop(key, None)
    if told.get("tokenizer_class") == "TokenizersBackend":  # its name from transformers 5 on
        told["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(folder / "tokenizer_config.json", told)
    mode = (folder / "config.json").stat().st_mode
    for weights in folder.glob("*.safetensors"):  # written for the owner's eyes only
        weights.chmod(mode)


def _shortest(value: float) -> float:
    """9.999999747378752e-06 -> 1e-05: the shortest decimal that is the same 32-bit number."""
    import numpy

    return float(str(numpy.float32(value))) if float(numpy.float32(value)) == value else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers without its notes and bars: errors are raised, the rest does not matter here."""
    from transformers.utils import logging as noise

    level, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        noise.set_verbosity(level)
        if bars:
            noise.enable_progress_bar()


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m aha.models.gguf FILE.gguf NEW_FOLDER", file=sys.stderr)
        return 2
    file, folder = Path(arguments[0]), Path(arguments[1])
    try:
        if not file.is_file() or folder.exists():
            raise ModelError(f"{file} must be a file and {folder} must not exist yet")
        with new_folder(folder) as aside:
            said = from_gguf(file.resolve(), aside)
    except ModelError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{folder}: {said['parameters']} parameters, head {said['head']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
