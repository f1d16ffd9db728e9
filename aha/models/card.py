"""What stands beside the weights of a model that a stage made: lineage.json, and README.md, its model card.

The card is Markdown below a YAML head, as model hubs read it. Both hold what lineage.json of the stage says
(stages/lineage.py), the step and the sha256 of the weights, and nothing that differs between two runs.

Holds not: finding out where a model comes from. May import: errors, files. No torch.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from aha import files

LINEAGE = "lineage.json"
CARD = "README.md"
TAGS = {
    "rl": ("reinforcement-learning", "grpo"),
    "sft": ("sft",),
    "dpo": ("dpo",),
    "reward_model": ("reward-model",),
    "pretrain": ("pretraining",),
}
"""Kind of a stage -> tags of the models that it makes."""
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_LICENSE = re.compile(r"^license:[ \t]*([A-Za-z0-9.+-]{1,64})[ \t]*$", re.MULTILINE)
_HEAD = 65_536
"""Bytes of a foreign card that are read."""


def write(folder: Path, lineage: Mapping[str, Any], *, step: int | None = None) -> None:
    """Write both files into a model folder whose weights are there.

    Args:
        lineage: of the stage that made it.
        step: optimizer steps behind these weights.
    """
    full = {**lineage, "step": step, "weights": weights(folder)}
    files.write_json(folder / LINEAGE, full)
    files.write_text(folder / CARD, text(full))


def weights(folder: Path) -> dict[str, str]:
    """sha256 of each file of weights, by its name."""
    return {path.name: files.sha256(path) for path in sorted(folder.glob("*.safetensors"))}


def license_of(folder: Path) -> str | None:
    """The license that the card of a model folder names in its head; None if it names none."""
    try:
        with (folder / CARD).open("rb") as file:
            said = file.read(_HEAD).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return None
    if not said.startswith("---\n"):
        return None
    found = _LICENSE.search(said[4:].partition("\n---")[0])
    return found[1] if found else None


def text(lineage: Mapping[str, Any]) -> str:
    """The card. `lineage`: that of the stage, with `step` and `weights`."""
    parts = [
        f"---\n{yaml.safe_dump(head(lineage), sort_keys=False, allow_unicode=True)}---\n",
        f"# {_plain(lineage['recipe'])} · {_plain(lineage['stage'])}\n",
        _sentence(lineage) + "\n",
        *_table(lineage),
        "\n## Loading it\n",
        _loading(lineage["kind"]),
        _asking(lineage) + "\n",
        "## Lineage\n",
        "The same as data, with hashes: `lineage.json`.\n",
        *_tree(lineage, 0),
    ]
    return "\n".join(parts) + "\n"


def head(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """What a model hub reads: the YAML head. Only hub ids stand as base model and data sets."""
    reward = lineage["kind"] == "reward_model"
    found: dict[str, Any] = {"library_name": "transformers"}
    found["pipeline_tag"] = "text-classification" if reward else "text-generation"
    said = str(lineage.get("license") or "").lower()
    if _LICENSE.fullmatch(f"license: {said}"):
        found["license"] = said
    base = _hub_base(lineage)
    if base:
        found["base_model"] = base
    data = [str(one["source"]).partition("?")[0] for one in lineage["data"] if "files" not in one]
    hub = [name for name in dict.fromkeys(data) if _HUB_ID.fullmatch(name)]
    if hub:
        found["datasets"] = hub
    found["tags"] = ["aha", "reasoning", *TAGS.get(lineage["kind"], ())]
    return found


def _hub_base(lineage: Mapping[str, Any]) -> str | None:
    """The model of a hub that the chain of starts began with."""
    began = lineage.get("start")
    while began and began.get("lineage"):
        began = began["lineage"].get("start")
    if not began:
        return None
    named = str(began.get("hub") or began.get("model"))
    return named if _HUB_ID.fullmatch(named) and ".." not in named else None


def _sentence(lineage: Mapping[str, Any]) -> str:
    step = "" if lineage.get("step") is None else f", after {lineage['step']} steps"
    return (
        f"Made by aha {lineage['aha']}: stage {_code(lineage['stage'])} (kind {lineage['kind']}) of the "
        f"recipe {_code(lineage['recipe'])}, seed {lineage['seed']}{step}."
    )


def _table(lineage: Mapping[str, Any]) -> Iterator[str]:
    yield "| | |\n|---|---|"
    began = lineage.get("start")
    yield f"| started from | {_model(began) if began else 'random weights'} |"
    for role in ("data", "heldout"):
        for one in lineage[role]:
            yield f"| {'data' if role == 'data' else 'held out'} | {_source(one)} |"
    for one in lineage.get("rewards", ()):
        yield f"| judged by | {_code(one['name'])}: {_model(one)} |"
    yield f"| fingerprint of the stage | {_code(lineage['fingerprint'])} |"
    for name, digest in lineage["weights"].items():
        yield f"| sha256 of {_code(name)} | {_code(digest)} |"


def _model(began: Mapping[str, Any]) -> str:
    said = _code(began["model"])
    if began.get("hub"):
        said += f", {_code(began['hub'])} at revision {_code(began['revision'])}"
    made = began.get("source")
    if made:
        facts = ", ".join(f"{key} {value}" for key, value in made.items() if value is not None)
        said += f" ({_plain(facts)})"
    hashes = ", ".join(f"{_plain(name)} {_code(d)}" for name, d in began["sha256"].items())
    return f"{said}; sha256 {hashes}"


def _source(one: Mapping[str, Any]) -> str:
    said = _code(one["source"])
    for file in one.get("files", ()):
        rows = "" if file["rows"] is None else f", {file['rows']:,} rows"
        said += f"; {_code(file['file'])}{rows}, sha256 {_code(file['sha256'])}"
    return said


def _loading(kind: str) -> str:
    name = "SequenceClassification" if kind == "reward_model" else "CausalLM"
    return (
        "```python\n"
        f"from transformers import AutoModelFor{name}, AutoTokenizer\n"
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
        f'model = AutoModelFor{name}.from_pretrained("FOLDER")\n'
        "```\n"
    )


def _asking(lineage: Mapping[str, Any]) -> str:
    """Which template the model was trained with."""
    asked = lineage.get("asked") or {}
    if lineage["kind"] == "reward_model":
        return (
            "A score is that of the last token of the whole conversation, question and response, as the "
            "tokenizer's chat template writes it."
        )
    named = asked.get("template")
    if named is None:
        return "It was trained on plain text: no template."
    said = {
        "chat": "Chat template: the tokenizer's own (`tokenizer.apply_chat_template`).",
        "r1-zero": "Template: the plain text of R1-Zero (DeepSeek-R1, Table 1), not the tokenizer's chat "
        "template.",
    }.get(named, f"Template: the text file {_code(named)}, not the tokenizer's chat template.")
    tags = ", ".join(f"<{asked[key]}>" for key in ("think_tag", "answer_tag") if asked.get(key))
    said += f" Tags of thinking and answer: {_code(tags)}." if tags else ""
    for key in ("system", "suffix"):
        if asked.get(key):
            said += f" {key.capitalize()}: {_code(asked[key])}."
    return said


def _tree(lineage: Mapping[str, Any], depth: int) -> Iterator[str]:
    """The stages behind a model, each below what was made from it."""
    step = "" if lineage.get("step") is None else f", step {lineage['step']}"
    yield (
        f"{'  ' * depth}- stage {_code(lineage['stage'])} ({lineage['kind']}{step}) of "
        f"{_code(lineage['recipe'])}, fingerprint {_code(lineage['fingerprint'])}"
    )
    began = lineage.get("start")
    if began:
        yield f"{'  ' * (depth + 1)}- started from {_code(began['model'])}"
        if began.get("lineage"):
            yield from _tree(began["lineage"], depth + 2)
    for one in lineage["data"]:
        yield f"{'  ' * (depth + 1)}- learned from {_code(one['source'])}"
        if one.get("from"):
            yield from _tree(one["from"], depth + 2)
    for one in lineage.get("rewards", ()):
        yield f"{'  ' * (depth + 1)}- judged by {_code(one['name'])}, {_code(one['model'])}"
        if one.get("lineage"):
            yield from _tree(one["lineage"], depth + 2)


def _plain(value: Any) -> str:
    """Text on one line that means nothing in Markdown, HTML or a table."""
    line = " ".join(str(value).encode("utf-8", "replace").decode().split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", line)


def _code(value: Any) -> str:
    """The same as code."""
    line = " ".join(str(value).encode("utf-8", "replace").decode().split())
    return "`" + line.replace("`", "'").replace("|", "¦") + "`"
