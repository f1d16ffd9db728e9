"""Same questions and shared runs of words; expected pairs by hand, and by a slow search."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import overlap, sources
from aha.data.overlap import Index, Overlap, find, tokens
from aha.records import Prompt

STAMPS = "Bella bought stamps at the post office. Some of the stamps had a snowflake design."
STAMPS_TAIL = "The stamps that she bought at the post office: some of the stamps had a rose design."


def prompts(*questions, source="x.jsonl"):
    return [
        Prompt(id=str(i), question=question, gold="1", source=source)
        for i, question in enumerate(questions)
    ]


def pairs(train, heldout, n=10):
    return [(each.train, each.heldout, each.why) for each in find(train, heldout, n)]


@pytest.mark.parametrize(
    "one, other",
    [
        ("What is the sum of 2 and 3?", "what is the  sum\nof 2 and 3"),
        ("What is the sum of 2 and 3?", "“What is the sum of 2 and 3”?!"),
        ("Tom's well-known book costs $5.", "Toms well known book costs 5"),
        ("Find x, if x = 1,000.", "find x if x=1000"),
        ("ＡＢＣ　１２３", "abc 123"),
        ("小明有３个苹果，吃了１个。还剩几个？", "小明有3个苹果 吃了1个 还剩几个"),
        ("STRASSE", "straße"),
        ("Work out 3 − 2 × 4", "work out 3 - 2 * 4"),
        ("Who (of the two) won?", "Who of the two won?"),
    ],
)
def test_the_same_question_in_another_dress(one, other):
    assert find(prompts(one), prompts(other)) == [Overlap(0, 0, "same", other)]


@pytest.mark.parametrize(
    "one, other",
    [
        ("Compute 3 - 2", "Compute 3 + 2"),
        ("Compute 3 - 2", "Compute 3 2"),
        ("Compute x-1", "Compute x1"),
        ("Compute 1.5", "Compute 15"),
        ("Compute 12 3", "Compute 1 23"),
        ("Compute (3 + 4) * 5", "Compute 3 + 4 * 5"),
        ("Is 2 < 3?", "Is 2 > 3?"),
        ("How far is the way?", "How far is the way back?"),
        ("小明有3个苹果", "小明有3个梨"),
        ("Walk: #..##.#.", "Walk: #.#.##.."),
    ],
)
def test_different_questions(one, other):
    assert find(prompts(one), prompts(other)) == []


def test_parts_as_they_are_compared():
    assert tokens("If x-1 = 2, what's x?") == ["if", "x", "-", "1", "=", "2", "whats", "x"]
    assert tokens("共 2 个") == ["共", "2", "个"]
    assert tokens("2*(3+4)") == ["2", "*", "(", "3", "+", "4", ")"]


def test_ten_words_in_a_row():
    [found] = find(prompts("Yes. " + STAMPS), prompts(STAMPS_TAIL))
    assert found.why == "ngram"
    assert found.shared == "at the post office some of the stamps had a"


def test_nine_words_are_not_ten():
    nine = "one two three four five six seven eight nine"
    assert find(prompts(f"{nine} x"), prompts(f"{nine} y")) == []
    assert pairs(prompts(f"{nine} ten x"), prompts(f"{nine} ten y")) == [(0, 0, "ngram")]
    assert pairs(prompts(f"{nine} x"), prompts(f"{nine} y"), n=9) == [(0, 0, "ngram")]
    assert pairs(prompts(f"{nine} ten x"), prompts(f"{nine} ten y"), n=0) == []


def test_chinese_counts_by_characters():
    one = "小明在商店里买了三个红色的苹果，一共多少钱？"
    other = "昨天小华在商店里买了三个红色的苹果。她高兴吗？"
    [found] = find(prompts(one), prompts(other))
    assert (found.why, found.shared) == ("ngram", "在商店里买了三个红色的苹果")


def test_short_questions_are_compared_whole_only():
    train, heldout = prompts("What is 2+2?", "What is 2+3?"), prompts("what is 2 + 2")
    assert pairs(train, heldout) == [(0, 0, "same")]


def test_a_stock_phrase_of_the_data_proves_nothing():
    phrase = "how much money in dollars does he have left in total at the end of the"
    heldout = prompts(*(f"Tom has {n} hats; {phrase} {word}?" for n, word in
                        enumerate(("day", "week", "month", "year"))))  # fmt: skip
    train = prompts(f"Ann sold {7} cups; {phrase} hour?", "Tom has 2 hats; " + phrase + " month?")
    assert pairs(train, heldout) == [(1, 2, "same")]
    two = [(0, 0, "ngram"), (0, 1, "ngram"), (1, 0, "ngram"), (1, 1, "ngram")]
    assert pairs(train, heldout[:2]) == two  # of a phrase in two problems nobody can know


def test_every_copy_is_found():
    train, heldout = prompts(STAMPS, "other", STAMPS + "!"), prompts("x", STAMPS, STAMPS.upper())
    assert pairs(train, heldout) == [
        (0, 1, "same"), (0, 2, "same"), (2, 1, "same"), (2, 2, "same"),
    ]  # fmt: skip


def test_problems_of_tasks_are_compared_by_their_own_form():
    config = DataConfig()
    english = sources.load("arithmetic?n=300&lang=en", split="train", config=config).prompts
    chinese = sources.load("arithmetic?n=300&lang=zh", split="train", config=config).prompts
    heldout = sources.load("arithmetic?n=100", split="heldout", config=config).prompts
    assert find(english, heldout) == []
    same = {(a.columns["expression"].replace(" ", ""), b.columns["expression"].replace(" ", ""))
            for a, b in ((english[f.train], chinese[f.heldout]) for f in find(english, chinese))}  # fmt: skip
    assert len(same) == 300
    assert all(one == other for one, other in same)
    countdown = sources.load("countdown?n=50", split="train", config=config).prompts
    assert pairs(countdown, countdown) == [(i, i, "same") for i in range(50)]


def test_a_file_that_holds_a_task_s_problem():
    [task] = sources.load("arithmetic?n=1", split="heldout", config=DataConfig()).prompts
    assert pairs(prompts(task.question.upper()), [task]) == [(0, 0, "same")]
    assert pairs([task], prompts(task.question + " ")) == [(0, 0, "same")]


def test_nothing_to_compare():
    assert find([], prompts("x")) == find(prompts("x"), []) == []
    assert find(prompts("..."), prompts("?!")) == []
    with pytest.raises(ValueError, match="n=-1"):
        find([], [], n=-1)


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_as_a_slow_search_finds_it(seed, n):
    """Every run of n words of every pair, but for those of three held-out texts."""
    rng = Random(seed)
    texts = [
        [" ".join(rng.choices("abcdefg", k=rng.randint(1, 12))) for _ in range(6)] for _ in range(2)
    ]
    train, heldout = (prompts(*each) for each in texts)

    def runs(text):
        words = text.split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    different = {text: runs(text) for text in texts[1]}
    stock = {
        run
        for run in set().union(*different.values())
        if sum(run in each for each in different.values()) >= overlap.STOCK
    }
    wanted = {
        (i, j, "same" if one == other else "ngram")
        for i, one in enumerate(texts[0])
        for j, other in enumerate(texts[1])
        if one == other or (runs(one) & runs(other)) - stock
    }
    found = find(train, heldout, n)
    assert {(each.train, each.heldout, each.why) for each in found} == wanted
    assert len(found) == len(wanted)
    for each in found:
        if each.why == "ngram":
            assert each.shared in texts[0][each.train]
            assert each.shared in texts[1][each.heldout]


def test_parentheses_beside_latex_signs_count():
    assert tokens("88 \\div (4 \\div 2)") != tokens("88 \\div 4 \\div 2")
    assert tokens("2 \\times (3 \\cdot 4)") != tokens("2 \\times 3 \\cdot 4")


def test_puzzles_that_a_program_made_are_compared_whole():
    """K&K's files: a handful of names and sentences, so that runs of words join nearly all of them."""
    rule = "Knights always tell the truth, and knaves always lie. You meet 2 inhabitants: "
    asked = [
        f"{rule}Zoey, and Ethan. Zoey said, Ethan is a {what}. Who is a knight and who is a knave?"
        for what in ("knight", "knave")
    ]
    train, heldout = (
        [Prompt(id=text, question=text, gold="1", kind="knights") for text in some]
        for some in (asked, asked[1:])
    )
    assert pairs(train, heldout) == [(1, 0, "same")]
    as_texts = [
        [Prompt(id=p.id, question=p.question, gold="1") for p in some] for some in (train, heldout)
    ]
    assert pairs(*as_texts) == [(0, 0, "ngram"), (1, 0, "same")]


SOLVED = "Since every side is doubled, the area of the new square grows by a factor of four"


def solved(text=SOLVED, column="solution", **more):
    return Prompt(
        id="h", question="How does the area grow?", gold="4", columns={column: text}, **more
    )


def runs(heldout, text, n=10):
    return Index(heldout, n, solutions=True).runs(tokens(text))


@pytest.mark.parametrize("column", ["solution", "answer", "rationale", "worked_solution"])
def test_reference_solutions_count_where_they_are_asked_for(column):
    [(place, shared)] = runs([solved(column=column)], f"Well: {SOLVED.lower()}!")
    assert (place, shared) == (0, " ".join(tokens(SOLVED)))
    assert find(prompts(SOLVED), [solved(column=column)]) == []  # of questions only
    assert runs([solved(column="note")], SOLVED) == []


def test_a_gold_that_is_a_text_is_a_solution():
    long = Prompt(id="h", question="Why?", gold=SOLVED, kind="exact")
    assert [place for place, _ in runs([long], SOLVED)] == [0]


def test_signs_alone_prove_nothing_in_a_solution():
    """Two short sums are ten signs; 4,543 of GSM8K's 7,473 training solutions would share some."""
    sums = "5 * 2 = 10 10 + 5 = 15"
    assert runs([solved(sums)], sums) == []
    [(_, shared)] = runs([solved(f"so each of them has {sums}")], f"so each of them has {sums}")
    assert shared.startswith("so each of them has 5 * 2 =")


def test_a_phrase_of_three_solutions_is_one_of_the_trade():
    held = [
        Prompt(id=f"{n}", question=f"Square {n}?", gold="4", columns={"solution": SOLVED})
        for n in range(3)
    ]
    assert len(runs(held[:2], SOLVED)) == 2
    assert runs(held, SOLVED) == []


def test_what_programs_made_has_no_solution_to_share():
    """Every training program of such a task shares lines with a held-out one."""
    task = sources.load("functions?n=1", split="heldout", config=DataConfig()).prompts
    [text] = [task[0].columns["solution"]]
    assert runs(task, text * 3) == []
    assert runs([solved(kind="knights")], SOLVED) == []


def test_copies_of_a_problem_keep_their_own_solutions():
    held = [solved(), solved("Another way to see it is to draw both of the squares and count")]
    assert [place for place, _ in runs(held, held[1].columns["solution"])] == [0, 1]


def test_solutions_of_held_out_rows_are_kept(tmp_path):
    """GSM8K's answer is a worked solution of which only the last number becomes the gold."""
    path = tmp_path / "held.jsonl"
    path.write_text(f'{{"question": "How?", "answer": "{SOLVED} #### 4"}}\n')
    config = DataConfig(heldout=str(path))
    [prompt] = sources.load(str(path), split="heldout", config=config).prompts
    assert (prompt.gold, len(runs([prompt], SOLVED))) == ("4", 1)
    [trained] = sources.load(str(path), split="train", config=config).prompts
    assert dict(trained.columns) == {}
