import math

import numpy as np
import pytest
import tiny

from aha.rollout.local.random import answer_key, uniforms

# SplitMix64 with seed 1234567, the test vector that reference implementations share
SPLITMIX_1234567 = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)


def draws(key, count):
    return uniforms(np.full(count, key, np.uint64), np.arange(count, dtype=np.uint64))


def test_equals_the_published_splitmix64_sequence():
    want = [(x >> 11) / 2**53 for x in SPLITMIX_1234567]
    assert draws(1234567, 5).tolist() == want


@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1])
def test_large_keys_wrap_around(key):
    mask, want = 2**64 - 1, []
    for counter in range(50):
        z = (key + (counter + 1) * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        want.append(((z ^ (z >> 31)) >> 11) / 2**53)
    assert draws(key, 50).tolist() == want


def test_a_number_depends_on_its_own_key_and_counter_only():
    keys = np.array([3, 9, 3, 7], np.uint64)
    counters = np.array([5, 0, 6, 5], np.uint64)
    together = uniforms(keys, counters)
    alone = [uniforms(keys[i : i + 1], counters[i : i + 1])[0] for i in range(4)]
    assert together.tolist() == alone
    assert len(set(alone)) == 4


def test_numbers_are_spread_evenly_and_answers_are_unrelated():
    count, bins = 40_000, 64
    numbers = draws(answer_key(0, "zero", 1, "p", 0, 0), count)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    hits = np.histogram(numbers, bins, (0, 1))[0]
    chi = ((hits - count / bins) ** 2 / (count / bins)).sum()
    assert chi < bins - 1 + 5 * math.sqrt(2 * (bins - 1))
    # neighbours in time, and the same token of two samples of one group, do not go together
    other = draws(answer_key(0, "zero", 1, "p", 1, 0), count)
    for a, b in ((numbers[:-1], numbers[1:]), (numbers, other)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(count)
    # the first token of many answers: the keys differ, the counter does not
    keys = np.array([answer_key(0, "zero", 1, "p", i, 0) for i in range(4000)], np.uint64)
    first = uniforms(keys, np.zeros(4000, np.uint64))
    hits = np.histogram(first, 16, (0, 1))[0]
    assert ((hits - 250) ** 2 / 250).sum() < 15 + 5 * math.sqrt(30)


def test_every_part_of_the_name_counts():
    names = [
        (0, "zero", 1, "p", 0, 0),
        (1, "zero", 1, "p", 0, 0),
        (0, "eval", 1, "p", 0, 0),
        (0, "zero", 2, "p", 0, 0),
        (0, "zero", 1, "q", 0, 0),
        (0, "zero", 1, "p", 1, 0),
        (0, "zero", 1, "p", 0, 1),
        (0, "zero", "1", "p", 0, 0),
        (0, "zero", 1, "p', 0, 0"),
        (),
    ]
    assert len({answer_key(*name) for name in names}) == len(names)


def test_a_key_is_the_same_in_every_process_and_release():
    # the first 8 bytes of blake2b of "(0, 'zero', 1, 'p', 2, 0)"; another number would change every
    # recorded run
    assert answer_key(0, "zero", 1, "p", 2, 0) == 0xE62A03D890D399E6
    assert answer_key("\ud800 lone surrogate", "等") >= 0


def test_the_slow_reference_agrees():
    name = (7, "stage", 3, "p1", 4, 0)
    assert [tiny.slow_uniform(name, t) for t in range(9)] == draws(answer_key(*name), 9).tolist()
