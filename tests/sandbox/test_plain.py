"""What passes the wall between judge and answer, and what does not."""

import collections
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.sandbox import plain

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.complex_numbers(allow_nan=False)
)
HASHABLE = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(HASHABLE, max_size=4)
        | st.frozensets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
    ),
    max_leaves=12,
)


def through(value):
    return plain.decode(json.loads(json.dumps(plain.encode(value))))


@given(PLAIN)
def test_there_and_back(value):
    back = through(value)
    assert type(back) is type(value)
    assert repr(back) == repr(value) or plain.same(back, value)


SPECIAL = [
    (collections.deque([1, 2]), collections.deque([1, 2])),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (collections.defaultdict(list, {1: [2]}), {1: [2]}),
    (range(1, 9, 2), range(1, 9, 2)),
    (collections.namedtuple("P", "x y")(1, 2), (1, 2)),
    (-(10**4000), -(10**4000)),
    (bytearray(b"ab"), b"ab"),
]


@pytest.mark.parametrize("value, want", SPECIAL, ids=lambda v: type(v).__name__)
def test_relatives_of_plain_types(value, want):
    assert through(value) == want


def test_iterators_arrive_as_iterators():
    assert list(through(map(str, [1, 2]))) == ["1", "2"]
    assert list(through(x for x in (1, [2]))) == [1, [2]]


def test_endless_and_large_are_refused():
    import itertools

    circle = []
    circle.append(circle)
    deep = 1
    for _ in range(100):
        deep = [deep]
    for value in (itertools.count(), circle, deep, 1 << 10**6, [0] * (plain.NODES + 1)):
        with pytest.raises(plain.NotPlain):
            plain.encode(value)


class AlwaysEqual:
    def __eq__(self, other):
        return True


class Sly(int):
    def __eq__(self, other):
        return True


@pytest.mark.parametrize("value", [AlwaysEqual(), Sly(3), [Sly(3)], object, len, {AlwaysEqual: 1}])
def test_other_types_are_refused(value):
    with pytest.raises(plain.NotPlain):
        plain.encode(value)


BROKEN = [1, 1.5, [], {}, {"i": 3}, {"i": "zz"}, {"f": []}, {"l": 3}, {"d": [[1]]}, {"x": 1}]
BROKEN += [{"i": "0x1", "l": []}, {"s": [{"l": []}]}, {"c": ["1"]}, {"b": "0"}, {"r": ["1"]}]


@pytest.mark.parametrize("data", BROKEN, ids=str)
def test_what_encode_never_writes_is_refused(data):
    with pytest.raises(plain.NotPlain):
        plain.decode(data)


@given(PLAIN)
def test_everything_is_the_same_as_itself(value):
    if not (isinstance(value, complex) and value != value):
        assert plain.same(value, through(value)) or "nan" in repr(value)


DIFFERENT = [
    (True, 1),
    (1, True),
    ([1], (1,)),
    ("1", 1),
    (None, 0),
    ([1, 2], [1]),
    ([1], [1, 2]),
    ({1: 2}, {1: 3}),
    ({1}, frozenset({1})),
    (0.1 + 0.2, 0.3),
    (b"a", "a"),
]


@pytest.mark.parametrize("found, expected", DIFFERENT, ids=str)
def test_different_things(found, expected):
    assert not plain.same(found, expected)


def test_numbers():
    assert plain.same(1, 1.0)
    assert plain.same(math.nan, math.nan)
    assert plain.same(0.1 + 0.2, 0.3, 1e-9)
    assert plain.same([{"a": 0.1 + 0.2}], [{"a": 0.3}], 1e-9)
    assert not plain.same(1.001, 1.0, 1e-6)
