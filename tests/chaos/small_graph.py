"""The smallest recipe that has every kind of stage that makes something from something else.

    zero (rl) -> kept (sample) -> dev (sft) -> all (rl, paid by helpful) -> better (dpo on pairs of kept)
    helpful (reward_model on made pairs)

On the model of small_run.py; nothing is shipped or fetched. Not in it: `pretrain`, which has kills of its own
in tests/stages/test_pretrain.py and measures its gates for a minute.
"""

import json
from pathlib import Path

RECIPE = """
name = "run"
seed = 3
threads = 1
memory_gb = 4.0
price_per_hour = 2.0

[model]
path = "{model}"

[data]
train = "arithmetic?difficulty=1&lang=en&n=64"
heldout = "arithmetic?difficulty=1&lang=en&n=16"
max_prompt_tokens = 256
overlap_words = 0

[zero]
steps = 4
minibatches = 2
prompts_per_step = 2
group_size = 4
max_answer_tokens = 12
kl_coef = 0.02
reference_every = 2
eval_every = 2
checkpoint_every = 2
preflight = 0
grader_workers = 1
grader_seconds = 20.0
optim.lr = 0.01
eval = {{ problems = 4, samples = 2, temperature = 1.0 }}

[stage.kept]
kind = "sample"
start = "stage:zero"
problems = 48
samples = 8
max_answer_tokens = 12
grader_workers = 1
grader_seconds = 20.0
overlap_words = 0

[stage.dev]
kind = "sft"
train = "stage:kept"
heldout_share = 0.2
epochs = 2
examples_per_step = 2
checkpoint_every = 2
eval_every = 2

[stage.helpful]
kind = "reward_model"
train = "{pairs}"
part = "whole"
heldout_share = 0.2
epochs = 1
examples_per_step = 4
checkpoint_every = 2
eval_every = 2

[stage.all]
kind = "rl"
start = "stage:dev"
steps = 2
prompts_per_step = 2
group_size = 4
max_answer_tokens = 12
eval_every = 1
checkpoint_every = 1
preflight = 0
grader_workers = 1
grader_seconds = 20.0
optim.lr = 0.01
eval = {{ problems = 4, samples = 2, temperature = 1.0 }}
rewards = {{ accuracy = 1.0, format = 0.5, helpful = 0.1 }}
reward_models = {{ helpful = {{ path = "stage:helpful", part = "whole" }} }}

[stage.better]
kind = "dpo"
start = "stage:dev"
train = "stage:kept"
epochs = 1
examples_per_step = 2
checkpoint_every = 2
eval_every = 2

[measures]
heldout = {{ sums = "arithmetic?difficulty=1&lang=en&n=8" }}
problems = 4
samples = 2
max_answer_tokens = 12
grader_workers = 1
grader_seconds = 20.0
"""


def write_pairs(path: Path, count: int = 24) -> Path:
    """Preferences that can be told apart: the chosen answer says yes."""
    rows = [
        {
            "id": f"p{i}",
            "prompt": f"Is {i} above {i - 1}?",
            "chosen": "yes" + "a" * (i % 3),
            "rejected": "no",
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_recipe(folder: Path, model: Path) -> Path:
    """The recipe and its pairs, as files in `folder`."""
    pairs = write_pairs(folder / "pairs.jsonl")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(model=model, pairs=pairs), "utf-8")
    return recipe
