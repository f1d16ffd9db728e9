import gzip
import json
import os

import pyarrow
import pyarrow.parquet
import pytest

from aha.data import readers
from aha.data.readers import BadRow, Row, read
from aha.errors import DataError


def rows(path):
    return list(read(path))


def test_jsonl_rows_keep_their_line_numbers(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": "\xe4\xb8\xad"}')
    assert rows(path) == [Row(str(path), 1, {"a": 1}), Row(str(path), 4, {"a": "中"})]


BROKEN = [
    (b"{oops}", "not JSON"),
    (b'{"a": 1', "not JSON"),
    (b"[1, 2]", "not an object but a list"),
    (b"null", "not an object but null"),
    (b'"text"', "not an object but a string"),
    (b'{"a": "\xff\xfe"}', "invalid UTF-8 at byte 8"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"a": ' + b"9" * 10_000 + b"}", "digits"),
]


@pytest.mark.parametrize("line, said", BROKEN)
def test_a_broken_line_does_not_hide_the_others(tmp_path, line, said):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    first, broken, last = rows(path)
    assert first == Row(str(path), 1, {"a": 1})
    assert last == Row(str(path), 3, {"a": 3})
    assert isinstance(broken, BadRow)
    assert broken.line == 2
    assert said in broken.reason
    assert str(broken).startswith(f"{path}:2: ")


def test_a_line_that_is_too_long_is_skipped_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_LINE", 100)
    path = tmp_path / "x.jsonl"
    longest = b'{"a": "' + b"x" * 91 + b'"}'  # 7 + 91 + 2 = 100 bytes
    assert len(longest) == 100
    path.write_bytes(longest + b"\n" + b"y" * 1000 + b'\n{"a": 3}\n' + b"z" * 101)
    first, second, third, fourth = rows(path)
    assert isinstance(first, Row)
    assert isinstance(second, BadRow)
    assert "line over" in second.reason
    assert third == Row(str(path), 3, {"a": 3})
    assert isinstance(fourth, BadRow)
    assert fourth.line == 4


def test_gzip(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    assert [row.value["a"] for row in rows(path)] == [1, 2]


@pytest.mark.parametrize("keep", [5, 30, 200])
def test_a_cut_gzip_is_refused(tmp_path, keep):
    lines = b"".join(b'{"a": "%d"}\n' % (n * 7919 % 10_007) for n in range(2000))
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(lines)[:keep])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz"):
        rows(path)


def test_what_is_not_gzip_is_refused(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(b'{"a": 1}\n')
    with pytest.raises(DataError, match="not a whole gzip"):
        rows(path)


def test_json_as_a_list_an_object_and_lines(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('[{"a": 1}, 5]')
    assert rows(path) == [
        Row(str(path), 1, {"a": 1}),
        BadRow(str(path), 2, "not an object but a number"),
    ]
    path.write_text('{"version": "1", "data": [{"a": 1}, {"a": 2}]}')
    assert [row.value["a"] for row in rows(path)] == [1, 2]
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert [row.value["a"] for row in rows(path)] == [1, 2]
    path.write_text('[{"a": 1},\n {"a"]')
    with pytest.raises(DataError, match=r"x\.json:2: not JSON"):
        rows(path)
    path.write_text("  ")
    assert rows(path) == []


def test_csv(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b'question,answer\n"two\nlines, comma",5\nshort\nc,3\n"x\xff",4\n')
    first, broken, third, fourth = rows(path)
    assert first == Row(str(path), 2, {"question": "two\nlines, comma", "answer": "5"})
    assert broken == BadRow(str(path), 4, "1 fields under a header of 2")
    assert third == Row(str(path), 5, {"question": "c", "answer": "3"})
    assert fourth.value["question"] == "x\udcff"  # the columns refuse it, with its row


def test_csv_with_an_open_quote_or_a_double_name(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('a,b\n1,2\n"open,3\n')
    assert [type(row) for row in rows(path)] == [Row, BadRow]
    path.write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="repeated name"):
        rows(path)


def test_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    nested = [{"ground_truth": "5"}, {"ground_truth": "6"}]
    pyarrow.parquet.write_table(pyarrow.table({"q": ["a", "b"], "reward_model": nested}), path)
    assert rows(path) == [
        Row(str(path), 1, {"q": "a", "reward_model": {"ground_truth": "5"}}),
        Row(str(path), 2, {"q": "b", "reward_model": {"ground_truth": "6"}}),
    ]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole parquet file"):
        rows(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="not a whole parquet file"):
        rows(path)


def test_parquet_with_bytes_that_are_not_text(tmp_path):
    texts = pyarrow.array([b"good", b"\xff\xfe", b"fine"], pyarrow.binary()).view(pyarrow.string())
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"q": texts}), path)
    assert rows(path) == [
        Row(str(path), 1, {"q": "good"}),
        BadRow(str(path), 2, "invalid UTF-8"),
        Row(str(path), 3, {"q": "fine"}),
    ]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.csv", "x.parquet"])
def test_files_that_are_not_there(tmp_path, name):
    with pytest.raises(DataError, match="no file at"):
        rows(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}')
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DataError, match="permission"):
        rows(path)


def test_an_unknown_suffix(tmp_path):
    with pytest.raises(DataError, match=r"ends in \.jsonl"):
        rows(tmp_path / "x.txt")


def test_an_empty_file_has_no_rows(tmp_path):
    for name in ("x.jsonl", "x.json", "x.csv"):
        (tmp_path / name).write_bytes(b"")
        assert rows(tmp_path / name) == []


def test_what_is_read_is_what_was_written(tmp_path):
    values = [{"q": "Größe \u2028 \x85 one\ttwo", "n": [1, {"m": None}]}, {"q": "😀"}]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(v, ensure_ascii=False) for v in values), "utf-8")
    assert [row.value for row in rows(path)] == values


def test_lines_under_json_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
    assert [row.value for row in readers.read(path)] == [{"a": 1}, {"a": 2}]


def test_the_first_objects_are_looked_at_and_no_row_is_lost():
    bad = [BadRow("f", number, "no") for number in range(readers.AHEAD + 5)]
    good = [Row("f", number, {"n": number}) for number in range(readers.SAMPLE + 5)]
    for wait, rows, seen in (
        (False, good, good[: readers.SAMPLE]),
        (False, bad[:7] + good[:3], good[:3]),
        (False, bad + good, []),
        (True, bad + good, good[:1]),
        (True, good[:1] + bad + good[1:], good[:1]),
        (True, bad, []),
    ):
        again, sample = readers.peek(iter(rows), wait=wait)
        assert sample == seen
        assert list(again) == rows
