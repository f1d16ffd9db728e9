"""What an answer is worth: extraction, graders, the pool that runs them, and the mix of rewards.

    answer          where the answer stands in a response (the published contract: docs/rewards.md)
    grade           one answer, one verdict: GRADERS by kind
    math_answer     normalise -> tokens -> reading (forms) -> compare; symbolic is the last resort
                    (values: expression, tree, numeric, equality, regions; names: units, words, labels,
                    chinese)
    exact, choice, tolerance, countdown, knights, code_io, gym        the other kinds of answers
    code            programs, judged by hidden tests in the sandbox
    workers         the same verdicts from processes that can be killed; worker is such a process
    named, mix      the rewards that ship, by name; weights by domain. user_functions: the user's own
    format, language, lengths, repetition, readability    what rewards look at in the text of an answer
    judge           a language model as judge (judge_ask, judge_http: who is asked; judge_text,
                    judge_screen, judge_cache)
    grade_file      a file of answers, judged

May import:     records, errors, files, config, sandbox, data. No torch, and no sympy until an answer
                needs it; no language identifier until a text does.
Must stay true: nothing of a gold or an answer is evaluated as Python; a grader's failure is never a
                reward of 0.
"""
