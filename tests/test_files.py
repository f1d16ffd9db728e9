import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha import files
from aha.errors import RunError


def inside(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_written_whole_below_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    files.write_text(path, "één\n")
    assert path.read_bytes() == "één\n".encode()
    files.write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert inside(tmp_path) == ["a", "a/b", "a/b/c.txt"]


def test_json_is_sorted_and_readable(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "中"})
    assert (tmp_path / "a.json").read_text("utf-8") == (
        '{\n  "a": "中",\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    )


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=5))
def test_json_lines_round_trip_with_any_text(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    files.write_jsonl(path, rows)
    assert files.read_jsonl(path) == rows


def test_lone_surrogates_and_line_separators_survive(tmp_path):
    rows = [{"t": "\ud800 \u2028 \x85 \n"}, {"t": "中"}]
    files.write_jsonl(tmp_path / "a.jsonl", rows)
    assert files.read_jsonl(tmp_path / "a.jsonl") == rows
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 2
    assert "中" in (tmp_path / "a.jsonl").read_text("utf-8")


def test_a_line_torn_anywhere_is_dropped(tmp_path):
    """Killed while appending: also in the middle of a character of three bytes."""
    path = tmp_path / "a.jsonl"
    whole = '{"n": 1}\n{"n": "中文"}\n'.encode()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = files.read_jsonl(path)
        assert found in ([], [{"n": 1}], [{"n": 1}, {"n": "中文"}])
        assert len(found) >= whole[:size].count(b"\n")


def test_a_new_folder_is_listed_and_whole(tmp_path):
    final = tmp_path / "x" / "step"
    with files.new_folder(final) as aside:
        assert files.TMP in aside.name
        assert not final.exists()
        (aside / "sub").mkdir()
        (aside / "sub" / "a.bin").write_bytes(b"abc")
    listed = json.loads((final / "manifest.json").read_text())["files"]
    digest = (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", FIPS 180
    )
    assert listed == {"sub/a.bin": {"bytes": 3, "sha256": digest}}
    assert files.verify(final) is None
    assert inside(tmp_path) == [
        "x",
        "x/step",
        "x/step/manifest.json",
        "x/step/sub",
        "x/step/sub/a.bin",
    ]
    with files.new_folder(final) as aside:  # the same again replaces it
        (aside / "b").write_bytes(b"")
    assert inside(final) == ["b", "manifest.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_writer_fails(tmp_path, error):
    final = tmp_path / "step"
    with files.new_folder(final) as aside:
        (aside / "a").write_text("old")
    before = inside(tmp_path)

    def writes_half():
        with files.new_folder(final) as aside:
            (aside / "a").write_text("new")
            raise error

    with pytest.raises(error):
        writes_half()
    assert inside(tmp_path) == before
    assert (final / "a").read_text() == "old"


def test_leftovers_of_a_killed_writer_are_removed_by_the_next(tmp_path):
    left = tmp_path / f"step{files.TMP}999"
    left.mkdir()
    (left / "half").write_text("x")
    with files.new_folder(tmp_path / "step") as aside:
        (aside / "a").write_text("x")
    assert inside(tmp_path) == ["step", "step/a", "step/manifest.json"]
    (tmp_path / f"a.json{files.TMP}1").write_text("x")
    left.mkdir()
    files.clean(tmp_path)
    assert inside(tmp_path) == ["step", "step/a", "step/manifest.json"]


def test_what_is_wrong_is_said(tmp_path):
    final = tmp_path / "step"
    with files.new_folder(final) as aside:
        (aside / "a").write_bytes(b"abc")
    (final / "a").write_bytes(b"abd")
    assert files.verify(final) == "a does not match its sha256"
    (final / "a").write_bytes(b"ab")
    assert files.verify(final) == "a has 2 bytes, not 3"
    (final / "a").unlink()
    assert files.verify(final) == "a is missing"
    (final / "manifest.json").unlink()
    assert files.verify(final) == "manifest.json is missing"
    assert "missing" in files.verify(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "code,said",
    [
        (errno.ENOSPC, r"the disk is full: cannot write .*a\.txt .*GB free.*run the same command"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, r"no permission to write .*a\.txt; choose another folder.*run_dir"),
        (errno.EROFS, "no permission to write"),
        (errno.EIO, r"cannot write .*a\.txt"),
    ],
)
def test_a_disk_that_refuses_is_named_and_the_old_file_stays(tmp_path, monkeypatch, code, said):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fails(handle):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(RunError, match=said):
            files.write_text(path, "new")
    assert path.read_text() == "old"
    assert inside(tmp_path) == ["a.txt"]  # the half-written one does not fill the disk further


KILLED = """
import sys
from pathlib import Path
from aha import files
folder = Path(sys.argv[1])
print("go", flush=True)
for i in range(10**9):
    files.write_text(folder / "file", "x" * (i % 5000))
    with files.new_folder(folder / "folder") as aside:
        for name in "abc":
            (aside / name).write_text(name * (i % 5000))
"""


def test_killed_at_any_instant_files_are_whole_or_not_there(tmp_path):
    for number in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"go\n"
        time.sleep(0.05 + 0.013 * number)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if (tmp_path / "file").exists():
            assert set((tmp_path / "file").read_text()) <= {"x"}
        if (tmp_path / "folder").exists():
            assert files.verify(tmp_path / "folder") is None
            assert inside(tmp_path / "folder") == ["a", "b", "c", "manifest.json"]
    files.clean(tmp_path)
    assert not [name for name in inside(tmp_path) if files.TMP in name]
