"""Checkpoints: everything a run needs to go on as if it had not been interrupted.

    checkpoints/step_000020/
        hf/                     loads with AutoModelForCausalLM.from_pretrained
        state/optimizer.safetensors    float32 masters and moments by parameter name
        state/reference.safetensors    the KL reference, if there is one
        state/state.json        counters, cursor, alerts, random generators
        manifest.json           size and sha256 of every file, written last

The newest whole one counts; a damaged one is named and passed over. Kept: the newest few and the best.
Traps seen on this stack: safetensors with several metadata keys hash differently in every process
(one key only); loaded tensors may be unaligned and change rounding (they are copied).
"""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aha import files
from aha.errors import RunError
from aha.models.policy import Policy
from aha.train.optim import Optimizer
from aha.train.reference import Reference


@dataclass(slots=True)
class State:
    """What changes during a run besides tensors."""

    step: int = 0
    """Optimizer steps done."""
    phase: int = 0
    """Rollout phases done."""
    cursor: int = 0
    """Questions drawn so far; with the seed it gives the order of the data."""
    reference_step: int = 0
    """Step at which the reference was taken."""
    skipped_in_row: int = 0
    """Optimizer steps skipped for a non-finite loss or gradient, up to now in a row."""
    best_step: int = -1
    best_score: float = -1.0
    """Held-out pass@1 of the best checkpoint so far."""
    recent: list[float] = field(default_factory=list)
    """What the plateau is looked for in: one value a step, two windows at most."""
    ended: str = ""
    """Why the stage ended before its last step; "" if it did not."""
    alerts: dict[str, Any] = field(default_factory=dict)
    """Memory of the alerts."""


def step_name(step: int) -> str:
    return f"step_{step:06d}"


def save(
    folder: Path,
    *,
    policy: Policy,
    save_model: Callable[[Path], None],
    optimizer: Optimizer,
    reference: Reference | None,
    state: State,
) -> Path:
    """Write the checkpoint of `state.step` below `folder`, whole or not at all.

    Args:
        save_model: writes model and tokenizer into the given hf/ folder.
    """
    final = folder / step_name(state.step)
    with files.new_folder(final) as aside:
        (aside / "state").mkdir()
        save_model(aside / "hf")
        save_tensors(aside / "state" / "optimizer.safetensors", optimizer.state())
        if reference is not None:
            save_tensors(aside / "state" / "reference.safetensors", reference.state())
        everything = asdict(state) | {"random": _random_state()}
        files.write_json(aside / "state" / "state.json", everything)
    return final


def load(checkpoint: Path, *, optimizer: Optimizer, reference: Reference | None) -> State:
    """Put optimizer (and with it the weights), reference and random generators back.

    Raises:
        RunError: the checkpoint does not fit this model or recipe.
    """
    try:
        optimizer.load_state(load_file(checkpoint / "state" / "optimizer.safetensors"))
        if reference is not None:
            reference.load_state(load_file(checkpoint / "state" / "reference.safetensors"))
        saved = json.loads((checkpoint / "state" / "state.json").read_text("utf-8"))
        _set_random_state(saved.pop("random"))
        return State(**saved)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{checkpoint} cannot be resumed with this recipe: {error}. Was it made by another recipe "
            "or version? Start a new run under another name"
        ) from error


def newest(folder: Path, *, warn: Callable[[str], None] = lambda text: None) -> Path | None:
    """The newest whole checkpoint; damaged ones are reported and passed over."""
    for path in sorted(folder.glob("step_*"), key=_step_of, reverse=True):
        if files.TMP in path.name:
            continue
        wrong = files.verify(path)
        if wrong is None:
            return path
        warn(f"checkpoint {path} is damaged ({wrong}); trying an older one")
    return None


def prune(folder: Path, *, keep_last: int, best_step: int, step: int | None = None) -> None:
    """Delete all but the newest `keep_last` and the best; never the newest whole one.

    Args:
        step: where the run is now. Later checkpoints (damaged, or the run was resumed from an
            earlier one because of them) are left alone and do not count as the newest.
    """
    whole = [path for path in folder.glob("step_*") if files.TMP not in path.name]
    paths = sorted(whole, key=_step_of)
    if step is not None:
        paths = [path for path in paths if _step_of(path) <= step]
    for path in paths[:-keep_last]:
        if path.name != step_name(best_step):
            (path / files.MANIFEST).unlink(missing_ok=True)  # from here on it does not count
            shutil.rmtree(path, ignore_errors=True)


def _step_of(path: Path) -> int:
    digits = path.name.removeprefix("step_").partition(files.TMP)[0]
    return int(digits) if digits.isdigit() else -1


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Safetensors with one metadata key, so that equal tensors give equal bytes."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata={"format": "pt"})


def seed_all(seed: int) -> None:
    """Seed every generator: adapters draw their first weights, and a library may draw anything."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _random_state() -> dict[str, Any]:
    """State of every random generator; the run itself draws from none (its numbers are counted)."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, keys.tolist(), position, has, cached],  # type: ignore[union-attr]
        "torch": torch.get_rng_state().tolist(),
        "cuda": [s.tolist() for s in torch.cuda.get_rng_state_all()],
    }


def _set_random_state(saved: dict[str, Any]) -> None:
    version, numbers, gauss = saved["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has, cached = saved["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has, cached))
    torch.set_rng_state(torch.tensor(saved["torch"], dtype=torch.uint8))
    if saved["cuda"] and len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.tensor(s, dtype=torch.uint8) for s in saved["cuda"]])
