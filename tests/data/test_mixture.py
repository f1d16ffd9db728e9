"""Mixtures of dialogues: shares, seeds, what is missing, and the table."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.config import DataConfig
from aha.data import dialogues
from aha.data.dialogues import Dialogue
from aha.data.mixture import mix, table, table_text, to_row
from aha.errors import DataError
from aha.files import write_jsonl


def some(count, name="a", domain="math", rounds=1):
    return [
        Dialogue(
            id=f"{name}{i}",
            messages=(("user", f"{name} {i}?"), ("assistant", "x" * (i + 1))) * rounds,
            source=name,
            domain=domain,
        )
        for i in range(count)
    ]


def by_source(mixture):
    return Counter(one.source for one in mixture.dialogues)


def test_three_to_one_is_bounded_by_the_scarcer():
    mixed = mix({"r": some(100, "r"), "g": some(10, "g")}, {"r": 3, "g": 1}, seed=0)
    assert by_source(mixed) == {"r": 30, "g": 10}
    assert [part.to_use_all for part in mixed.parts] == [0, 24]  # 100 / 3 = 33.3, so 34 - 10 more
    assert mixed.parts[1].sentence() == (
        "g: 10 of 10 dialogues, share 25.0%; 24 more would let all be used"
    )
    for end in range(4, 41, 4):  # every beginning has the shares
        assert Counter(one.source for one in mixed.dialogues[:end]) == {
            "r": 3 * end // 4,
            "g": end // 4,
        }


def test_an_asked_total_says_what_is_missing():
    mixed = mix({"r": some(100, "r"), "g": some(10, "g")}, {"r": "3", "g": "1"}, seed=0, total=80)
    assert by_source(mixed) == {"r": 60, "g": 10}
    assert mixed.parts[1].sentence().endswith("10 more are missing for the total that was asked")
    assert mixed.parts[0].sentence() == "r: 60 of 100 dialogues, share 75.0%"
    assert mixed.facts()["parts"]["g"] == {
        "share": 0.25,
        "there": 10,
        "repeated": 0,
        "taken": 10,
        "to_use_all": 10,
    }


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    data=st.data(),
    seed=st.integers(0, 3),
    total=st.integers(0, 60),
)
def test_shares_are_kept_to_one(sizes, data, seed, total):
    names = [f"s{i}" for i in range(len(sizes))]
    shares = {name: Fraction(data.draw(st.integers(1, 9))) for name in names}
    sources = {name: some(size, name) for name, size in zip(names, sizes, strict=True)}
    mixed = mix(sources, shares, seed=seed, total=total)
    again = mix(sources, shares, seed=seed, total=total)
    assert mixed == again
    assert len({one.messages for one in mixed.dialogues}) == len(mixed.dialogues)
    whole = sum(shares.values())
    scale = total or min(size * whole / shares[n] for n, size in zip(names, sizes, strict=True))
    for part, size in zip(mixed.parts, sizes, strict=True):
        assert abs(part.wanted - scale * shares[part.name] / whole) < 1
        assert part.taken == min(size, part.wanted)
    if total:
        assert sum(part.wanted for part in mixed.parts) == total
    else:
        assert any(part.taken == part.there for part in mixed.parts)


def test_the_seed_decides_which():
    sources = {"r": some(50, "r"), "g": some(5, "g")}
    picks = {
        tuple(one.id for one in mix(sources, {"r": 1, "g": 1}, seed=seed).dialogues)
        for seed in range(4)
    }
    assert len(picks) == 4


def test_the_same_dialogue_comes_once():
    both = {"a": some(4, "x"), "b": [*some(6, "x"), *some(1, "x")]}
    mixed = mix(both, {"a": 1, "b": 1}, seed=0)
    assert [(part.there, part.repeated) for part in mixed.parts] == [(4, 0), (2, 5)]
    assert "5 repeated" in mixed.parts[1].sentence()


@pytest.mark.parametrize(
    "sources, shares, said",
    [
        ({}, {}, "name one share for each source"),
        ({"a": some(1)}, {"b": 1}, "name one share for each source"),
        ({"a": some(1)}, {"a": 0}, "share of a: 0"),
        ({"a": []}, {"a": 1}, "the source a has no dialogue"),
        ({"a": some(1), "b": some(1)}, {"a": 1, "b": 1}, "b has no dialogue that an earlier"),
    ],
)
def test_mixtures_that_cannot_be(sources, shares, said):
    with pytest.raises(DataError, match=said):
        mix(sources, shares, seed=0)


def test_a_total_below_0():
    with pytest.raises(DataError, match="a mixture of -1"):
        mix({"a": some(1)}, {"a": 1}, seed=0, total=-1)


def test_rows_are_read_back(tmp_path):
    system = Dialogue(
        id="x0",
        messages=(
            ("system", "s"),
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
            ("assistant", "d"),
        ),
        source="x",
    )
    mixed = mix({"x": [*some(2, "x"), system]}, {"x": 1}, seed=0)
    path = tmp_path / "mix.jsonl"
    write_jsonl(path, mixed.rows())
    read = dialogues.load(str(path), split="train", config=DataConfig()).dialogues
    assert [one.messages for one in read] == [one.messages for one in mixed.dialogues]
    assert sorted(one.id for one in read) == ["x0", "x0~2", "x1"]
    assert to_row(system)["messages"][0] == {"role": "system", "content": "s"}


def test_the_table():
    """By hand: lengths of answers 1, 2 (mean 1.5) and, with two rounds each, 1, 2, 3 (mean 2)."""

    def count(one):
        return len(one.messages[-1][1])

    rows = table([*some(2), *some(3, "g", "general", rounds=2)], count)
    assert rows == [
        {"domain": "general", "samples": 3, "rounds": 2.0, "tokens": 2.0},
        {"domain": "math", "samples": 2, "rounds": 1.0, "tokens": 1.5},
        {"domain": "total", "samples": 5, "rounds": 8 / 5, "tokens": 9 / 5},
    ]
    assert table_text(rows).splitlines() == [
        "domain   samples  rounds  tokens",
        "general        3     2.0     2.0",
        "math           2     1.0     1.5",
        "total          5     1.6     1.8",
    ]
    assert table([], count) == []
    assert table(some(1, domain=""), count)[0]["domain"] == "other"
