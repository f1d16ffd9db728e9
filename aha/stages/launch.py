"""Run a recipe: the folder, the graph, stage after stage. And what it would need (`aha plan`)."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from aha import files
from aha.config import Recipe, RewardStage, SftConfig
from aha.errors import ConfigError
from aha.report.console import Console, duration
from aha.stages import dag, start
from aha.stages.run_folder import RunFolder, opened
from aha.stages.stop import Stop, on_signal

REPORT = "report.html"


def run(recipe: Recipe, root: Path, *, stage: str | None, rerun: bool = False) -> None:
    """Run what is not done yet, in order.

    Raises:
        AhaError: see errors.py; the run folder holds everything up to the newest checkpoint.
    """
    nodes = dag.select(dag.graph(recipe), stage)
    with (
        files.disk_trouble(root),
        opened(root, recipe, rerun=rerun) as folder,
        Console() as console,
    ):
        for node in nodes:
            if dag.status(node, root) == "done":
                console.note(f"{node.name}: done before (fingerprint {node.fingerprint})")
                continue
            try:
                facts = _start(recipe, node, folder, console)
            except BaseException as error:
                with contextlib.suppress(OSError):  # the disk may be what is wrong
                    folder.event("ended", stage=node.name, error=f"{type(error).__name__}: {error}")
                raise
            folder.finish(node, facts)
        _report(root, console)


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
    if node.kind == "reward_model":
        return _reward_model(seen, node, folder, console)
    if node.kind == "sample":
        from aha.stages import sample

        return sample.run(seen, node, folder, console)
    if node.kind == "pretrain":
        return _pretrain(seen, folder.begin(node), console)
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
        )


def _pretrain(recipe: Recipe, folder: Path, console: Console) -> dict[str, Any]:
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
        model = pretrain.run(recipe, folder, stop=lambda: stop.asked, log=log)
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


def plan_facts(recipe: Recipe, *, timed: bool = False) -> dict[str, Any]:
    """Stages, and for each its tokens, memory by part and disk, as plain values.

    Args:
        timed: also measure how long a step takes on this machine; takes some seconds.

    Raises:
        DoesNotFit: the memory is too small for the RL stage.
    """
    stages: dict[str, Any] = {}
    nodes = dag.graph(recipe)
    for node in nodes:
        if node.kind == "pretrain":
            assert recipe.pretrain is not None
            steps = -(-recipe.pretrain.tokens // recipe.pretrain.batch_tokens)
            stages["pretrain"] = {"tokens": recipe.pretrain.tokens, "steps": steps}
        elif node.parents:
            needed = ", ".join(parent.name for parent in node.parents)
            stages[node.name] = {"note": f"planned when done: {needed}"}
        elif node.kind == "sft":
            seen = start.view(recipe, node.name, Path())
            assert seen.sft is not None
            stages[node.name] = _plan_sft(seen, seen.sft)
        elif node.kind == "rl":
            from aha.models.locate import locate
            from aha.train import plan

            seen = start.view(recipe, node.name, Path())
            assert seen.zero is not None
            made = plan.make(seen, seen.zero, locate(seen.model.path), timed=timed)
            stages[node.name] = made.as_dict() | {"steps": seen.zero.steps}
        else:
            stages[node.name] = {"note": f"a stage of kind {node.kind} is not planned"}
    return {"name": recipe.name, "graph": dag.mermaid(nodes), "stages": stages}


def _plan_sft(recipe: Recipe, config: SftConfig) -> dict[str, Any]:
    from aha.models.locate import locate
    from aha.stages import sft
    from aha.train import plan

    learned, _, _ = sft.load_data(recipe, config)
    steps = math.ceil(len(learned) * config.epochs / config.examples_per_step)
    made = plan.make_supervised(recipe, config, locate(recipe.model.path))
    return made.as_dict() | {"steps": steps}


def plan_text(recipe: Recipe, facts: dict[str, Any] | None = None) -> str:
    """The plan in a few lines."""
    facts = facts or plan_facts(recipe)
    lines = [f"plan of {facts['name']}", facts["graph"]]
    for name, stage in facts["stages"].items():
        lines.append("")
        if "parts" not in stage:
            said = ", ".join(f"{key} {value}" for key, value in stage.items())
            lines.append(f"{name}: {said}")
            continue
        resolved = stage["resolved"]
        lines += [
            f"{name}: {stage['parameters'] / 1e6:.1f}M parameters, {resolved['dtype']}, "
            f"{resolved['threads']} threads, {stage['steps']} steps",
            (
                f"  at most {stage['rollout_tokens']:,} answer tokens a step; "
                f"{resolved['max_rows']} answers side by side; "
                if stage["rollout_tokens"]
                else "  "
            )
            + f"micro-batches of {resolved['micro_tokens']:,} tokens",
            f"  memory at the peak {stage['total_bytes'] / 1e9:.2f} GB of "
            f"{resolved['memory_bytes'] / 1e9:.2f} GB free:",
        ]
        lines += [
            f"    {part:<16} {size / 1e9:8.3f} GB{_half_of(part)}"
            for part, size in stage["parts"].items()
        ]
        lines.append(f"  a checkpoint {stage['checkpoint_bytes'] / 1e9:.3f} GB")
        if stage["step_s"] is not None:
            lines.append(
                f"  a step in which prompts and answers are as long as they may be: about "
                f"{duration(stage['step_s'])} (sampling {duration(stage['rollout_s'])}, update "
                f"{duration(stage['update_s'])}); measured here on a few layers"
            )
    return "\n".join(lines)


def _half_of(part: str) -> str:
    """When a part of the memory exists, if not always."""
    from aha.train.plan import SAMPLING, UPDATING

    if part in SAMPLING:
        return "  while answers are sampled"
    return "  in the update" if part in UPDATING else ""
