"""Tasks of reasoning-gym as sources: typed keys, the split, golds; the package itself is compared."""

import builtins
import json
import os
import subprocess
import sys

import pytest

from aha.config import DataConfig
from aha.data.sources import load
from aha.errors import ConfigError, DataError
from aha.rewards.grade import grade

gym = pytest.importorskip("aha.data.tasks.gym")
CONFIG = DataConfig()


@pytest.fixture(scope="module")
def package():
    return pytest.importorskip("reasoning_gym")


QUICK = (
    "aiw", "base_conversion", "basic_arithmetic", "binary_matrix", "caesar_cipher",
    "calendar_arithmetic", "chain_sum", "color_cube_rotation", "count_bits", "decimal_arithmetic",
    "family_relationships", "fraction_simplification", "gcd", "graph_color", "kakurasu", "lcm",
    "leg_counting", "letter_counting", "maze", "mini_sudoku", "n_queens", "number_sorting",
    "palindrome_generation", "prime_factorization", "propositional_logic", "self_reference",
    "shortest_path", "spiral_matrix", "string_insertion", "time_intervals", "tower_of_hanoi",
    "word_sorting",
)  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_varied_tasks_load_split_and_grade_their_own_answers(package, name):
    train = load(f"gym:{name}?n=12", split="train", config=CONFIG).prompts
    heldout = load(f"gym:{name}?n=2", split="heldout", config=CONFIG).prompts
    assert (len(train), len(heldout)) == (12, 2)
    assert not {p.question for p in train} & {p.question for p in heldout}
    own = package.create_dataset(name, seed=0, size=500)
    questions = dict.fromkeys(own[place]["question"].strip() for place in range(14))
    asked = [p.question for p in train]
    assert [q for q in asked if q in questions] == [q for q in questions if q in asked]
    for prompt in [*train[:3], *heldout]:
        assert (prompt.kind, prompt.source, prompt.domain) == ("gym", f"gym:{name}", name)
        json.dumps(dict(prompt.columns))
        if "answer" in prompt.columns:
            right = grade("gym", prompt.gold, f"<answer>{prompt.columns['answer']}</answer>")
            assert (right.status, right.score) == ("correct", 1.0)
        wrong = grade("gym", prompt.gold, "<answer>no such thing</answer>")
        assert wrong.status in ("wrong", "unparsed")
        assert wrong.score == 0.0


def test_keys_have_the_types_of_the_task(package):
    source = "gym:chain_sum?min_terms=2&max_terms=3&allow_negation=yes&seed=1&n=30"
    prompts = load(source, split="train", config=CONFIG).prompts
    own = package.create_dataset(
        "chain_sum", min_terms=2, max_terms=3, allow_negation=True, seed=1, size=500
    )
    expected = {own[place]["question"] for place in range(60)}
    assert {p.question for p in prompts} <= expected
    assert prompts[0].id.startswith("gym-chain_sum-1-")


@pytest.mark.parametrize(
    "name, keys, expected",
    [
        ("number_sorting", {"min_numbers": "4"}, {"min_numbers": 4}),
        ("fraction_simplification", {"styles": "plain, latex_frac"}, {"styles": ("plain", "latex_frac")}),
        ("count_primes", {"max_n": "50"}, {"max_n": 50}),
        ("n_queens", {"task.n": "6", "max_remove": "2"}, {"n": 6, "max_remove": 2}),
        ("simple_integration", {"operators": "+"}, {"operators": ("+",)}),
    ],
)  # fmt: skip
def test_typed_values(package, name, keys, expected):
    _, settings = gym.task(f"gym:{name}", keys)
    config = gym.dataset(name, settings.keys, seed=0, size=1).config
    assert {key: getattr(config, key) for key in expected} == expected


@pytest.mark.parametrize(
    "source, said",
    [
        ("gym:chain_sums", "did you mean 'gym:chain_sum'"),
        ("gym:composite", "list of sources"),
        ("gym:coin_flip?n=3", "the first digit"),
        ("gym:game_of_life_halting", "calls every answer right"),
        ("gym:chain_sum?min_trems=3", "did you mean 'min_terms'"),
        ("gym:chain_sum?min_terms=few", "write a whole number"),
        ("gym:chain_sum?allow_negation=perhaps", "true or false"),
        ("gym:chain_sum?min_terms=9&max_terms=3", "refuses these settings"),
        ("gym:chain_sum?seed=-1", "write 0 to"),
        ("gym:chain_sum?size=4", "no key 'size'"),
        ("gym:n_queens?task.n=x", "whole number"),
    ],
)
def test_sources_that_are_refused(package, source, said):
    with pytest.raises(ConfigError) as error:
        load(source, split="train", config=CONFIG)
    assert said in str(error.value)


def test_the_missing_extra_is_named(monkeypatch):
    def without(name, *rest, **more):
        if name.startswith("reasoning_gym"):
            raise ModuleNotFoundError("no module", name="reasoning_gym")
        return real(name, *rest, **more)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'aha\[gym\]'"):
        load("gym:chain_sum", split="train", config=CONFIG)


@pytest.mark.slow
def test_a_task_that_is_other_in_each_process_needs_a_fixed_hash_seed(package):
    code = (
        "from aha.config import DataConfig\n"
        "from aha.data.sources import load\n"
        "from aha.errors import ConfigError\n"
        "try:\n"
        "    print(load('gym:ransom_note?n=5', split='train', config=DataConfig()).prompts)\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )

    def said(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        ).stdout

    assert "PYTHONHASHSEED=0" in said("random")
    assert "ransom" in said("0")
    assert said("0") == said("0")


def test_no_problem_is_on_both_sides_whatever_the_seed(package):
    sides = {"train": set(), "heldout": set()}
    for seed in range(4):
        for side, questions in sides.items():
            source = f"gym:gcd?seed={seed}&n=40&max_value=60"
            prompts = load(source, split=side, config=CONFIG).prompts
            questions |= {gym.canonical("gym:gcd", p.question) for p in prompts}
    assert not sides["train"] & sides["heldout"]


def test_chunks_after_the_first_have_seeds_of_their_own(package):
    _, settings = gym.task("gym:chain_sum", {"seed": "3"})
    first = package.create_dataset("chain_sum", seed=3, size=500)
    assert gym.item(settings, 499).prompt.question == first[499]["question"]
    beyond = {gym.item(settings, place).prompt.question for place in range(500, 520)}
    assert len(beyond) == 20
    assert not beyond & {first[place]["question"] for place in range(500)}


def test_values_that_json_does_not_have_come_back():
    entry = {"a": (1, [2, (3,)]), "b": {1: "x", (0, 1): None}, "c": {"()": [1]}, "d": 0.5}
    assert gym._decoded(json.loads(json.dumps(gym._coded(entry)))) == entry
    with pytest.raises(TypeError):
        gym._coded({"a": {1, 2}})


def test_an_entry_that_cannot_be_written_is_made_again(package, monkeypatch):
    _, settings = gym.task("gym:gcd", {"seed": "11"})
    monkeypatch.setattr(gym, "MAX_GOLD", 10)
    prompt = gym.item(settings, 123).prompt
    assert "entry" not in json.loads(prompt.gold.split("\n")[1])
    right = f"<answer>{prompt.columns['answer']}</answer>"
    assert grade("gym", prompt.gold, right).status == "correct"
    other = prompt.gold.replace('"index": 123', '"index": 124')
    assert grade("gym", other, right).reason.startswith("gold_unparsed: the installed")


def test_a_problem_that_the_package_cannot_make(package, monkeypatch):
    class Broken:
        def __getitem__(self, place):
            raise IndexError("nothing there")

    _, settings = gym.task("gym:gcd", {"seed": "12"})
    monkeypatch.setattr(gym, "dataset", lambda *_, **__: Broken())
    with pytest.raises(DataError, match=r"cannot make problem 5 of seed 12 .*nothing there"):
        gym.item(settings, 5)


SLOW_TO_MAKE = {"knight_swap": "minutes for one problem"}


@pytest.mark.slow
def test_all_tasks_in_one_process_after_another(package):
    """Every task but the refused ones: same problems in two processes, own answers right."""
    from reasoning_gym.factory import DATASETS

    names = sorted(set(DATASETS) - gym.UNUSABLE.keys() - SLOW_TO_MAKE.keys())
    outputs = [_all_in_a_process(names, hash_seed) for hash_seed in ("1", "2")]
    differ = {name for name in names if outputs[0][name][0] != outputs[1][name][0]}
    assert differ <= set(gym.UNSTEADY), differ
    without = {name for name in names if outputs[0][name][1] == "no answer"}
    assert without == {"graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
    bad = {
        name: said for name, (_, said) in outputs[0].items() if said not in ("right", "no answer")
    }
    assert not bad


def _all_in_a_process(names, hash_seed):
    code = (
        "import json, sys\n"
        "from aha.data.tasks import gym\n"
        "from aha.rewards.grade import grade\n"
        "gym.UNSTEADY = ()\n"
        "said = {}\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    _, settings = gym.task('gym:' + name, {})\n"
        "    prompts = [gym.item(settings, place).prompt for place in (0, 1)]\n"
        "    verdict = 'right'\n"
        "    for p in prompts:\n"
        "        if 'answer' not in p.columns:\n"
        "            verdict = 'no answer'\n"
        "        else:\n"
        "            g = grade('gym', p.gold, '<answer>' + p.columns['answer'] + '</answer>')\n"
        "            verdict = verdict if g.status == 'correct' else f'{g.status} {g.reason}'\n"
        "    said[name] = [[p.question for p in prompts], verdict]\n"
        "print(json.dumps(said))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(names)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
