import json
import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aha import config
from aha.config import Recipe, load, reading, resolve, to_toml
from aha.errors import ConfigError

TOML = """
name = "trial"
seed = 3

[model]
path = "some/folder"

[zero]
steps = 20
temperature = 0.9
prefix_sharing = false

[zero.rewards]
accuracy = 1
format = 0.5

[zero.optim]
lr = 1e-5
"""


def written(folder, name, text):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def recipe_file(tmp_path):
    return written(tmp_path, "trial.toml", TOML)


def all_keys(section=Recipe, prefix=()):
    """(section path, key) of every field, found by pydantic alone."""
    for name, field in section.model_fields.items():
        yield prefix, name
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, config.Section):
                named = getattr(field.annotation, "__origin__", None) is dict
                yield from all_keys(kind, (*prefix, name, *(["helpful"] if named else [])))


def nested(path, key, value):
    raw = {key: value}
    for part in reversed(path):
        raw = {part: raw}
    return raw


def with_a_stage(raw):
    return {"zero": {}, **raw}


def test_toml_yaml_and_json_give_the_same_recipe(tmp_path, recipe_file):
    import tomllib

    raw = tomllib.loads(TOML)
    wanted = load(recipe_file)
    assert wanted.name == "trial"
    assert wanted.zero.rewards == {"accuracy": 1.0, "format": 0.5}
    assert wanted.zero.optim.lr == 1e-5
    assert not wanted.zero.prefix_sharing
    assert wanted.pretrain is None
    assert load(written(tmp_path, "a.json", json.dumps(raw))) == wanted
    assert load(written(tmp_path, "a.yaml", yaml.safe_dump(raw))) == wanted
    assert load(written(tmp_path, "a.yml", yaml.safe_dump(raw))) == wanted


@pytest.mark.parametrize(
    "raw,said",
    [
        ({"zero": {"stepz": 3}}, r"\[zero\] has no 'stepz'; did you mean 'steps'"),
        ({"zero": {"optim": {"learning": 3}}}, r"\[zero.optim\] has no 'learning'"),
        ({"zeroo": {}}, "the recipe has no 'zeroo'; did you mean 'zero'"),
        ({"zero": {"lr": 1e-3}}, r"\[zero\] has no 'lr'.*did you mean '.*optim.lr'"),
        ({"zero": {"steps": "many"}}, r"zero.steps: .*integer.*\(got 'many'\)"),
        ({"zero": {"steps": 1.5}}, r"zero.steps: .*\(got 1.5\)"),
        ({"zero": {"steps": 0}}, r"zero.steps: .*greater than or equal to 1.*\(got 0\)"),
        ({"zero": {"rewards": {"accuracy": "high"}}}, r"zero.rewards.accuracy: .*number"),
        ({"zero": 3}, "zero: .*got 3"),
        ({"zero": {"group_size": 1}}, r"group_size=1: .*nothing is learned; set group_size to 2"),
        ({"zero": {"steps": 10, "minibatches": 4}}, r"steps=10 is not a multiple of minibatches=4"),
        ({"zero": {"dual_clip": 0.5}}, "dual_clip=0.5: set it above 1"),
        ({"zero": {"truncated_is": 2.0}}, "set old_logprobs='trainer'"),
        ({"zero": {"rewards": {}}}, "at least one reward"),
        ({"zero": {"rewards": {"accuracy": 0}}}, "at least one reward"),
        ({"zero": {"ratio": "tokens"}}, "zero.ratio: .*'token', 'sequence'"),
        ({"zero": {"temperature": 0}}, "zero.temperature: .*greater than 0"),
        ({"zero": {"optim": {"lr": math.nan}}}, "zero.optim.lr: "),
        ({"zero": {"rewards": {"accuracy": math.nan}}}, "rewards: .*finite"),
        ({"zero": {"rewards": {"accuracy": math.inf}}}, "rewards: .*finite"),
        ({"name": "a/b"}, "name: .*pattern"),
        ({"zero": {"steps": True}}, r"zero.steps: .*got True"),
        ({}, r"no stage; add a \[zero\]"),
    ],
)
def test_what_cannot_run_is_refused_in_plain_words(raw, said):
    with pytest.raises(ConfigError, match=said) as caught:
        resolve(raw if not raw or "name" not in raw else with_a_stage(raw), where="a.toml")
    assert str(caught.value).startswith("a.toml: ")
    assert caught.value.exit_code == 2


def test_several_problems_are_all_named():
    with pytest.raises(ConfigError) as caught:
        resolve({"zero": {"stepz": 1, "temperatur": 1}, "seed": -1})
    assert all(word in str(caught.value) for word in ("stepz", "temperatur", "seed"))


def test_the_fields_of_a_frozen_recipe_cannot_change():
    with pytest.raises(ValueError, match="frozen"):
        resolve({"zero": {}}).zero.steps = 3


def typos(key):
    """One slip each: two letters swapped, one lost, one doubled, the underscores as hyphens."""
    middle = len(key) // 2
    yield key[: middle - 1] + key[middle] + key[middle - 1] + key[middle + 1 :]
    yield key[:middle] + key[middle + 1 :]
    yield key[:middle] + key[middle] + key[middle:]
    yield key.replace("_", "-") if "_" in key else key + "s"


def test_typos_of_real_keys_get_the_right_suggestion():
    keys = [(path, key) for path, key in all_keys() if len(key) >= 4]
    real = set(all_keys())
    cases = []
    for number, (path, key) in enumerate(keys):
        slip = list(typos(key))[number % 4]
        if (path, slip) not in real:
            cases.append((path, key, slip))
    assert len(cases) >= 60
    right = []
    for path, key, slip in cases:
        with pytest.raises(ConfigError) as caught:
            resolve(with_a_stage(nested(path, slip, 1)))
        right.append(f"has no '{slip}'; did you mean '{key}'?" in str(caught.value))
    assert sum(right) >= 0.95 * len(cases), [
        c for c, ok in zip(cases, right, strict=True) if not ok
    ]


@pytest.mark.parametrize(
    "override,path,value",
    [
        ("zero.steps=40", ("zero", "steps"), 40),
        ("zero.optim.lr=3e-4", ("zero", "optim", "lr"), 3e-4),
        ("zero.optim.lr = 1", ("zero", "optim", "lr"), 1.0),
        ("zero.prefix_sharing=true", ("zero", "prefix_sharing"), True),
        ("zero.ratio=sequence", ("zero", "ratio"), "sequence"),
        ('zero.ratio="sequence"', ("zero", "ratio"), "sequence"),
        ("name=other-1", ("name",), "other-1"),
        ("model.path=stage:pretrain", ("model", "path"), "stage:pretrain"),
        ("model.path=a folder/with=sign", ("model", "path"), "a folder/with=sign"),
        (
            "data.train=data.jsonl?kind=math&split=a",
            ("data", "train"),
            "data.jsonl?kind=math&split=a",
        ),
        ("data.suffix=", ("data", "suffix"), ""),
        ("data.suffix=请用中文", ("data", "suffix"), "请用中文"),
        ("zero.rewards={accuracy=2}", ("zero", "rewards"), {"accuracy": 2.0}),
        ("zero.rewards.format=2", ("zero", "rewards"), {"accuracy": 1.0, "format": 2.0}),
        ("eval_only_in_zero", None, "section.key=value"),
        ("=3", None, "section.key=value"),
        ("zero.steps.x=3", None, "steps is a value, not a section"),
        ("zero.steps=[1, 2]", None, "zero.steps"),
        ("zero.nothing=3", None, r"\[zero\] has no 'nothing'"),
        ("nothing.at.all=3", None, "the recipe has no 'nothing'"),
    ],
)
def test_dotted_overrides(recipe_file, override, path, value):
    if path is None:
        with pytest.raises(ConfigError, match=value):
            load(recipe_file, [override])
        return
    found = load(recipe_file, [override])
    for part in path:
        found = getattr(found, part)
    assert found == value


def test_overrides_make_sections_and_the_last_one_wins(recipe_file):
    made = load(recipe_file, ["pretrain.tokens=2000", "zero.steps=4", "zero.steps=6"])
    assert made.pretrain.tokens == 2000
    assert made.zero.steps == 6
    assert made.stages() == ["pretrain", "zero"]


def test_one_key_of_a_section_keeps_the_other_defaults_of_that_place():
    """The defaults of [zero.optim] and [pretrain.optim] differ; naming one key must not mix them."""
    given = resolve({"zero": {"optim": {"beta1": 0.8}}, "pretrain": {"optim": {"beta1": 0.8}}})
    plain = resolve({"zero": {}, "pretrain": {}})
    for stage in ("zero", "pretrain"):
        one, other = getattr(given, stage).optim, getattr(plain, stage).optim
        assert one == other.model_copy(update={"beta1": 0.8})
    assert given.zero.optim.lr == 3e-6
    assert given.pretrain.optim.schedule == "cosine"


def test_files_that_cannot_be_read(tmp_path, recipe_file):
    with pytest.raises(ConfigError, match=r"no recipe at .*trail.toml; did you mean .*trial.toml"):
        load(tmp_path / "trail.toml")
    with pytest.raises(ConfigError, match=r"no recipe at .*zzz.toml; there are .*trial.toml"):
        load(tmp_path / "zzz.toml")
    for name, text, said in (
        ("a.toml", "zero = [", "cannot be parsed"),
        ("a.json", "{", "cannot be parsed"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.json5", "{}", "a recipe ends in one of .toml"),
        ("b.json", "[1]", "a table of keys, not list"),
        ("b.yaml", "", "a table of keys, not NoneType"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            load(written(tmp_path, name, text))
        assert name in str(caught.value)
    (tmp_path / "c.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load(tmp_path / "c.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load(tmp_path / "folder.toml")


any_text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
positive = st.floats(min_value=1e-12, max_value=1e12)


@given(
    suffix=any_text,
    system=any_text,
    rewards=st.dictionaries(any_text, positive, min_size=1, max_size=4),
    lr=positive,
    clip=st.one_of(positive, st.just(math.inf)),
    seed=st.integers(0, 2**62),
    sharing=st.booleans(),
    pretrain=st.booleans(),
)
@settings(max_examples=40)
def test_to_toml_round_trip(
    tmp_path_factory, suffix, system, rewards, lr, clip, seed, sharing, pretrain
):
    recipe = resolve(
        {
            "seed": seed,
            "data": {"suffix": suffix, "system": system},
            "zero": {
                "rewards": rewards,
                "optim": {"lr": lr},
                "clip_high": clip,
                "prefix_sharing": sharing,
            },
            **({"pretrain": {}} if pretrain else {}),
        }
    )
    path = tmp_path_factory.mktemp("recipes") / "a.toml"
    path.write_text(to_toml(recipe), "utf-8")
    assert load(path) == recipe


@pytest.mark.parametrize(
    "odd", ["\x7f", "\x00", "\u2028", '"', "\\", "\r\n", "𝔘", "'''", '"""', "#"]
)
def test_odd_characters_survive(tmp_path, odd):
    recipe = resolve({"data": {"suffix": f"a{odd}b"}, "zero": {"rewards": {f"a{odd}b": 1.0}}})
    path = written(tmp_path, "a.toml", "")
    path.write_bytes(to_toml(recipe).encode())
    assert load(path) == recipe


def test_every_field_says_what_it_is():
    sections = {Recipe: "recipe"}
    for path, key in all_keys():
        section = Recipe
        for part in path:
            section = reading.step(section, part)
        sections[section] = ".".join(path)
        field = section.model_fields[key]
        nested_section = any(
            isinstance(kind, type) and issubclass(kind, config.Section)
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
        )
        assert nested_section or (field.description or "").strip(), f"{path} {key}"
    assert all((section.__doc__ or "").strip() for section in sections)


def test_one_reward_by_override_keeps_the_others(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("[zero]\nsteps = 2\n")
    loaded = config.load(path, ["zero.rewards.format=0.5"])
    assert loaded.zero is not None
    assert loaded.zero.rewards == {"accuracy": 1.0, "format": 0.5}


def test_a_mark_in_front_of_a_recipe_is_no_fault(tmp_path):
    path = tmp_path / "r.toml"
    path.write_bytes(b"\xef\xbb\xbf[zero]\nsteps = 3\n")
    assert load(path).zero.steps == 3


def test_a_stage_has_no_name_of_another_folder():
    for name in ("logs", "measures"):
        with pytest.raises(ConfigError, match=rf"stage\.{name}: .* and not .*measures"):
            resolve({"stage": {name: {"kind": "sft", "train": "x.jsonl"}}})


def test_the_home_folder_is_meant_by_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve({"zero": {}, "run_dir": "~/runs"}).run_dir == f"{tmp_path}/runs"
