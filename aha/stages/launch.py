"""Run a recipe: the folder, the graph, stage after stage. What it would need: planning.py."""

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aha import files
from aha.config import Recipe, RewardStage
from aha.errors import ConfigError, naming
from aha.report.console import Console
from aha.stages import cost, dag, start
from aha.stages.measure import Measuring
from aha.stages.run_folder import RunFolder, opened
from aha.stages.stop import Stop, on_signal
from aha.train import memory

REPORT = "report.html"
GRAPH = "graph.mmd"
"""The stages and how far each has come, as a mermaid diagram."""


def run(
    recipe: Recipe,
    root: Path,
    *,
    stage: Sequence[str] | None = None,
    rerun: bool = False,
    redo: Sequence[str] = (),
) -> None:
    """Run what is not done yet, in order.

    Args:
        stage: names of the stages to run, with what they need; all without one.
        rerun: set stages whose configuration changed aside and run them again.
        redo: stages that are run again with their descendants, done or not; what they made is set aside.

    Raises:
        ConfigError: a stage that the recipe has not, or that is redone but not run.
        AhaError: see errors.py; the run folder holds everything up to the newest checkpoint.
    """
    graph = dag.graph(recipe)
    nodes = dag.select(graph, stage)
    again = dag.redone(graph, nodes, redo)
    to_do = [node for node in nodes if dag.status(node, root) != "done" or node.name in again]
    # before anything is set aside; without that the first stage looks at itself when it begins
    warnings = _look_ahead(recipe, to_do if rerun or again else to_do[1:], root, again)
    with (
        files.disk_trouble(root),
        opened(root, recipe, rerun=rerun, again=again) as folder,
        Console() as console,
    ):
        measuring = Measuring(recipe, folder, console)
        for warning in warnings:
            console.alert(warning)
        measuring.before()
        _draw(root, graph)
        for node in nodes:
            if dag.status(node, root) == "done":
                console.note(f"{node.name}: done before (fingerprint {node.fingerprint})")
                measuring.after(node.name)
                continue
            try:
                with naming(node.name, start.TABLE.get(node.kind)), folder.metered(node) as meter:
                    facts = _start(recipe, node, folder, console)
            except BaseException as error:
                with contextlib.suppress(OSError):  # the disk may be what is wrong
                    _draw(root, graph)
                    folder.event("ended", stage=node.name, error=f"{type(error).__name__}: {error}")
                raise
            console.note(cost.sentence(meter.total, recipe.price_per_hour))
            folder.finish(node, facts)
            _draw(root, graph)
            memory.give_back()
            measuring.after(node.name)
            memory.give_back()
        measuring.show()
        _report(root, console)
        measuring.check()


def _draw(root: Path, graph: Sequence[dag.Node]) -> None:
    files.write_text(root / GRAPH, dag.mermaid(graph, root) + "\n")


def _look_ahead(
    recipe: Recipe, nodes: Sequence[dag.Node], root: Path, again: Sequence[str]
) -> list[str]:
    """Refuse stages with something wrong about them before any is begun; what else is to be said."""
    if not nodes:
        return []
    from aha.stages import ahead

    return ahead.refuse(recipe, nodes, root, again)


def _report(root: Path, console: Console) -> None:
    """RUN/report.html. A page that cannot be made does not fail a run that is done."""
    from aha.report.page import report

    try:
        report([root], root / REPORT)
    except Exception as error:
        console.alert(f"no report could be made: {type(error).__name__}: {error}")
    else:
        console.note(f"report: {root / REPORT}")


def _start(recipe: Recipe, node: dag.Node, folder: RunFolder, console: Console) -> dict[str, Any]:
    seen = start.view(recipe, node.name, folder.root)
    if node.kind == "rl":
        from aha.stages import zero

        return zero.run(seen, node, folder, console)
    if node.kind == "sft":
        from aha.stages import sft

        return sft.run(seen, node, folder, console)
    if node.kind == "dpo":
        from aha.stages import dpo

        return dpo.run(seen, node, folder, console)
    if node.kind == "reward_model":
        return _reward_model(seen, node, folder, console)
    if node.kind == "sample":
        from aha.stages import sample

        return sample.run(seen, node, folder, console)
    if node.kind == "judge":
        from aha.stages import judged

        return judged.run(seen, node, folder, console)
    if node.kind == "pretrain":
        return _pretrain(seen, folder.begin(node), console, folder.describe)
    raise ConfigError(f"no such kind of stage: {node.kind}")


def _reward_model(
    recipe: Recipe, node: dag.Node, folder: RunFolder, console: Console
) -> dict[str, Any]:
    from aha.models.locate import locate
    from aha.stages import reward_model

    config, stop = recipe.stage[node.name], Stop()
    assert isinstance(config, RewardStage)
    with on_signal(stop, console):
        return reward_model.run(
            config,
            name=node.name,
            seed=recipe.seed,
            model=recipe.model,
            data=recipe.data,
            model_folder=locate(recipe.model.path),
            folder=folder.begin(node),
            console=console,
            stop=stop,
            threads=recipe.threads,
            memory_gb=recipe.memory_gb,
            attempt=folder.attempt,
            event=folder.event,
            card=folder.describe,
        )


def _pretrain(
    recipe: Recipe, folder: Path, console: Console, describe: Callable[[Path], None]
) -> dict[str, Any]:
    from aha.stages import pretrain
    from aha.stages.pretrain_gates import lines as gate_lines

    config = recipe.pretrain
    assert config is not None
    stop = Stop()
    steps = -(-config.tokens // config.batch_tokens)
    console.start(
        f"aha pretrain · {recipe.name}",
        [
            f"model   {config.architecture} architecture, {config.layers} layers of width {config.hidden}",
            f"data    generated corpus, {config.tokens:,} tokens in {steps:,} steps",
        ],
        steps=steps,
    )
    shown = max(1, steps // 200)

    def log(row: dict[str, Any]) -> None:
        if row["step"] % shown == 0 or row["step"] == steps:
            console.step(row)

    with on_signal(stop, console):
        model = pretrain.run(recipe, folder, stop=lambda: stop.asked, log=log, describe=describe)
    said = json.loads((model / "provenance.json").read_text("utf-8"))
    console.table(
        "loss at the end, nats a token",
        list(said["loss_at_the_end"]),
        [[f"{loss:.3f}" for loss in said["loss_at_the_end"].values()]],
    )
    console.note(
        "\n".join(["can reinforcement learning start from it?", *gate_lines(said["gates"])])
    )
    console.note(f"done. model: {model}")
    return {"model": str(model.relative_to(folder))}
