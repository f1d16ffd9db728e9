"""Exit codes and what is printed; nothing here loads a model."""

import pytest

from aha import __version__
from aha.__main__ import _run, _stages_and_overrides, main


def test_version_and_help(capsys):
    assert _run(["--version"], False) == 0
    assert capsys.readouterr().out == f"aha {__version__}\n"
    for words in (["--help"], ["-h"], ["run", "--help"], ["model", "get", "--help"]):
        assert _run(words, False) == 0
        assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words,code,said",
    [
        (["run", "nowhere.toml"], 2, "no recipe at nowhere.toml"),
        (["run", "{recipe}", "--set", "zero.stepz=3"], 2, "did you mean 'steps'"),
        (["run", "{recipe}", "zeroo", "--set", "run_dir={tmp}"], 2, "no stage 'zeroo'"),
        (["resume", "{tmp}/nothing"], 1, "is not a run folder"),
        (["runn"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
        (["run", "{recipe}", "--no-such-flag"], 2, "No such option"),
    ],
)
def test_mistakes_end_with_their_code_and_a_sentence(tmp_path, capsys, words, code, said):
    recipe = tmp_path / "a.toml"
    recipe.write_text("[zero]\nsteps = 1\n")
    words = [word.format(recipe=recipe, tmp=tmp_path) for word in words]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "nowhere.toml", "--debug"])
    assert ended.value.code == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_of_ours_is_one_sentence_and_a_log(tmp_path, capsys, monkeypatch):
    import tempfile

    from aha.stages import run_folder

    def broken(path):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(run_folder, "stored_recipe", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["resume", "x"])
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: by zero" in err
    logs = list(tmp_path.glob("aha-*.log"))
    assert len(logs) == 1
    assert str(logs[0]) in err
    assert "Traceback" in logs[0].read_text()


def test_an_interrupt_ends_with_130(capsys, monkeypatch):
    from aha import config

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "load", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["run", "x.toml"])
    assert ended.value.code == 130
    assert "aha resume" in capsys.readouterr().err


def test_overrides_may_follow_one_another():
    assert _stages_and_overrides(None, ["a.b=1"]) == ([], ["a.b=1"])
    assert _stages_and_overrides(["zero", "c=2"], ["a.b=1"]) == (["zero"], ["a.b=1", "c=2"])
    assert _stages_and_overrides(["zero", "sft"], None) == (["zero", "sft"], [])
