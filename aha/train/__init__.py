"""From scored groups to new weights.

    credit (advantages, weights) -> batch (the first tensors) -> step -> optim;  loop ties them
    to rollouts, evaluation and checkpoints.

Must stay true: the step knows columns, not algorithms; denominators belong to the whole step; only
this package changes weights.
"""
