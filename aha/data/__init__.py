"""Problems in, prompts out: sources, procedural tasks, templates, the order of asking.

    sources.py (files, folders, hub, tasks/) -> Prompt -> templates.py -> Rendered

Holds not: graders, models, sampling. Nothing here imports torch at module level.
May import: records, errors, config; rewards for what golds may be.
"""
