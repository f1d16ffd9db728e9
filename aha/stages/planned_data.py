"""How much a stage would learn: what is there is read, what a stage is still to write counts as the most.

Lengths are those of some examples, counted with the tokenizer of the model that the stage starts
from. Without a tokenizer (a model that is to be pretrained) every example is as long as it may be.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aha.config import DpoConfig, Recipe, RewardStage, SampleStage, SftConfig, ZeroConfig
from aha.config.recipe import JudgeStage
from aha.data import query
from aha.errors import DataError, ModelError
from aha.stages import start

T = TypeVar("T")
LOOKED_AT = 200
"""Examples whose tokens are counted, to know how long they are."""


@dataclasses.dataclass(frozen=True)
class Amount:
    """Examples to learn. `bound`: some of them are not there yet, and this is the most there can be."""

    examples: int = 0
    tokens: int = 0
    """Prompts and answers."""
    prompt_tokens: int = 0
    bound: bool = False

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.examples + other.examples,
            self.tokens + other.tokens,
            self.prompt_tokens + other.prompt_tokens,
            self.bound or other.bound,
        )

    def example(self, longest_prompt: int, *, sides: int = 1) -> tuple[int, int]:
        """Tokens of the prompt and of the answer of a typical example, or of a `sides`-th of it."""
        count = max(1, self.examples * sides)
        length = max(2, round(self.tokens / count))
        prompt = (
            min(longest_prompt, length // 2) if self.bound else round(self.prompt_tokens / count)
        )
        prompt = min(max(1, prompt), length - 1)
        return prompt, length - prompt


def readable(
    recipe: Recipe, stage: str, config: Any, done: Callable[[str], bool]
) -> tuple[Any, int]:
    """What of a stage's data can be read now, and the most examples that the rest can have.

    Args:
        config: the stage's table as it sees it, with paths.
        done: is the result of a stage there?

    Returns:
        `config` with the sources that can be read, None if there is none to learn; and a number.
    """
    wanted: Any = start.config_of(recipe, stage)
    there: list[str] = []
    most = 0
    for source, path in zip(_listed(wanted.train), _listed(config.train), strict=True):
        parent = next(start.references(source), None)
        if parent is None or done(parent):
            there.append(path)
            continue
        two = recipe.kind(stage) in start.OF_PAIRS
        count, limit = most_of(recipe, parent, pairs=two), query.parse(source).keys.get("n", "")
        most += min(count, int(limit)) if limit.isdecimal() else count
    missing = any(not done(parent) for parent in start.references(wanted.heldout))
    kept = {"train": there, "heldout": "" if missing else config.heldout}
    return (config.model_copy(update=kept) if there else None), most


def _listed(sources: str | list[str]) -> list[str]:
    return [sources] if isinstance(sources, str) else sources


def most_of(recipe: Recipe, stage: str, *, pairs: bool = False) -> int:
    """The most examples that a stage can write; two answers to one problem make a pair."""
    config: Any = start.config_of(recipe, stage)
    if isinstance(config, SampleStage) and config.written:
        from aha.data import dialogues

        data = start.view(recipe, stage, Path()).data
        count = 0
        for source in _listed(config.written):
            parents = list(start.references(source))
            count += sum(most_of(recipe, parent) for parent in parents)
            if not parents:
                count += len(dialogues.load(source, split="train", config=data).dialogues)
        return count
    if isinstance(config, SampleStage):
        each = config.samples // 2 if pairs else config.samples
        return config.problems * min(each, config.per_problem)
    if isinstance(config, ZeroConfig):
        each = config.group_size // 2 if pairs else config.group_size
        return config.steps * config.prompts_per_step * each
    return judged(recipe, stage)[0] if isinstance(config, JudgeStage) else 0


def judged(
    recipe: Recipe, stage: str, root: Path = Path(), done: Callable[[str], bool] = lambda _: False
) -> tuple[int, bool]:
    """Pairs that a judge would be asked about, at most; are some of the answers still to be sampled?

    Args:
        root: the run's folder; of no account while nothing is done.
        done: is the result of a stage there?
    """
    from aha.stages import judged as stage_of

    own: Any = start.config_of(recipe, stage)
    seen = start.view(recipe, stage, root)
    placed: Any = seen.stage[stage]
    there, most = [], 0
    for source, path in zip(_listed(own.answers), _listed(placed.answers), strict=True):
        parent = next(start.references(source), None)
        if parent is None or done(parent):
            there.append(path)
            continue
        asked: Any = start.config_of(recipe, parent)
        limit = query.parse(source).keys.get("n", "")
        count = min(asked.problems, int(limit)) if limit.isdecimal() else asked.problems
        most += count * min(own.per_question, asked.samples * (asked.samples - 1) // 2)
    if there:
        found = stage_of.read(placed.model_copy(update={"answers": there}), seen.data)
        pairs = (stage_of.pairs_of(one, own.per_question) for one in found.questions)
        return most + sum(pairs), most > 0
    return most, True


def dialogues(seen: Recipe, config: SftConfig, folder: Path | None) -> Amount:
    """What is there to learn; lengths are those of the first ones, or unknown without a tokenizer."""
    from aha.data import templates
    from aha.stages import sft

    read = sft.read_data(seen, config)
    count = len(read.learned)
    if folder is None:
        return Amount(count, count * config.max_tokens, bound=True)
    template = templates.load_template(seen.data, tokenizer_of(folder), generation_eos=())
    few = dataclasses.replace(read, learned=_spread(read.learned), heldout=[])
    try:
        made = sft.examples_of(config, template, few).facts
    except DataError:  # none of these can be learned: perhaps others can
        few = read
        made = sft.examples_of(config, template, few).facts
    scale = count / len(few.learned)
    return Amount(
        round(made["learned"] * scale),
        round((made["tokens"] + made["prompt_tokens"]) * scale),
        round(made["prompt_tokens"] * scale),
    )


def pairs(seen: Recipe, config: DpoConfig, folder: Path | None, name: str) -> Amount:
    """Pairs of answers that are there; tokens of both sides."""
    from aha.data import templates
    from aha.stages import dpo_data

    rows = dpo_data.load_data(config, seen.data, seen.seed)
    count = len(rows.learned)
    if folder is None:
        return Amount(count, count * 2 * config.max_tokens, bound=True)
    template = templates.load_template(seen.data, tokenizer_of(folder), generation_eos=())
    few = dataclasses.replace(rows, learned=_spread(rows.learned), heldout=[])
    try:
        made = dpo_data.examples_of(config, template, few, name).learned
    except DataError:  # none of these can be learned: perhaps others can
        few = rows
        made = dpo_data.examples_of(config, template, few, name).learned
    scale = count / len(few.learned)
    prompts = sum(len(side.prompt_ids) for one in made for side in one.sides)
    answers = sum(len(side.token_ids) for one in made for side in one.sides)
    return Amount(
        round(len(made) * scale), round((prompts + answers) * scale), round(prompts * scale)
    )


def _spread(items: Sequence[T]) -> list[T]:
    """LOOKED_AT of the items, from all over: files are often sorted by length."""
    step = max(1, len(items) // LOOKED_AT)
    return list(items[::step][:LOOKED_AT])


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises classes of several libraries
        raise ModelError(f"the tokenizer of {folder} cannot be read: {error}") from error


def rated(seen: Recipe, config: RewardStage, folder: Path | None, sides: int) -> Amount:
    """Pairs or labels that are there; lengths are those of the first ones."""
    from aha.data.preferences import Pair
    from aha.stages.reward_data import load_data

    items = load_data(config, seen.data, seen.seed).learned
    longest = sides * config.max_tokens
    if folder is None:
        return Amount(len(items), len(items) * longest, bound=True)
    tokenizer = tokenizer_of(folder)
    lengths = []
    for item in _spread(items):
        answers = (item.chosen, item.rejected) if isinstance(item, Pair) else (item.response,)
        lengths.append([len(tokenizer(f"{item.question}\n{one}").input_ids) for one in answers])
    fit = [sum(row) for row in lengths if max(row) <= config.max_tokens]
    if not lengths or not fit:
        return Amount(len(items), len(items) * longest, bound=True)
    scale = len(items) / len(lengths)
    return Amount(round(len(fit) * scale), round(sum(fit) * scale))
