"""Pure mathematics of reinforcement learning for language models.

Holds:          log-probabilities, advantages, KL estimators, losses.
Holds not:      models, optimizers, sampling, files, logging, randomness.
May import:     torch and the standard library. Nothing from aha.
Must stay true: the same output for the same input, whatever the device.
To add one:     a function here, its equation in the docstring, a test against slow loops.
"""
