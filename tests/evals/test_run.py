"""Blocks of an evaluation on the disk: whole after a kill, however often; graded again as it was asked."""

import json

import pytest

from aha import files
from aha.evals import run
from aha.records import Grade

RECEIPT = {"k": 2, "answers": "last", "weights": "w"}


def rows(block):
    return [{"problem": f"{block}-{n}", "sample": n} for n in range(4)]


@pytest.mark.parametrize("torn", [False, True])
def test_blocks_behind_a_half_written_one_are_whole(tmp_path, torn):
    partial = tmp_path / "samples.partial.jsonl"
    run._append(partial, RECEIPT, rows(0))
    run._append(partial, RECEIPT, rows(1))
    for block in (2, 3):  # killed while it was written, twice
        with partial.open("a") as file:
            lines = [files.json_line(row) + "\n" for row in rows(block)[:3]]
            file.write("".join(lines)[: -4 if torn else None])
        kept = run._resumed(partial, RECEIPT)
        assert kept == [row for at in range(block) for row in rows(at)]
        run._append(partial, RECEIPT, rows(block))
        assert run._resumed(partial, RECEIPT) == [*kept, *rows(block)]


def test_a_torn_first_block_is_asked_again(tmp_path):
    partial = tmp_path / "samples.partial.jsonl"
    partial.write_text(json.dumps(RECEIPT) + '\n{"problem": "0-0"}\n{"pro')
    assert run._resumed(partial, RECEIPT) == []
    run._append(partial, RECEIPT, rows(0))
    assert run._resumed(partial, RECEIPT) == rows(0)


class Graders:
    """Takes down how it was asked."""

    def __init__(self):
        self.asked = []

    def submit(self, key, kind, gold, response, **options):
        self.asked.append((key, options))

    def pending(self):
        return len(self.asked) - getattr(self, "told", 0)

    def poll(self, timeout):
        self.told = len(self.asked)
        return [(key, Grade(status="correct", score=1.0)) for key, _ in self.asked]


@pytest.mark.parametrize("tags", [None, ["thought", "final"]])
def test_graded_again_with_the_tags_of_the_run(tmp_path, tags):
    row = {
        **{"problem": "p", "sample": 0, "kind": "math", "gold": "5", "lang": "en", "tokens": 3},
        **{"response": "<final>5</final>", "prefill": "", "status": "correct", "correct": True},
        **{"extracted": "5", "stopped": "eos", "domain": "", "area": "math", "score": 1.0},
    }
    receipt = RECEIPT | ({"tags": tags} if tags else {})
    files.write_jsonl(tmp_path / "samples.jsonl", [row])
    files.write_json(tmp_path / "result.json", {"numbers": {}, "receipt": receipt, "by": {}})
    graders = Graders()
    run.regrade(tmp_path, graders)
    [(_, options)] = graders.asked
    said = (options["think_tag"], options["answer_tag"])
    assert said == tuple(tags or ("think", "answer"))
