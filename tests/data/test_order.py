import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.data.order import Order


def test_an_epoch_asks_every_problem_once():
    indices, cursor = Order(10, 0).take(10, 0)
    assert sorted(indices) == list(range(10))
    assert cursor == 10


def test_the_place_is_all_the_state():
    order = Order(50, 3)
    first, cursor = order.take(20, 0)
    second, _ = order.take(20, cursor)
    both, _ = Order(50, 3).take(40, 0)
    assert first + second == both


def test_epochs_and_seeds_differ():
    one, cursor = Order(30, 0).take(30, 0)
    two, _ = Order(30, 0).take(30, cursor)
    other, _ = Order(30, 1).take(30, 0)
    assert one != two
    assert one != other
    assert sorted(one) == sorted(two) == sorted(other)


@given(n=st.integers(1, 40), seed=st.integers(0, 5), cursor=st.integers(0, 200), data=st.data())
def test_no_problem_twice_in_a_phase(n, seed, cursor, data):
    k = data.draw(st.integers(0, n))
    indices, after = Order(n, seed).take(k, cursor)
    assert len(indices) == len(set(indices)) == k
    assert all(0 <= index < n for index in indices)
    assert after >= cursor + k
    refill, _ = Order(n, seed).take(n - k, after, avoid=indices)
    assert sorted(indices + refill) == list(range(n))


def test_data_smaller_than_the_phase():
    indices, _ = Order(3, 0).take(8, 0)
    assert sorted(indices[:3]) == sorted(indices[3:6]) == [0, 1, 2]
    assert len(indices) == 8


def test_everything_to_avoid_gives_problems_again():
    indices, _ = Order(3, 0).take(2, 0, avoid=[0, 1, 2])
    assert len(set(indices)) == 2


@given(n=st.integers(1, 40), seed=st.integers(0, 5), data=st.data())
def test_a_refill_of_all_that_is_left_and_more_asks_nothing_twice_at_once(n, seed, data):
    k = data.draw(st.integers(0, n))
    indices, after = Order(n, seed).take(k, 0)
    more = data.draw(st.integers(0, n))  # more than n - k: some of `indices` come again
    refill, _ = Order(n, seed).take(more, after, avoid=indices)
    assert len(refill) == len(set(refill)) == more
    assert len(set(refill) - set(indices)) == min(more, n - k)


def test_no_problem_at_all():
    with pytest.raises(ValueError, match="n=0"):
        Order(0, 0)
