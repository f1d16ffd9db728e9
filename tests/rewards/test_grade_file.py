"""A file of answers: order, broken lines, gold as numbers and lists."""

import gzip
import json

import pytest

from aha.errors import DataError
from aha.rewards.grade_file import grade_file

ROWS = [
    {"gold": "72", "response": "#### 72"},
    {"gold": 72, "response": "\\boxed{72}"},
    {"gold": 0.5, "response": "\\boxed{\\frac12}"},
    {"gold": [1, 2], "response": "\\boxed{2, 1}"},
    {"gold": "\\sqrt{8}", "response": "<answer>2\\sqrt{2}</answer>"},
    {"gold": "7", "response": "\\boxed{9^{9^{9}}}"},
    {"gold": "ab", "response": "<answer>ab</answer>", "kind": "exact"},
    {
        "gold": {"numbers": [1, 2], "target": 3},
        "response": "<answer>1+2</answer>",
        "kind": "countdown",
    },
    {"gold": "7", "response": "none"},
]
STATUSES = ["correct"] * 5 + ["unparsed", "correct", "correct", "unparsed"]


def test_verdicts_in_order_plain_and_gzipped(tmp_path):
    text = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        rows = list(grade_file(path, workers=1, seconds=2.0))
        assert [row["status"] for row in rows] == STATUSES
        assert [row["reward"] for row in rows] == [float(s == "correct") for s in STATUSES]
        assert set(rows[0]) == {"status", "extracted", "reward", "reason", "ms"}


@pytest.mark.parametrize(
    "line, said",
    [
        ("{", "not JSON"),
        ("[1]", "not list"),
        ('{"gold": "1"}', "no 'response'"),
        ('{"response": "1"}', "no 'gold'"),
        ('{"gold": "1", "response": 1}', "'response' is text"),
        ('{"gold": null, "response": "1"}', "'gold' is text"),
        ('{"gold": true, "response": "1"}', "'gold' is text"),
        (
            '{"gold": "1", "response": "1", "kind": "maths"}',
            "known: choice, code, code_io, countdown, exact, gym",
        ),
        ("[" * 100_000, "not JSON"),
        ("\udcff".encode("utf-8", "surrogateescape"), "not JSON"),
    ],
)
def test_a_broken_line_is_named_and_the_others_go_on(tmp_path, line, said):
    line = line if isinstance(line, bytes) else line.encode()
    good = json.dumps(ROWS[1]).encode()
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([good, line, good]))
    rows = list(grade_file(path, workers=1, seconds=2.0))
    assert [row["status"] for row in rows] == ["correct", "error", "correct"]
    assert "line 2" in rows[1]["reason"]
    assert said in rows[1]["reason"]
    assert rows[0]["reward"] == 1.0
    assert rows[1]["reward"] is None


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(DataError, match="no file at"):
        list(grade_file(tmp_path / "none.jsonl"))
