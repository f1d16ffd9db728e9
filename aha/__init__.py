"""DeepSeek-R1, end to end.

    data -> rollout -> rewards -> rl (advantages, losses) -> train -> stages -> evals

Read `records.py` first (the nouns), then `train/loop.py` (the verb), then `stages/` in order.
"""

__version__ = "0.1.0"
