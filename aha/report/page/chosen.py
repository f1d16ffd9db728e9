"""Which answers of a run have their text in the page: one budget of bytes for all of its stages.

    training   rollouts of RL stages (rollouts.py chooses)
    held out   the first, the best and the last evaluation of a stage (answers.py)
    measured   the same questions of every measured model (compared.py)
    sampled    answers of sampling stages, kept and dropped (sampled.py)

All files are read once for what they hold; then the budget is shared; then the text of what was chosen is
read. What one part does not need goes to the others.

Must stay true: never more bytes of groups than the budget, whatever the files hold.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.report.page import answers, asked, compared, rollouts, sampled
from aha.report.page.asked import Choice, Key
from aha.report.page.escape import embedded
from aha.report.page.lineage import Stage
from aha.report.page.measures import BASE, BASES, base_of
from aha.report.page.read import Reader, number, string, table
from aha.report.page.rollouts import Chosen, Index

TRAINING, HELD_OUT, MEASURED, SAMPLED = "training", "held out", "measured", "sampled"
WEIGHTS = {TRAINING: 0.4, HELD_OUT: 0.13, MEASURED: 0.35, SAMPLED: 0.12}
"""How the budget is shared where it is short; stages share a part evenly."""
SLACK = 1.25
"""Of sizes, which are estimates: what has `<` or no ASCII takes more in the page."""
Alerted = tuple[str, int, str]
"""Stage ("" for any), step, prompt id."""


@dataclass(frozen=True, slots=True)
class OfStage:
    """What is known of the answers of a stage, and those with text."""

    index: Index
    results: list[dict[str, Any]]
    """Of its evaluations, oldest first."""
    chosen: Chosen
    groups: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Texts:
    stages: Mapping[str, OfStage]
    bases: Mapping[str, list[dict[str, Any]]]
    """Groups of the measured models that no stage made, by name: the one that the recipe begins with
    (measures.BASE), those that stages start from (measures.base_of)."""
    counts: Mapping[str, Mapping[str, int]]
    """measured and sampled: questions and answers, how many of them are shown, first answers of each."""


def texts(
    reader: Reader,
    nodes: Sequence[Stage],
    recipe: Mapping[str, Any],
    alerts: Sequence[Alerted],
    budget: int,
) -> Texts:
    """The answers of all stages that fit into `budget` bytes."""
    root = reader.root
    tags = {node.name: _tags(recipe, node.config) for node in nodes}
    trained = {node.name: rollouts.index(reader, root / node.name / "rollouts") for node in nodes}
    results = {node.name: answers.evaluations(reader, root / node.name / "eval") for node in nodes}
    asked_as = dict.fromkeys([BASE, *map(base_of, tags)], _tags(recipe, {}))  # as [data] says
    folders = {name: root / BASES / name for name in asked_as}
    models = [compared.index(reader, _key(name), folders[name], asked_as[name]) for name in folders]
    models += [compared.index(reader, name, root / name / "measures", tags[name]) for name in tags]
    drawn = [
        sampled.index(reader, node.name, root / node.name, tags[node.name], node.config)
        for node in nodes
        if asked.samples_in(root / node.name / "eval").is_file()
    ]
    needs: dict[Key, int] = {
        (MEASURED, ""): compared.size(models),
        (SAMPLED, ""): sum(map(sampled.size, drawn)),
    }
    for node in nodes:
        needs[TRAINING, node.name] = sum(trained[node.name].sizes.values())
        needs[HELD_OUT, node.name] = _size(root / node.name / "eval", results[node.name])
    given = _given(budget, needs)

    measured_choice = compared.choose(models, given[MEASURED, ""])
    of_models = compared.texts(reader, models, measured_choice, given[MEASURED, ""])
    sampled_choice = sampled.choose(drawn, given[SAMPLED, ""])
    of_drawn = sampled.texts(reader, drawn, sampled_choice, given[SAMPLED, ""])
    stages: dict[str, OfStage] = {}
    for node in nodes:
        name = node.name
        named = [(step, prompt) for stage, step, prompt in alerts if stage in ("", name)]
        chosen, groups = _of_steps(
            reader,
            name,
            trained[name],
            results[name],
            tags[name],
            named,
            (given[TRAINING, name], given[HELD_OUT, name]),
        )
        groups += [*of_models.get(name, []), *of_drawn.get(name, [])]
        stages[name] = OfStage(trained[name], results[name], chosen, groups)
    asked_of = [source.values() for model in models for source in model.sources.values()]
    counts = {
        MEASURED: _counts(asked_of, of_models, measured_choice),
        SAMPLED: _counts([stage.questions.values() for stage in drawn], of_drawn, sampled_choice),
    }
    bases = {name: of_models[_key(name)] for name in folders if _key(name) in of_models}
    return Texts(stages, bases, counts)


def _key(base: str) -> str:
    """Of a model that no stage made, so that a stage may have the same name."""
    return f"{BASES}/{base}"


def _tags(recipe: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, str]:
    """Of the thinking and of the answer."""
    data = {**table(recipe.get("data")), **table(config.get("data"))}
    return string(data.get("think_tag")) or "think", string(data.get("answer_tag", "answer"))


def _size(folder: Path, results: Sequence[Mapping[str, Any]]) -> int:
    """About how many bytes the held-out answers that are shown would take."""
    total = 0.0
    for result in answers.shown_results(results):
        try:
            size = (folder / result["folder"] / asked.FILE).stat().st_size
        except OSError:
            continue
        problems = number(result["numbers"].get("problems")) or 1.0
        total += size * min(1.0, answers.EVAL_PROBLEMS / max(1.0, problems))
    return int(total)


def _given(budget: int, needs: Mapping[Key, int]) -> dict[Key, int]:
    wanted = {key: int(SLACK * need) for key, need in needs.items()}
    several = Counter(kind for kind, name in needs if needs[kind, name])
    weights = {key: WEIGHTS[key[0]] / max(1, several[key[0]]) for key in needs}
    return asked.shares(budget, wanted, weights)


def _of_steps(
    reader: Reader,
    name: str,
    index: Index,
    results: Sequence[Mapping[str, Any]],
    tags: tuple[str, str],
    named: Sequence[tuple[int, str]],
    budgets: tuple[int, int],
) -> tuple[Chosen, list[dict[str, Any]]]:
    """Answers that belong to steps: rollouts, and held-out ones. `budgets`: of the two."""
    held_out = answers.evaluation_texts(reader, reader.root / name / "eval", results, tags)
    held, used = _fitting(held_out, budgets[1], HELD_OUT)
    left = sum(budgets) - used
    chosen = rollouts.choose(index, named, left)
    made = answers.texts(reader, index, chosen, tags)
    shown, _ = _fitting((made[place] for place in chosen.why if place in made), left, TRAINING)
    return chosen, shown + held


def _fitting(
    groups: Iterable[dict[str, Any]], budget: int, split: str
) -> tuple[list[dict[str, Any]], int]:
    """(groups in order of importance that fit the budget, bytes they take)."""
    kept: list[dict[str, Any]] = []
    used = 0
    for group in groups:
        size = len(embedded(group).encode())
        if used + size <= budget:
            used += size
            kept.append({"split": split, **group})
    return kept, used


def _counts(
    found: Sequence[Iterable[asked.Question]], groups: compared.Groups, choice: Choice
) -> dict[str, int]:
    shown = [group for of_model in groups.values() for group in of_model]
    there = [len(one.sizes) for questions in found for one in questions]
    return {
        "questions": len(there),
        "answers": sum(there),
        "shown_questions": len(shown),
        "shown_answers": sum(len(group["answers"]) for group in shown),
        "each": choice.each,
    }
