"""What is claimed about speed and memory, measured: one script and one result file for each claim.

    make bench                               peers installed, everything run, the table printed
    python -m benchmarks.rollout --quick     one script; every script has --help

Peers run in the same call, in turns, each in a process of its own environment (`workers.py`,
`environments.py`); what they are asked is in `work.py`, who they are in `contestants/`.
"""
