"""Where a stage's result comes from, to the byte: RUN/STAGE/lineage.json, and the same beside each model.

    {"aha", "recipe", "stage", "kind", "seed", "fingerprint", "license",
     "start": {"model", "sha256", ...what is known of it},
     "data": [{"source", "files": [{"file", "sha256", "rows"}], "from"}], "heldout": [...],
     "rewards": [models that judged: {"name", "model", "sha256", ...}], "asked": {...},
     "asked_sha256": {of templates, tokenizer, examples, functions, held-out problems}}

Made once, when a stage is begun, and read ever after: a stage that goes on is refused where its files or its
model have become others (`changed`). A stage that began from another
one holds that one's lineage in short, and so on down to what was made elsewhere, of which it holds the hash.
No time, no path of a run folder: two runs of a recipe have the same.

Not covered: bytes of data sets of the hub (their name stands), what a judge behind an endpoint answered.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aha
from aha import files
from aha.config import Recipe
from aha.data import query, readers, sources
from aha.errors import AhaError
from aha.models import card
from aha.models.locate import PACKAGED, locate
from aha.stages import start
from aha.stages.dag import Node

LINEAGE = card.LINEAGE
TEMPLATES = ("template", "chat_template")
ASKED = ("template", "chat_template", "system", "suffix", "think_tag", "answer_tag")
"""Keys of [data] that say how the model was asked."""
_CACHED = re.compile(r"models--([\w.-]+)--([\w.-]+)/snapshots/([0-9a-f]{6,64})")
"""Where the hub's cache keeps ORG/NAME at a revision."""


def of_stage(recipe: Recipe, node: Node, root: Path) -> dict[str, Any]:
    """The lineage of a stage, from its folder if it is there, else made and put there.

    Args:
        recipe: the whole recipe, references as they are written.
        root: the run's folder.

    Raises:
        AhaError: the model or the data that it started from cannot be found.
    """
    path = root / node.name / LINEAGE
    stored = read(path)
    if stored is None:
        stored = make(recipe, node, root)
        files.write_json(path, stored)
    return stored


def make(recipe: Recipe, node: Node, root: Path) -> dict[str, Any]:
    """The same, from the recipe and the files that it names."""
    seen = start.view(recipe, node.name, root)
    asks_no_model = node.kind in ("pretrain", "judge") or _tables(node, seen)[0].get("written")
    began = None if asks_no_model else start_of(node, seen)
    data = node.config.get("data", {})
    return {
        "aha": aha.__version__,
        "recipe": recipe.name,
        "stage": node.name,
        "kind": node.kind,
        "seed": node.config["seed"],
        "fingerprint": node.fingerprint,
        "license": began and began.get("license"),
        "start": began,
        "data": data_of(node, seen, root, "train"),
        "heldout": data_of(node, seen, root, "heldout"),
        "rewards": rewards_of(node, seen),
        "asked": {key: data[key] for key in ASKED if data.get(key)},
        "asked_sha256": _asked_files(node, seen),
    }


def changed(recipe: Recipe, node: Node, root: Path) -> list[str]:
    """What is not as it was when the stage was begun: weights that it starts from or is judged by, its data,
    templates and functions.

    [] too where no lineage was written then, or none can be made now: whoever reads what is missing says so.
    """
    stored = read(root / node.name / LINEAGE)
    if stored is None:
        return []
    try:
        before, now = _hashes(stored), _hashes(make(recipe, node, root))
    except AhaError:
        return []
    found = []
    for what in dict.fromkeys([*before, *now]):
        if what not in now:
            found.append(f"{what} has gone")
        elif what not in before:
            found.append(f"{what} has come")
        elif before[what] != now[what]:
            found.append(f"{what} changed (sha256 {before[what][:12]}, now {now[what][:12]})")
    return found


def _hashes(lineage: Mapping[str, Any]) -> dict[str, str]:
    """sha256 by name of the models that a stage began from and of each file that it reads."""
    models = [lineage.get("start"), *(lineage.get("rewards") or [])]
    found = {
        f"the model {model['model']}: {file}": digest
        for model in models
        if model
        for file, digest in model["sha256"].items()
    }
    found |= lineage.get("asked_sha256", {})
    for one in [*(lineage.get("data") or []), *(lineage.get("heldout") or [])]:
        found |= {f"{one['source']}: {it['file']}": it["sha256"] for it in one.get("files", [])}
    return found


def weights_of(stage: str, root: Path) -> list[str]:
    """sha256 of the weights that a stage has made; [] while it has made none."""
    try:
        folder = locate(str(root / stage))
    except AhaError:
        return []
    said = read(folder / LINEAGE) or {}
    known = said.get("weights")
    return sorted((known if isinstance(known, dict) else card.weights(folder)).values())


def read(path: Path) -> dict[str, Any] | None:
    """A lineage that was written; None if there is none that can be read."""
    try:
        said = json.loads(path.read_text("utf-8"))
        found = json.loads(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def short(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """What a descendant says of it: names and fingerprints, without files."""
    said = {
        key: lineage[key]
        for key in ("recipe", "stage", "kind", "step", "seed", "fingerprint")
        if lineage.get(key) is not None
    }
    began, data = lineage.get("start"), lineage.get("data") or []
    if isinstance(began, dict):
        said["start"] = {key: began[key] for key in ("model", "sha256", "lineage") if key in began}
    said["data"] = [{key: one[key] for key in ("source", "from") if key in one} for one in data]
    if lineage.get("rewards"):
        said["rewards"] = [
            {key: one[key] for key in ("name", "model", "sha256", "lineage") if key in one}
            for one in lineage["rewards"]
        ]
    return said


# -- the models --------------------------------------------------------------------------------------------


def start_of(node: Node, seen: Recipe) -> dict[str, Any]:
    """The model that a stage began from; see `_model`."""
    return _model(node.config["model"]["path"], seen.model.path)


def rewards_of(node: Node, seen: Recipe) -> list[dict[str, Any]]:
    """The reward models, and the judges that run here, whose word the stage took."""
    own, placed = _tables(node, seen)
    if node.kind == "judge":
        path = own["judge"]["path"]
        return [{"name": "judge"} | _model(path, placed.judge.path)] if path else []
    return [
        {"name": name} | _model(asked["path"], getattr(placed, table)[name].path)
        for table in ("reward_models", "judges", "refiners")
        for name, asked in sorted((own.get(table) or {}).items())
        if asked.get("path")
    ]


def _model(written: str, placed: str) -> dict[str, Any]:
    """A model as the recipe names it, the hash of its weights, and what is known of it.

    Raises:
        ModelError: it is not there.
    """
    folder = locate(placed)
    found: dict[str, Any] = {
        "model": written,
        "sha256": card.weights(folder),
        "license": card.license_of(folder),
    }
    cached = _CACHED.search(str(folder))
    if cached:
        found |= {"hub": f"{cached[1]}/{cached[2]}", "revision": cached[3]}
    own, fetched, made = (
        read(folder / name) for name in (LINEAGE, "aha_source.json", "provenance.json")
    )
    if own is not None:
        found["lineage"] = short(own)
        found["license"] = own.get("license")
    elif fetched is not None:
        found["source"] = {
            key: fetched.get(key) for key in ("name", "packages", "member", "sha256")
        }
        found["license"] = fetched.get("licence") or found["license"]
    elif made is not None:
        told = made.get("recipe")
        found["source"] = {key: made.get(key) for key in ("stage", "corpus", "tokens", "commit")}
        if isinstance(told, dict):
            found["source"] |= {"recipe": told.get("name"), "seed": told.get("seed")}
    if folder.parent == PACKAGED:
        found["license"] = "apache-2.0"  # that of the package
    return found


# -- the data ----------------------------------------------------------------------------------------------


def data_of(node: Node, seen: Recipe, root: Path, role: str) -> list[dict[str, Any]]:
    """Each source of one role (train, heldout): as the recipe has it, its files, the stage it is from."""
    if node.kind == "pretrain":
        from aha.data import corpus

        said = f"generated corpus, version {corpus.VERSION}, seed {node.config['seed']}"
        return [{"source": said}] if role == "train" else []
    return [_data(written, placed, role, root) for written, placed in _sources(node, seen, role)]


def _sources(node: Node, seen: Recipe, role: str) -> Iterator[tuple[str, str]]:
    """(as the recipe has it, with the paths of this run) of each source that the stage reads."""
    own, placed = _tables(node, seen)
    key = "written" if role == "train" and own.get("written") else role
    if node.kind == "judge":
        key = "answers" if role == "train" else role
    elif key != "written" and "train" not in own:
        own, placed = node.config["data"], seen.data
    yield from zip(_listed(own.get(key)), _listed(getattr(placed, key, None)), strict=True)


def _tables(node: Node, seen: Recipe) -> tuple[dict[str, Any], Any]:
    """A stage's own table, as the recipe has it and with the paths of this run."""
    table = start.TABLE.get(node.kind)
    return node.config[table or node.name], (
        getattr(seen, table) if table else seen.stage[node.name]
    )


def _listed(said: str | list[str] | None) -> list[str]:
    return [said] if isinstance(said, str) and said else list(said or [])


def _data(written: str, placed: str, role: str, root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"source": written}
    for name in start.references(written):
        made_by = read(root / name / LINEAGE)
        if made_by is not None:
            found["from"] = short(made_by)
    named = files_of(placed, role)
    if named:
        found["files"] = [
            {"file": path.name, "sha256": files.sha256(path), "rows": _rows(path)} for path in named
        ]
    return found


def _asked_files(node: Node, seen: Recipe) -> dict[str, str]:
    """sha256 of the files that say how the model was asked, what it was paid by and what was held out:
    templates, its tokenizer, examples in front of a question, functions, held-out problems."""
    data, (own, placed) = node.config.get("data", {}), _tables(node, seen)
    named = {key: Path(data[key]).expanduser() for key in TEMPLATES if data.get(key)}
    if node.kind not in ("pretrain", "judge") and not own.get("written"):
        with contextlib.suppress(AhaError):
            named["tokenizer"] = locate(seen.model.path) / "tokenizer.json"
    sources_of = {"examples": _listed(getattr(placed, "examples", None))}
    if "train" in own:
        sources_of["data.heldout"] = _listed(data.get("heldout"))
    for role, some in sources_of.items():
        for one in some:
            found_files = files_of(one, "heldout" if role == "data.heldout" else "train")
            named |= {f"{role} {path.name}": path for path in found_files}
    tables = [own.get("rewards") or {}, *(own.get("rewards_for") or {}).values()]
    for name in {name for table in tables for name in table if ":" in name}:
        named[name] = Path(name.rpartition(":")[0]).expanduser()
    return {key: files.sha256(path) for key, path in sorted(named.items()) if path.is_file()}


def files_of(source: str, role: str) -> list[Path]:
    """The files of a source; none of a task, a data set of the hub or a stage's rollouts."""
    try:
        asked = query.parse(source)
        path = Path(asked.where).expanduser()
        if path.is_file():
            return [path]
        if path.is_dir():
            return sources.files_of_split(path, asked.keys.get("split", role))
    except (AhaError, OSError, RuntimeError):
        pass  # whoever reads the data says what is wrong with them
    return []


def _rows(path: Path) -> int | None:
    """Rows of a file, usable or not; None if it cannot be read as rows."""
    try:
        return sum(1 for _ in readers.read(path))
    except AhaError:
        return None
