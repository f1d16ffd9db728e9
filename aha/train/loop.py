"""R1-Zero on one page: reinforcement learning from a base model, nothing else. DeepSeek-R1 §2.2.

    ask questions, sample a group of answers to each   (rollout/collect.py)
    judge every answer                                 (rewards/)
    compare each answer with its group                 (train/credit.py)
    take optimizer steps on all of them                (train/step.py)
    give the new weights to the engine

What differs from the paper is listed in docs/departures.md. A killed run repeats the phase it was in,
from the last checkpoint, to the same bytes.
"""

from collections.abc import Sequence

from aha.errors import Stopped
from aha.records import Group
from aha.train import memory
from aha.train.credit import recompute_old, to_trees
from aha.train.run import Run


def train(run: Run) -> None:
    """Take `config.steps` optimizer steps, or fewer if a plateau ends it, evaluating and saving on the way.

    Raises:
        Stopped: the user asked for it; a checkpoint was written first.
        RunError: non-finite updates in a row, grader failures or engine gap above their bounds.
    """
    config, state = run.config, run.state
    if not run.resumed:
        run.evaluate()
        run.write_metrics()
        run.checkpoint()
    while not run.over:
        groups = run.rollout_phase()
        memory.give_back()
        learn(run, groups)
        memory.give_back()
        run.engine.load(state.step)
        run.look_for_plateau()
        last = run.over
        if last or run.due(config.eval_every):
            run.evaluate()
        run.write_metrics()
        if last or run.stop.asked or run.checkpoint_due():
            run.checkpoint()
        if run.stop.asked and not last:
            raise Stopped(
                f"stopped after step {state.step}; everything is saved. Go on with: aha resume {run.root}"
            )


def learn(run: Run, groups: Sequence[Group]) -> None:
    """`minibatches` optimizer steps on one phase; each group is used once."""
    config, state = run.config, run.state
    parts = split(groups, config.minibatches)
    trees = [to_trees(part, config) for part in parts]
    if config.old_logprobs == "trainer":
        trees = [
            recompute_old(part, run.trainer.logprobs(part), truncated_is=config.truncated_is)
            for part in trees
        ]
    for number, (part, forest) in enumerate(zip(parts, trees, strict=True)):
        with run.timed("time/update_s"):
            result = run.trainer.step(forest, state.step, on_policy=number == 0)
        state.step += 1
        run.record(result, part)
        run.watch(result, part)
        if run.reference and config.reference_every and state.step % config.reference_every == 0:
            run.reference.renew()
            state.reference_step = state.step


def split(groups: Sequence[Group], parts: int) -> list[Sequence[Group]]:
    """Whole groups, in order, into equal minibatches (the paper does not say whether groups stay whole)."""
    size = len(groups) // parts
    return [groups[i * size : (i + 1) * size] for i in range(parts)]
