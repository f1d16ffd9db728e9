"""Both faces, read as a user would: the text that reaches the stream."""

import io
import re
import subprocess
import sys
import time

import pytest

from aha.report.console import Console, duration
from aha.report.lines import width_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


ROW = {
    "step": 20, "reward/mean": 1.318, "reward/accuracy/mean": 0.41, "reward/format/mean": 0.908,
    "rollout/tokens/mean": 53.2, "rollout/tokens/p95": 96.0, "rollout/cut/share": 0.02,
    "group/all_wrong/share": 0.41, "group/all_right/share": 0.02, "policy/kl/mean": 0.0041,
    "policy/entropy/mean": 1.12, "policy/gap/mean": 1.2e-6, "rate/rollout_tokens_per_s": 412.3,
    "time/step_s": 3.5125,
}  # fmt: skip


def plain(clock=None):
    out = io.StringIO()
    return out, Console(stream=out, clock=clock or Clock())


def test_a_step_is_one_line():
    out, console = plain()
    console.start("title", ["fact"], steps=100)
    console.step(ROW, {"think": "x", "answer": "y"})
    line = out.getvalue().splitlines()[2]
    assert re.sub(" +", " ", line) == (  # 80 steps of 3.5125 s = 281 s
        "step 20/100 reward 1.32 acc 0.41 fmt 0.91 len 53(p95 96) cut 2% all0/all1 41/2% "
        "kl 0.004 ent 1.12 gap 1e-06 412 tok/s eta 4m41s"
    )


def test_columns_stay_aligned():
    out, console = plain()
    console.start("title", [], steps=100)
    other = ROW | {"step": 3, "rollout/tokens/mean": 412.0, "rollout/tokens/p95": 998.0}
    other |= {"rollout/cut/share": 1.0, "rate/rollout_tokens_per_s": 99.0, "time/step_s": 3000.0}
    console.step(other)
    console.step(ROW)
    first, second = out.getvalue().splitlines()[1:]
    for label in ("reward", "acc", "len", "all0/all1", "kl", "tok/s", "eta"):
        assert first.index(label) == second.index(label)


def test_what_is_not_known_is_a_dash():
    out, console = plain()
    console.step({"step": 3, "reward/mean": None, "policy/kl/mean": float("nan")})
    line = re.sub(" +", " ", out.getvalue())
    assert line.startswith("step 3 reward - acc - fmt - len -(p95 -) cut -% all0/all1 -/-% kl - ")
    assert "0.0" not in line


def test_held_out_and_pretraining():
    out, console = plain()
    held = {
        "heldout/pass_at_1": 0.113,
        "heldout/pass_at_1_low": 0.08,
        "heldout/pass_at_1_high": 0.15,
    }
    console.step(ROW | held)
    assert out.getvalue().rstrip().endswith("held-out 11% [8,15]")
    row = {"step": 1, "pretrain/loss": 6.9, "optim/lr": 0.003, "rate/update_tokens_per_s": 4100.0}
    console.step(row)
    assert "loss  6.900 lr 3.0e-03" in out.getvalue()
    assert "4100 tok/s" in out.getvalue()


def test_heartbeat_after_a_minute_of_silence():
    clock = Clock()
    out, console = plain(clock)
    console.start("title", [])
    for second in range(0, 200):
        clock.now = second
        console.heartbeat(second, 512, 390.0)
    assert out.getvalue().splitlines()[1:] == [
        "  sampling: 60/512 answers, 390 tok/s",
        "  sampling: 120/512 answers, 390 tok/s",
        "  sampling: 180/512 answers, 390 tok/s",
    ]
    console.step(ROW)  # speaks, so the next minute begins
    clock.now = 250
    console.heartbeat(1, 2, 3.0)
    assert len(out.getvalue().splitlines()) == 5


def test_a_pipe_is_80_columns_wide():
    out, console = plain()
    console.start("aha " * 30, ["a fact of many words " * 10, "路径" * 60])
    console.alert("31 % of the answers were cut at the cap. " * 4)
    console.note("one\n" + "note " * 40)
    console.table("title", ["problems", "before", "after"], [["x" * 100, 1, 0.25]])
    lines = out.getvalue().splitlines()
    assert all(width_of(line) <= 80 for line in lines)
    assert sum(line.startswith("! ") for line in lines) == 1
    assert "\x1b" not in out.getvalue()


HOSTILE = "\x1b[31m\x1b]0;t\x07[bold red]hi[/bold red]\u202e\x9b2J\x00[/]"


@pytest.mark.parametrize("face", ["plain", "live"])
def test_hostile_text_does_nothing(face, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "60")
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    with Console(stream=out, face=face) as console:
        console.start(HOSTILE, [HOSTILE], steps=2)
        console.step(ROW, {"question": HOSTILE, "think": HOSTILE, "answer": HOSTILE, "reward": 1.0})
        console.alert(HOSTILE)
        console.note(HOSTILE)
        console.table(HOSTILE, [HOSTILE], [[HOSTILE]])
    text = out.getvalue()
    assert "[bold red]hi[/bold red][/]" in text
    assert not re.search("\x1b\\]0|\x9b|\u202e|\x00|\x1b\\[2J", text)
    if face == "plain":
        assert "\x1b" not in text
    else:
        assert "\x1b[31m" not in text


def screen(monkeypatch, columns=100, lines=60, **env):
    for name, value in {"TERM": "xterm", "COLUMNS": columns, "LINES": lines, **env}.items():
        monkeypatch.setenv(name, str(value))
    out = io.StringIO()
    clock = Clock()
    return out, clock, Console(stream=out, face="live", clock=clock)


def last_frame(out):
    """The panel that was drawn last, without colours."""
    text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    return text[text.rindex("╭") :]


def test_the_panel_shows_steps_sample_and_alerts(monkeypatch):
    out, _, console = screen(monkeypatch, columns=120)
    console.start("aha zero", ["model aha:base"], steps=100)
    for step in range(1, 21):
        held = {"heldout/pass_at_1": 0.1} if step == 15 else {}
        console.step(
            ROW | {"step": step} | held, {"question": "2+2?", "think": "hm", "answer": "4"}
        )
    console.alert("31 % were cut. Raise max_answer_tokens.")
    frame = last_frame(out)
    assert "aha zero" in frame
    assert "model aha:base" in frame
    rows = re.findall(r"(\d+)/100", frame)
    assert rows == [str(step) for step in range(9, 21)]  # the last twelve, the evaluated one too
    assert all(text in frame for text in ("2+2?", "hm", "4", "! 31 % were cut", "4m41s"))
    assert "\x1b[2mhm" in out.getvalue()  # dimmed
    assert "\x1b[1m4" in out.getvalue()  # bright
    console.close()
    console.close()
    assert out.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in out.getvalue()  # cursor is back


def test_the_panel_fits_a_small_terminal(monkeypatch):
    out, _, console = screen(monkeypatch, columns=80, lines=24)
    console.start("aha", ["fact"], steps=100)
    for step in range(1, 21):
        console.step(ROW | {"step": step}, {"think": "word " * 5000, "answer": "字" * 5000})
    console.alert("something. Do this.")
    frame = last_frame(out)
    assert "! something" in frame
    assert "reward" in frame
    assert "…" not in frame.split("\n")[3]  # columns are left out, not cut
    assert len(frame.rstrip().split("\n")) <= 24
    console.close()


def test_no_color(monkeypatch):
    out, _, console = screen(monkeypatch, NO_COLOR="1")
    console.start("t", [])
    console.step(ROW, {"answer": "4", "verdict": "correct"})
    console.alert("something.")
    console.close()
    assert not re.search("\x1b\\[[0-9;]*(3[0-7]|9[0-7]|38)[;m]", out.getvalue())


def test_live_heartbeats_are_drawn_a_few_times_a_second(monkeypatch):
    out, clock, console = screen(monkeypatch)
    console.start("t", [])
    for i in range(1000):
        clock.now = i / 1000
        console.heartbeat(i, 1000, 100.0)
    drawn = re.findall(r"sampling: (\d+)/1000", out.getvalue())
    assert 3 <= len(set(drawn)) <= 5
    console.close()


@pytest.mark.parametrize("face", ["plain", "live"])
def test_a_closed_pipe_is_silence(face, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    console = Console(stream=Gone(), face=face)
    console.start("t", [])
    console.step(ROW)
    console.heartbeat(1, 2, 3.0)
    console.note("n")
    console.alert("a")
    console.table("t", ["a"], [["b"]])
    console.close()


def test_a_reader_that_leaves_does_not_end_the_program():
    program = (
        "import sys, time\n"
        "from aha.report.console import Console\n"
        "with Console() as console:\n"
        "    for step in range(2000):\n"
        "        console.step({'step': step})\n"
        "print('went on to the end', file=sys.stderr)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout.readline().startswith("step 0")
    run.stdout.close()
    assert run.stderr.read() == "went on to the end\n"
    run.stderr.close()
    assert run.wait(timeout=60) == 0


def test_a_mistake_of_ours_is_not_silenced():
    class Odd(io.StringIO):
        def write(self, text):
            raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        Console(stream=Odd(), face="plain").note("n")


def test_an_ascii_stream_gets_question_marks():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(stream=stream)
    console.note("结果 é")
    assert raw.getvalue() == b"?? ?\n"


def test_face_is_chosen_by_the_stream(monkeypatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    for stream, term, live in (
        (io.StringIO(), "xterm", False),
        (Terminal(), "xterm", True),
        (Terminal(), "dumb", False),
    ):
        monkeypatch.setenv("TERM", term)
        console = Console(stream=stream)
        console.start("t", [])
        console.close()
        assert ("\x1b" in stream.getvalue()) is live


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (59.6, "1m00s"),
        (281, "4m41s"),
        (3600, "1h00m"),
        (16860, "4h41m"),
        (100_000, "1d03h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_huge_sample_costs_little():
    _, console = plain()
    start = time.process_time()
    console.step(ROW, {"think": "\x1b]" * 200_000})
    assert time.process_time() - start < 2


@pytest.mark.parametrize("face", ["plain", "live"])
def test_lines_are_not_folded(face, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    command = "aha run " + "x" * 90 + " --set a=b"
    with Console(stream=out, face=face) as console:
        assert console.unicode == (face == "live")
        console.lines(["[bold]head", command + "\x1b[2J"])
    assert f"[bold]head\n{command}\n" in out.getvalue()
