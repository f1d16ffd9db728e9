"""Lines of `aha grade`."""

from aha.report.grading import table

RIGHT = {"status": "correct", "reward": 1.0, "extracted": "4", "reason": "equal", "ms": 0.1}
WRONG = {"status": "wrong", "reward": 0.0, "extracted": "4.0", "reason": "not_equal", "ms": 0.1}
ERROR = {"status": "error", "reward": None, "extracted": None, "reason": "bad_line", "ms": 0.0}


def test_a_line_each_and_the_counts():
    lines = list(table([RIGHT, WRONG, WRONG, ERROR]))
    assert len(lines) == 5
    assert "'4'" in lines[0]
    assert "   -" in lines[3]
    assert lines[-1] == "correct 1  error 1  wrong 2"


def test_only_disagreements_are_shown():
    rows = [
        RIGHT | {"against": RIGHT, "agree": True},
        RIGHT | {"against": WRONG, "agree": False},
        ERROR | {"against": WRONG, "agree": None},
    ]
    lines = list(table(rows, disagreements=True))
    assert len(lines) == 6
    assert lines[0].split()[:2] == ["2", "correct"]
    assert lines[1].split()[0] == "wrong"
    assert lines[-1] == "agree 1  disagree 1  no verdict 1 (50.0% of 2 judged)"
