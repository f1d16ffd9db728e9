"""Is this folder a model that can be used? Judged from its files alone, before anything loads them.

Holds:          the checks of a Hugging Face folder: configuration, tokenizer, safetensors.
Not covered:    whether the weights are any good, and whether the architecture is known.
May import:     errors. No torch: the checks also guard `--dry-run` and `aha doctor`.
Must stay true: nothing in the folder is executed, no file outside it is opened by a name in it.
"""

import json
import math
from pathlib import Path
from typing import Any, TypeGuard

from aha.errors import ModelError

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_MAX_HEADER = 100_000_000  # bytes: the bound of the safetensors format
_MAX_JSON = 256_000_000  # bytes: the largest tokenizers and indices are below 50 MB
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_BITS |= dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8)
_BITS |= dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
_BITS |= dict.fromkeys(("U16", "I16", "F16", "BF16"), 16)
_BITS |= dict.fromkeys(("U32", "I32", "F32"), 32)
_BITS |= dict.fromkeys(("U64", "I64", "F64", "C64"), 64)


def check(folder: Path) -> Path:
    """Return `folder` if it is a whole model folder without code or pickles in its way.

    Raises:
        ModelError: in one line, what is missing or wrong and what to do.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{folder} is an adapter, not a model; merge it into its base and give that folder"
            )
        raise ModelError(f"{folder} has no config.json; give the folder that save_pretrained wrote")
    config = _json(folder / "config.json")
    _refuse_code(folder / "config.json", config)
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{folder / 'config.json'} has no model_type; take the model's own file")
    _check_tokenizer(folder)
    _check_weights(folder)
    return folder


def header(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> {dtype, shape, data_offsets} of a safetensors file, checked against its length.

    The format: 8 bytes of header length (little-endian), the header in JSON, the data. Data offsets
    count from the end of the header and tile the rest of the file without gap or overlap.

    Raises:
        ModelError: the header lies, or the file is cut.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8 or length > _MAX_HEADER:
                raise _damaged(path, f"{size} bytes, and a header of {length if size >= 8 else 0}")
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        tensors = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(tensors, dict):
        raise _damaged(path, "its header is not a table")
    tensors.pop("__metadata__", None)
    spans = sorted(_span(path, name, told) for name, told in tensors.items())
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise _damaged(path, f"the data of {name!r} starts at {start}, not at {end}")
        end = stop
    if end != size - 8 - length:
        raise _damaged(path, f"its tensors need {end} bytes, it holds {size - 8 - length}")
    return tensors


def _span(path: Path, name: str, told: Any) -> tuple[int, int, str]:
    """(first byte, byte after the last, name) of one tensor."""
    if not isinstance(told, dict):
        raise _damaged(path, f"{name!r} is not described")
    dtype, shape, offsets = told.get("dtype"), told.get("shape"), told.get("data_offsets")
    bits = _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None or not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise _damaged(path, f"{name!r} has dtype, shape or offsets that cannot be")
    start, stop = offsets
    needs = math.prod(shape) * bits
    if needs != (stop - start) * 8:
        raise _damaged(path, f"{name!r} needs {needs // 8} bytes, its offsets give {stop - start}")
    return start, stop, name


def _counts(value: Any) -> TypeGuard[list[int]]:
    """A short list of integers that are not negative, none of them absurd."""
    if not isinstance(value, list) or len(value) > 64:
        return False
    return all(type(n) is int and 0 <= n < 1 << 62 for n in value)


def _check_weights(folder: Path) -> None:
    if (folder / WEIGHTS).is_file():
        if not header(folder / WEIGHTS):
            raise _damaged(folder / WEIGHTS, "it holds no tensor")
        return
    if (folder / INDEX).is_file():
        return _check_shards(folder)
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{folder} has only {pickles[0]}: a pickle can run code when it is read, so it is "
            "refused. If you trust it, convert it in a program of your own: "
            "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    if list(folder.glob("*.gguf")):
        raise ModelError(
            f"{folder} has a GGUF file but no {WEIGHTS}; convert it once: "
            "python -m aha.models.gguf FILE.gguf NEW_FOLDER"
        )
    raise ModelError(f"{folder} has no {WEIGHTS}; give the folder that save_pretrained wrote")


def _check_shards(folder: Path) -> None:
    where = _json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise ModelError(f"{folder / INDEX} has no weight_map; fetch the model again")
    shards: dict[str, dict[str, Any]] = {}
    for tensor, shard in where.items():
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard:
            raise ModelError(
                f"{folder / INDEX} places {tensor!r} in {shard!r}, outside the folder: refused"
            )
        if not shard.endswith(".safetensors"):
            raise ModelError(f"{folder / INDEX} names {shard!r}: only safetensors are read")
        if shard not in shards:
            if not (folder / shard).is_file():
                raise ModelError(f"{folder} lacks the shard {shard}; fetch the model again")
            shards[shard] = header(folder / shard)
        if tensor not in shards[shard]:
            raise ModelError(f"{folder / shard} lacks {tensor!r}; fetch the model again")


def _check_tokenizer(folder: Path) -> None:
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise ModelError(
            f"{folder} is a model without tokenizer (no tokenizer.json); save the one it was "
            "trained with beside it: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)"
        )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            _refuse_code(folder / name, _json(folder / name))


def _refuse_code(path: Path, value: dict[str, Any]) -> None:
    if value.get("auto_map"):
        raise ModelError(
            f"{path} asks for code of its own (auto_map), which is never run; use a model whose "
            "architecture transformers knows, or remove auto_map if it does"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise ModelError(f"{path} is larger than {_MAX_JSON} bytes: refused")
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON table; fetch the model again")
    return value


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"{path} is damaged: {what}; fetch or export the model again")
