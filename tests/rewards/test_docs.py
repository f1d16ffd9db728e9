"""The table of docs/rewards.md holds: what it says is paid is paid, and the rest is not."""

import re
from pathlib import Path

from aha.rewards.grade import grade

PAGE = Path(__file__).parents[2] / "docs" / "rewards.md"


def test_the_table_of_equal_answers():
    tables = PAGE.read_text("utf-8").split("| gold | paid | not paid |")[1:]
    assert len(tables) == 2
    lines = [line for table in tables for line in table.split("\n\n")[0].split("\n")]
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in line.split("|")] for line in lines]
    said = [
        (row[1][0], answer, right)
        for row in rows
        if len(row) > 3 and row[1]
        for right, cell in ((True, row[2]), (False, row[3]))
        for answer in cell
    ]
    assert len(said) > 60
    for gold, answer, right in said:
        verdict = grade("math", gold, f"\\boxed{{{answer}}}")
        assert (verdict.status == "correct") is right, (gold, answer, verdict)
        assert not verdict.failed
