"""Files as users have them: broken, or odd but fine. Each goes through what `aha data check` calls.

Expected counts and lines are worked out by hand from the bytes of each case. In every case
kept + rejected = read, and every fault stands at its line.
"""
# ruff: noqa: E501  one case a line

import gzip
import io
import json
import os
import struct
import zipfile
from dataclasses import dataclass
from decimal import Decimal
from unittest import mock

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import check
from aha.errors import ConfigError


def row(number, **more):
    """A good row; each number is another question."""
    answer = str(2 * number) if isinstance(number, int) else "7"
    value = {"question": f"What is {number} + {number}?", "answer": answer, **more}
    return json.dumps(value, ensure_ascii=False).encode()


def lines(*parts):
    return b"".join(part + b"\n" for part in parts)


A, B, C = row(1), row(2), row(3)


def parquet(columns, cut=None, **options):
    table = pyarrow.table(columns)
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, **options)
    return out.getvalue()[:cut]


def zipped(data, locked=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("train.jsonl", data)
    made = bytearray(out.getvalue())
    if locked:
        made[6] |= 1  # bit 0 of the general flags: encrypted
    return bytes(made)


def csv(*rows, newline="\n"):
    return newline.join(rows).encode() + newline.encode()


@dataclass
class Case:
    name: str
    suffix: str
    data: bytes
    kept: int
    rejected: int
    told: tuple = ()
    """(line, words that are in kind or reason) of faults that must be there."""
    file: str = ""
    """Words of the fault of the file as a whole; "" if there must be none."""


HEAD = "question,answer"
BIG = lines(*(row(n, note=os.urandom(40).hex()) for n in range(1, 400)))
GOOD = parquet({"question": ["1 + 1?", "2 + 2?"], "answer": ["2", "4"]})

JSONL = [
    Case("fine", ".jsonl", lines(A, B, C), 3, 0),
    Case("CRLF", ".jsonl", A + b"\r\n" + B + b"\r\n", 2, 0),
    Case("mixed newlines", ".jsonl", A + b"\n" + B + b"\r\n" + C, 3, 0),
    Case("no newline at the end", ".jsonl", A + b"\n" + B, 2, 0),
    Case("blank lines are no rows", ".jsonl", lines(A, b"", b"  \t", b"{", B), 2, 1, ((4, "not JSON"),)),
    Case("byte order mark", ".jsonl", b"\xef\xbb\xbf" + lines(A, B), 2, 0, ((1, "byte order mark"),)),
    Case("U+2028 in a string", ".jsonl", lines(row(1, note="a\u2028b\u2029c\x85d"), B), 2, 0),
    Case("emoji and right-to-left", ".jsonl", lines(row("🙂"), row("שלום עולם"), row("é\u0301")), 3, 0),
    Case("zero width space", ".jsonl", lines(A, row("2\u200b")), 2, 0, ((2, "zero width space"),)),
    Case("bidi override", ".jsonl", lines(row("1\u202e3")), 1, 0, ((1, "right-to-left override"),)),
    Case("tabs around objects", ".jsonl", lines(b"\t" + A + b"\t", B), 2, 0),
    Case("numbers as gold", ".jsonl", lines(row(1, answer=2), row(2, answer=4.0)), 2, 0),
    Case("one gold in a list", ".jsonl", lines(row(1, answer=["2"])), 1, 0),
    Case("one user message", ".jsonl", lines(row(1, question=[{"role": "user", "content": "1+1?"}])), 1, 0),
    Case("very large number", ".jsonl", lines(row(1, answer=10**30), B), 2, 0),
    Case("invalid UTF-8", ".jsonl", lines(A, b'{"question": "\xff", "answer": "2"}', B), 2, 1, ((2, "invalid UTF-8"),)),
    Case("Latin-1", ".jsonl", lines(A, '{"question": "café 1 + 1", "answer": "2"}'.encode("latin-1")), 1, 1, ((2, "Latin-1"),)),
    Case("Windows-1252 quotes", ".jsonl", lines(A, '{"question": "“x” 1", "answer": "2"}'.encode("cp1252")), 1, 1, ((2, "1252"),)),
    Case("NUL escaped", ".jsonl", lines(A, row(2, question="a\0b")), 1, 1, ((2, "NUL"),)),
    Case("NUL raw", ".jsonl", lines(A, b'{"question": "a\0b", "answer": "2"}'), 1, 1, ((2, "control character"),)),
    Case("NUL block of a torn write", ".jsonl", lines(A, b"\0" * 64, B), 2, 1, ((2, "torn write"),)),
    Case("lone surrogate", ".jsonl", lines(A, b'{"question": "a\\ud800b", "answer": "2"}'), 1, 1, ((2, "lone surrogate"),)),
    Case("cut last line", ".jsonl", lines(A, B) + C[:25], 2, 1, ((3, "the line is cut"),)),
    Case("trailing comma", ".jsonl", lines(A, b'{"question": "1?", "answer": "2",}'), 1, 1, ((2, "comma"),)),
    Case("comma after the object", ".jsonl", lines(A + b",", B), 1, 1, ((1, "comma after"),)),
    Case("NaN as gold", ".jsonl", lines(A, b'{"question": "0/0?", "answer": NaN}'), 1, 1, ((2, "number"),)),
    Case("Infinity as gold", ".jsonl", lines(A, b'{"question": "1/0?", "answer": -Infinity}'), 1, 1, ((2, "number"),)),
    Case("1e999 as gold", ".jsonl", lines(A, b'{"question": "1/0?", "answer": 1e999}'), 1, 1, ((2, "number"),)),
    Case("NaN elsewhere", ".jsonl", lines(A, B[:-1] + b', "score": NaN}'), 2, 0, ((2, "not strict JSON"),)),
    Case("duplicate key", ".jsonl", lines(A, B[:-1] + b', "answer": "5"}'), 2, 0, ((2, "'answer' is given twice"),)),
    Case("two objects on a line", ".jsonl", lines(A, B + C), 1, 1, ((2, "two objects"),)),
    Case("array in a .jsonl", ".jsonl", b"[" + A + b", " + B + b"]", 0, 1, ((1, "name the file .json"),)),
    Case("array over lines", ".jsonl", lines(b"[", A + b",", B, b"]"), 1, 3, ((1, "several lines"), (2, "comma after"), (4, "several lines"))),
    Case("string and number lines", ".jsonl", lines(A, b'"text"', b"42", b"null", b"true"), 1, 4, ((2, "a string"), (3, "a number"), (4, "null"), (5, "true or false"))),
    Case("deep nesting", ".jsonl", lines(A, b'{"a":' * 100_000), 1, 1, ((2, "nested too deeply"),)),
    Case("deep but readable column", ".jsonl", lines(A, B[:-1] + b', "x": ' + b"[" * 700 + b"]" * 700 + b"}"), 1, 1, ((2, "nested too deeply"),)),
    Case("number of 5000 digits", ".jsonl", lines(A, b'{"question": "1?", "answer": ' + b"9" * 5000 + b"}"), 1, 1, ((2, "digits"),)),
    Case("missing gold", ".jsonl", lines(A, B, b'{"question": "1?"}'), 2, 1, ((3, "missing key"),)),
    Case("missing question", ".jsonl", lines(A, b'{"answer": "1"}', B), 2, 1, ((2, "missing key"),)),
    Case("empty object", ".jsonl", lines(A, b"{}", B), 2, 1, ((2, "missing key"),)),
    Case("null question", ".jsonl", lines(A, row(2, question=None)), 1, 1, ((2, "null"),)),
    Case("number as question", ".jsonl", lines(A, row(2, question=7)), 1, 1, ((2, "wrong type: int"),)),
    Case("list of numbers as question", ".jsonl", lines(A, row(2, question=[1, 2])), 1, 1, ((2, "not of messages"),)),
    Case("empty question and gold", ".jsonl", lines(A, row(2, question=" \t"), row(3, answer="")), 1, 2, ((2, "empty"), (3, "empty"))),
    Case("true as gold", ".jsonl", lines(A, row(2, answer=True)), 1, 1, ((2, "wrong type: bool"),)),
    Case("object as gold", ".jsonl", lines(A, row(2, answer={"value": 4})), 1, 1, ((2, "wrong type: dict"),)),
    Case("several golds", ".jsonl", lines(A, row(2, answer=["4", "four"])), 1, 1, ((2, "wrong type: list"),)),
    Case("message with a picture", ".jsonl", lines(row(1, question=[{"role": "user", "content": "1+1?"}]), row(2, question=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])), 1, 1, ((2, "not text"),)),
    Case("several turns", ".jsonl", lines(A, row(2, question=[{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1"}])), 1, 1, ((2, "several turns"),)),
    Case("system message", ".jsonl", lines(row(1, question=[{"role": "system", "content": "s"}, {"role": "user", "content": "1+1?"}])), 1, 0, ((1, "system message"),)),
    Case("duplicate id", ".jsonl", lines(row(1, id="x"), row(2, id="y"), row(3, id="x")), 2, 1, ((3, ":1"),)),
    Case("duplicate question", ".jsonl", lines(A, B, A), 3, 0, ((3, "the same question as"),)),
    Case("question but for its spelling", ".jsonl", lines(A, row(1, question="what is  1+1")), 2, 0, ((2, "but for its spelling"),)),
    Case("contradiction", ".jsonl", lines(A, B, row(1, answer="3")), 3, 0, ((3, "another gold"),)),
    Case("equal golds in other writing", ".jsonl", lines(row(1, answer="0.5"), row(1, answer="0.50")), 2, 0, ((2, "the same question as"),)),
    Case("unknown kind", ".jsonl", lines(A, row(2, kind="regex")), 1, 1, ((2, "no grader for kind 'regex'"),)),
    Case("comment lines", ".jsonl", lines(b"# data", A, b"// end"), 1, 2, ((1, "comment"), (3, "comment"))),
    Case("merge conflict", ".jsonl", lines(A, b"<<<<<<< HEAD", B, b"=======", C, b">>>>>>> x"), 3, 3, ((2, "merge conflict"), (4, "merge conflict"), (6, "merge conflict"))),
    Case("Python text", ".jsonl", lines(A, b"{'question': '1', 'answer': '2'}", B[:-1] + b', "x": None}'), 1, 2, ((2, "single quotes"), (3, "Python's"))),
    Case("single backslash", ".jsonl", lines(A, b'{"question": "\\sqrt{4}", "answer": "2"}'), 1, 1, ((2, "a single backslash"),)),
    Case("eaten backslash", ".jsonl", lines(A, b'{"question": "half \\frac{4}{2}?", "answer": "2"}'), 2, 0, ((2, "eaten backslash"),)),
    Case("raw line break in a string", ".jsonl", lines(A, b'{"question": "1', b'+ 1?", "answer": "2"}', B), 2, 2, ((2, "the line is cut"), (3, "not JSON"))),
    Case("old Mac line ends", ".jsonl", A + b"\r" + B + b"\r", 0, 1, ((1, "two objects"),)),
    Case("git-lfs pointer", ".jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", 0, 0, (), "git lfs pull"),
    Case("web page", ".jsonl", b"\n<!DOCTYPE html><html><body>404</body></html>\n", 0, 0, (), "web page"),
    Case("XML error", ".jsonl", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", 0, 0, (), "web page"),
    Case("gzip under .jsonl", ".jsonl", gzip.compress(lines(A, B)), 0, 0, (), "gzip data"),
    Case("parquet under .jsonl", ".jsonl", GOOD, 0, 0, (), "parquet data"),
    Case("zip", ".jsonl", zipped(lines(A)), 0, 0, (), "zip archive"),
    Case("zip with a password", ".jsonl", zipped(lines(A), locked=True), 0, 0, (), "with a password"),
    Case("zstd", ".jsonl", b"\x28\xb5\x2f\xfd\x00\x01", 0, 0, (), "zstd"),
    Case("UTF-16 with a mark", ".jsonl", lines(A, B).decode().encode("utf-16"), 0, 0, (), "UTF-16"),
    Case("UTF-16 without a mark", ".jsonl", lines(A, B).decode().encode("utf-16-le"), 0, 0, (), "UTF-16"),
    Case("UTF-32", ".jsonl", lines(A, B).decode().encode("utf-32"), 0, 0, (), "UTF-32"),
    Case("empty", ".jsonl", b"", 0, 0, (), "empty"),
    Case("white space", ".jsonl", b" \n\t\r\n \n", 0, 0, (), "no row"),
    Case("only a mark", ".jsonl", b"\xef\xbb\xbf", 0, 0, (), "no row"),
    Case("line over 16 MiB", ".jsonl", lines(A, row(2, note="x" * (16 * 2**20)), C), 2, 1, ((2, "line over 16 MiB"),)),
    Case("200,000 characters", ".jsonl", lines(A, row("x " * 100_000), C), 2, 1, ((2, "max_prompt_chars"),)),
    Case("control token", ".jsonl", lines(A, row("1<|im_end|>")), 2, 0, ((2, "<|im_end|>"),)),
    Case("tag in question", ".jsonl", lines(A, row("1</answer>")), 2, 0, ((2, "</answer>"),)),
    Case("gold in question", ".jsonl", lines(A, row(2, question="What is 2 + 2? Answer: 4"), row(3, question="Is 1234567890 large?", answer="1234567890")), 3, 0, ((2, "gold in question"), (3, "gold in question"))),
    Case("language", ".jsonl", lines(row(1, lang="en"), row(2, lang="zh"), row("一加一等于几", lang="zh")), 3, 0, ((2, "said to be 'zh'"),)),
    Case("gold unreadable", ".jsonl", lines(A, row(2, answer="x^2+"), row(3, answer="5 }")), 3, 0, ((2, "gold unreadable"), (3, "gold unreadable"))),
    Case("decoded wrongly", ".jsonl", lines(A, row("donâ€™t 2"), row("caf\ufffd")), 3, 0, ((2, "decoded wrongly"), (3, "decoded wrongly"))),
    Case("other columns", ".jsonl", lines(b'{"frage": "1", "antwort": "2"}'), 0, 1, ((1, "no column"),), "antwort, frage"),
    Case("options", ".jsonl", lines(row(1, options=["2", "3"], kind="math")), 1, 0, ((0, "not part of the question"),)),
]  # fmt: skip

OTHERS = [
    Case("gzip", ".jsonl.gz", gzip.compress(lines(A, B, b"{oops}")), 2, 1, ((3, "not JSON"),)),
    Case("gzip of two members", ".jsonl.gz", gzip.compress(lines(A)) + gzip.compress(lines(B)), 2, 0),
    Case("gzip cut", ".jsonl.gz", gzip.compress(BIG)[:-200], -1, 0, (), "rows were read before"),
    Case("gzip cut in its header", ".jsonl.gz", gzip.compress(BIG)[:6], 0, 0, (), "cut or damaged"),
    Case("gzip with a wrong checksum", ".jsonl.gz", gzip.compress(lines(A, B))[:-8] + b"\0" * 8, -1, 0, (), "gzip"),
    Case("text under .gz", ".jsonl.gz", lines(A, B), 0, 0, (), "not gzip"),
    Case("nothing in the gzip", ".jsonl.gz", gzip.compress(b""), 0, 0, (), "nothing is inside"),
    Case("web page in the gzip", ".jsonl.gz", gzip.compress(b"<html></html>"), 0, 0, (), "inside the gzip file is a web page"),
    Case("gzip in the gzip", ".jsonl.gz", gzip.compress(gzip.compress(lines(A))), 0, 0, (), "inside the gzip file is gzip"),
    Case("list", ".json", b"[" + A + b",\n" + B + b"]", 2, 0),
    Case("list with others in it", ".json", b"[" + A + b", null, 5, " + B + b"]", 2, 2, ((2, "null"), (3, "a number"))),
    Case("object with one list", ".json", b'{"version": 1, "data": [' + A + b"]}", 1, 0),
    Case("mark in a .json", ".json", b"\xef\xbb\xbf[" + A + b"]", 1, 0, ((1, "byte order mark"),)),
    Case("cut .json", ".json", b"[" + A + b", " + B[:20], 0, 0, (), "not JSON"),
    Case("trailing comma in .json", ".json", b"[" + A + b",\n]", 0, 0, (), "not JSON"),
    Case("empty list", ".json", b"[]", 0, 0, (), "no row"),
    Case("number", ".json", b"42", 0, 0, (), "a list of objects"),
    Case("lines under .json", ".json", lines(A, B, b"{oops}"), 2, 1, ((3, "not JSON"),)),
    Case("Latin-1 .json", ".json", '[{"question": "é", "answer": "1"}]'.encode("latin-1"), 0, 0, (), "utf-8"),
    Case("duplicate key in .json", ".json", b"[" + A + b", " + B + b", " + C[:-1] + b', "answer": "6"}]', 3, 0, ((3, "'answer' is given twice"),)),
    Case("duplicate key below", ".json", b"[" + A + b", " + B[:-1] + b', "x": [{"y": {"z": 1, "z": 2}}]}]', 2, 0, ((2, "'z' is given twice"),)),
    Case("NaN in .json", ".json", b"[" + A + b",\n" + B[:-1] + b', "score": [NaN]}]', 2, 0, ((2, "NaN is not JSON"),)),
    Case("duplicate key beside the list", ".json", b'{"v": 1, "v": 2, "data": [' + A + b"]}", 1, 0, ((0, "'v' is given twice"),)),
    Case("two lists of one name", ".json", b'{"data": [' + A[:-1] + b', "answer": "3"}], "data": [' + B + b"]}", 1, 0, ((0, "'data' is given twice"), (0, "'answer' is given twice"))),
    Case("one object with a duplicate key", ".json", A[:-1] + b', "answer": "2"}', 1, 0, ((1, "given twice"),)),
    Case("duplicate key in .json.gz", ".json.gz", gzip.compress(b"[" + A + b"," + B[:-1] + b', "answer": "4"}]'), 2, 0, ((2, "given twice"),)),
    Case("duplicate key in lines under .json", ".json", lines(A, B[:-1] + b', "answer": "4"}', C), 3, 0, ((2, "given twice"),)),
    Case("gzipped .json", ".json.gz", gzip.compress(b"[" + A + b"]"), 1, 0),
    Case("fine csv", ".csv", csv(HEAD, "1 + 1?,2", "2 + 2?,4"), 2, 0),
    Case("csv CRLF and mark", ".csv", b"\xef\xbb\xbf" + csv(HEAD, "1 + 1?,2", "2 + 2?,4", newline="\r\n"), 2, 0, ((1, "byte order mark"),)),
    Case("csv old Mac", ".csv", csv(HEAD, "1 + 1?,2", "2 + 2?", newline="\r"), 1, 1, ((3, "1 fields"),)),
    Case("csv quoted line break", ".csv", csv(HEAD, '"1\n+ 1?",2', "2 + 2?"), 1, 1, ((4, "1 fields under a header of 2"),)),
    Case("csv field counts", ".csv", csv(HEAD, "1 + 1?,2", "a", "b,c,d", "2 + 2?,4"), 2, 2, ((3, "1 fields"), (4, "3 fields"))),
    Case("csv unclosed quote", ".csv", csv(HEAD, "1 + 1?,2", '"2 + 2?,4', "3 + 3?,6"), 1, 1, ((3, "never closed"),)),
    Case("csv text after a quote", ".csv", csv(HEAD, '"a"b,2', "2 + 2?,4"), 1, 1, ((2, "not CSV"),)),
    Case("csv blank lines", ".csv", csv(HEAD, "", "1 + 1?,2", "", "a"), 1, 1, ((5, "1 fields"),)),
    Case("csv of spaces", ".csv", csv(HEAD, "1 + 1?,2", "   "), 1, 1, ((3, "1 fields"),)),
    Case("csv empty gold", ".csv", csv(HEAD, "1 + 1?,", "2 + 2?,4"), 1, 1, ((2, "empty"),)),
    Case("csv semicolons", ".csv", csv("question;answer", "1 + 1?;2"), 0, 1, ((2, "no column"),), "';'"),
    Case("csv tabs", ".csv", csv("question\tanswer", "1 + 1?\t2"), 0, 1, ((2, "no column"),), "'\\t'"),
    Case("csv repeated column", ".csv", csv("question,answer,answer", "1 + 1?,2,3"), 0, 0, (), "repeated name"),
    Case("csv empty column name", ".csv", csv("question,answer,", "1 + 1?,2,3"), 0, 0, (), "empty or repeated"),
    Case("csv spaces in the header", ".csv", csv(" question , answer ", "1 + 1?,2"), 1, 0),
    Case("csv header alone", ".csv", csv(HEAD), 0, 0, (), "no row"),
    Case("csv without a header", ".csv", csv("1 + 1?,2", "2 + 2?,4"), 0, 1, ((2, "no column"),), "no column"),
    Case("csv Windows-1252", ".csv", csv(HEAD, "1 + 1?,2") + "“2” + 2?,4\n".encode("cp1252"), 1, 1, ((3, "invalid UTF-8"),)),
    Case("csv NUL", ".csv", csv(HEAD, "1\0+ 1?,2", "2 + 2?,4"), 1, 1, ((2, "NUL"),)),
    Case("csv UTF-16", ".csv", csv(HEAD, "1 + 1?,2").decode().encode("utf-16"), 0, 0, (), "UTF-16"),
    Case("csv.gz", ".csv.gz", gzip.compress(csv(HEAD, "1 + 1?,2", "x")), 1, 1, ((3, "1 fields"),)),
    Case("csv.gz cut", ".csv.gz", gzip.compress(csv(HEAD, "1 + 1?,2"))[:-9], -1, -1, (), "cut or damaged"),
    Case("spreadsheet under .csv", ".csv", zipped(b"x"), 0, 0, (), "zip archive"),
    Case("fine parquet", ".parquet", GOOD, 2, 0),
    Case("parquet nulls", ".parquet", parquet({"question": ["1?", None, "3?"], "answer": ["1", "2", None]}), 1, 2, ((2, "null"), (3, "null"))),
    Case("parquet numbers", ".parquet", parquet({"question": ["1?", "2?"], "answer": [1, 2]}), 2, 0),
    Case("parquet decimals", ".parquet", parquet({"question": ["1?"], "answer": [Decimal("1.5")]}), 0, 1, ((1, "wrong type: Decimal"),)),
    Case("parquet binary", ".parquet", parquet({"question": [b"1?"], "answer": ["1"]}), 0, 1, ((1, "wrong type: bytes"),)),
    Case("parquet nested", ".parquet", parquet({"question": ["1?"], "reward_model": [{"ground_truth": "1", "style": "rule"}]}), 1, 0),
    Case("parquet messages", ".parquet", parquet({"prompt": [[{"role": "user", "content": "1?"}]], "answer": ["1"]}), 1, 0),
    Case("parquet not a number", ".parquet", parquet({"question": ["1?", "2?"], "answer": [1.0, float("nan")]}), 1, 1, ((2, "number"),)),
    Case("parquet without rows", ".parquet", parquet({"question": pyarrow.array([], "string"), "answer": pyarrow.array([], "string")}), 0, 0, (), "no row"),
    Case("parquet cut", ".parquet", GOOD[:-20], 0, 0, (), "not a whole parquet file"),
    Case("parquet of its magic alone", ".parquet", b"PAR1", 0, 0, (), "not a whole parquet file"),
    Case("parquet with a damaged footer", ".parquet", GOOD[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1", 0, 0, (), "parquet"),
    Case("text under .parquet", ".parquet", lines(A, B), 0, 0, (), "not parquet data"),
    Case("git-lfs pointer under .parquet", ".parquet", b"version https://git-lfs.github.com/spec/v1\n", 0, 0, (), "git lfs pull"),
    Case("empty parquet", ".parquet", b"", 0, 0, (), "empty"),
]  # fmt: skip


def looked_at(path, **config):
    faults = []
    report = check.check(str(path), DataConfig(train=str(path), **config), sink=faults.append)
    for split in report.splits:
        assert split.kept + split.rejected == split.read
    assert report.kept + report.rejected == report.read
    assert report.tally.total("rejected") == report.rejected
    return report, faults


@pytest.mark.parametrize("case", JSONL + OTHERS, ids=lambda case: f"{case.suffix[1:]} {case.name}")
def test_every_fault_is_told_with_its_place(tmp_path, case):
    path = tmp_path / f"data{case.suffix}"
    path.write_bytes(case.data)
    report, faults = looked_at(path)
    said = "\n".join(f"{fault.level} {fault.kind} {fault}" for fault in faults)
    if case.kept >= 0:
        assert (report.kept, report.rejected) == (case.kept, case.rejected), said
    for line, words in case.told:
        assert any(
            fault.line == line
            and fault.file == str(path)
            and words in f"{fault.kind} {fault.reason}"
            for fault in faults
        ), f"line {line}: {words}; told were:\n{said}"
    of_file = [fault for fault in faults if fault.level == "file"]
    if case.file:
        assert any(case.file in str(fault) for fault in of_file), said
        assert all(fault.file == str(path) for fault in of_file)
    else:
        assert not of_file, said
    assert report.clean == (not case.file and case.rejected == 0)
    told_lines = {line for line, _ in case.told}
    rejected = {fault.line for fault in faults if fault.level == "rejected"}
    assert rejected <= told_lines, said
    odd = {fault.line for fault in faults if fault.kind in ("duplicate key", "not strict JSON")}
    assert odd <= told_lines, said


def test_a_cut_gzip_counts_the_rows_before_it(tmp_path):
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(BIG)[:-200])
    report, faults = looked_at(path)
    assert 0 < report.read < 399
    assert f"({report.read} rows were read before)" in str(faults[-1])


def test_parquet_that_breaks_in_its_middle(tmp_path):
    """Two row groups; bytes of the second one's pages are overwritten."""
    questions = [f"{n}: {os.urandom(16).hex()}?" for n in range(2000)]
    data = bytearray(
        parquet(
            {"question": questions, "answer": [str(n) for n in range(2000)]},
            row_group_size=1000,
            compression="gzip",
        )
    )
    at = len(data) * 3 // 5
    data[at : at + 4000] = b"\xff" * 4000
    path = tmp_path / "x.parquet"
    path.write_bytes(bytes(data))
    report, faults = looked_at(path)
    of_file = [fault for fault in faults if fault.level == "file"]
    assert len(of_file) == 1
    assert f"({report.read} rows were read before)" in of_file[0].reason


def test_what_is_not_a_file(tmp_path):
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    assert "pipe" in str(looked_at(pipe)[1][0])  # and it does not hang
    folder = tmp_path / "folder.jsonl"
    folder.mkdir()
    assert "has no file for the split" in str(looked_at(folder)[1][0])
    dangling = tmp_path / "link.jsonl"
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (dangling, tmp_path / "none.jsonl", tmp_path / ("x" * 300 + ".jsonl")):
        report, faults = looked_at(path)
        assert [fault.level for fault in faults] == ["file"]
        assert not report.clean
    named = tmp_path / "data.txt"
    named.write_bytes(A)
    assert "ends in .jsonl" in str(looked_at(named)[1][0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(A)
    path.chmod(0)
    assert "ermission" in str(looked_at(path)[1][0])


def test_misuse_is_a_configuration_error(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(A)
    for source in (
        f"{path}?gould=x",
        f"{path}?n=0",
        f"{path}?kind=regex",
        "",
        f"{path}?split=test",
    ):
        with pytest.raises(ConfigError):
            looked_at(source)


@pytest.fixture(scope="module")
def ungraded():
    """Golds are not graded: graders are other processes, and slow to start."""

    class NoPool:
        def __init__(self, **_):
            pass

        def submit(self, *_, **__):
            pass

        poll = drain = lambda self, *_: []
        pending = lambda self: 0  # noqa: E731
        close = submit

    with mock.patch("aha.data.golds.GraderPool", NoPool):
        yield


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=400), suffix=st.sampled_from([".jsonl", ".csv", ".json", ".jsonl.gz"])
)
def test_random_bytes_are_reported_never_raised(tmp_path_factory, ungraded, data, suffix):
    path = tmp_path_factory.mktemp("random") / f"x{suffix}"
    path.write_bytes(data)
    looked_at(path)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.one_of(
            st.fixed_dictionaries({"question": _VALUES, "answer": _VALUES}),
            st.dictionaries(st.sampled_from(["question", "answer", "id", "lang"]), _VALUES),
            _VALUES,
        ),
        max_size=8,
    )
)
def test_any_json_in_lines_keeps_the_identity(tmp_path_factory, ungraded, rows):
    path = tmp_path_factory.mktemp("random") / "x.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
    report, _ = looked_at(path)
    assert report.read in (0, len(rows))
