"""What is wrong with a stage that comes later, told before the first one begins.

A graph runs for hours. A file that is misspelt, a model that was never fetched, a reward without a weight
or a machine that is too small should be known in the first seconds, not when their stage is reached at
night. Looked at: models that no stage makes, their positions, templates with them, the first problems of
every source, all that supervised stages learn, rewards, memory. Endpoints are not asked, and what another
stage is still to write cannot be known.

Nothing is run and nothing is written.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from aha.config import DataConfig, JudgeConfig, Recipe, RewardStage, SampleStage, ZeroConfig
from aha.data import problems, sources, templates
from aha.errors import AhaError, ConfigError, DoesNotFit, ModelError, keys_of
from aha.models.locate import locate
from aha.rewards.named import Reward
from aha.stages import dag, longest, opinions, planned, planned_data, start
from aha.stages.assemble import mix_of

FIRST = 200
"""Problems of a source that are looked at."""


def refuse(
    recipe: Recipe, nodes: Sequence[dag.Node], root: Path, again: Collection[str] = ()
) -> list[str]:
    """Warnings about stages that are to run.

    Args:
        again: stages whose results will be set aside.

    Raises:
        AhaError: something is wrong with them: the error of the one, or one ConfigError about several.
    """
    found = list(faults(recipe, nodes, root, again))
    bad: dict[str, list[str]] = {}
    first: AhaError | None = None
    for name, error in found:
        if not isinstance(error, DoesNotFit):
            bad.setdefault(str(error), []).append(name)
            first = first or error
    said = [f"{_named(names)}: {text}" for text, names in bad.items()]
    if first is not None and len(said) == 1:
        raise type(first)(f"{said[0]} (found before the first stage was begun)")
    if said:
        listed = "".join(f"\n  {line}" for line in said)
        raise ConfigError(f"some stages cannot run, so none was begun:{listed}")
    return [  # another program may have ended by then
        f"stage {name} would not fit if it began now: {error}" for name, error in found
    ]


def _named(stages: Sequence[str]) -> str:
    return f"stage{'s' if len(stages) > 1 else ''} {', '.join(stages)}"


def faults(
    recipe: Recipe, nodes: Sequence[dag.Node], root: Path, again: Collection[str] = ()
) -> Iterator[tuple[str, AhaError]]:
    """(stage, what is wrong with it), the first thing of each. Needs no result of another stage."""
    for node in nodes:
        try:
            _look(planned.Stage(recipe, node, root, frozenset(again), timed=False))
        except AhaError as error:
            said = keys_of(node.name, start.TABLE.get(node.kind), str(error))
            yield node.name, type(error)(said.removeprefix(f"{node.name}: "))


def _look(it: planned.Stage) -> None:
    from aha.models.load import describe

    seen, name = it.seen, it.node.name
    config = seen.zero or seen.stage.get(name)
    if isinstance(config, ZeroConfig):
        _rewards(seen, config)
        _reward_models(it)
    if isinstance(config, ZeroConfig | SampleStage):
        _judges(it, config.judges)
    if isinstance(config, ZeroConfig) or (isinstance(config, SampleStage) and not config.written):
        _problems(seen.data)
    if it.node.kind != "pretrain" and start.model_parent(it.recipe, name) is None:
        folder = locate(seen.model.path)
        longest.check(seen, name, describe(folder))
        tokenizer = planned_data.tokenizer_of(folder)
        if not isinstance(config, RewardStage):
            templates.load_template(seen.data, tokenizer)
    planned.facts_of(it)


def _rewards(seen: Recipe, config: ZeroConfig) -> None:
    """Every name of a reward is known and has a weight, and functions of the user can be loaded."""
    names = opinions.names_of(config)
    mix_of(seen, config, {name: Reward(lambda judged: None) for name in names})


def _reward_models(it: planned.Stage) -> None:
    """Those that no stage makes are there, and score text.

    Raises:
        ModelError: one is not.
    """
    from aha.models.load import describe

    for name, asked in start.settings(it.recipe, it.node.name)["zero"]["reward_models"].items():
        if not any(start.references(asked["path"])):
            named = " ".join(describe(locate(asked["path"])).architectures or ())
            if "ForSequenceClassification" not in named:
                raise ModelError(
                    f"reward_models.{name}: {asked['path']} is {named or 'no reward model'}; give the "
                    "folder of a sequence classifier"
                )


def _judges(it: planned.Stage, judges: Mapping[str, JudgeConfig]) -> None:
    """Local ones are there, and the others have an address and a key; none is asked.

    Raises:
        ConfigError, ModelError: one has not.
    """
    for asked in judges.values():
        if asked.path and not asked.path.startswith(str(it.root)):
            locate(asked.path)
        elif not asked.path:
            opinions.endpoint(asked)


def _problems(config: DataConfig) -> None:
    """Each source is there and can be read; how many rows are broken is not judged by the first ones."""
    lenient = config.model_copy(update={"max_bad_share": 1.0})
    for said, split in ((config.train, "train"), (config.heldout, "heldout")):
        for source in problems.named(said, f"data.{split}")[0] if said else []:
            sources.load(source, split=split, config=lenient, most=FIRST)
