"""What an answer is worth: extraction, graders, the pool that runs them, and the mix of rewards.

    answer        where the answer stands in a response (the published contract: docs/rewards.md)
    grade         one answer, one verdict: GRADERS by kind (math_answer, exact, countdown)
    math_answer   normalise -> tokens -> reading (forms) -> compare; symbolic is the last resort
                  (values: expression, tree, numeric, equality, regions; names: units, words, labels)
    workers       the same verdicts from processes that can be killed; worker is such a process
    format, mix   the format reward; rewards by name, weighted
    grade_file    a file of answers, judged

May import:     records, errors, files, config, data.thinking. No torch, and no sympy until an
                answer needs it.
Must stay true: nothing of a gold or an answer is evaluated as Python; a grader's failure is never a
                reward of 0.
"""
