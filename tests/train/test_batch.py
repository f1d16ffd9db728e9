import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aha.train.batch import Tree, Unit, micro_batches, to_batch


def tree(prompt, lengths, start=0):
    units = []
    for i, n in enumerate(lengths):
        ids = tuple(range(start + 10 * i, start + 10 * i + n))
        units.append(Unit(ids, {"weight": tuple(float(t) for t in ids)}))
    return Tree(tuple(range(prompt)), units)


trees_of_any_size = st.lists(
    st.builds(tree, st.integers(1, 8), st.lists(st.integers(1, 9), min_size=1, max_size=5)),
    max_size=5,
)


@given(trees_of_any_size, st.integers(1, 60), st.booleans())
def test_every_unit_once_in_order_and_budgets_kept(trees, budget, sharing):
    batches = micro_batches(trees, budget, prefix_sharing=sharing)
    flat = [part for batch in batches for part in batch]
    assert [u for part in flat for u in part.units] == [u for t in trees for u in t.units]
    prompt_of = {id(u): t.token_ids for t in trees for u in t.units}
    for part in flat:
        assert part.units
        assert all(part.token_ids == prompt_of[id(u)] for u in part.units)
        assert sharing or len(part.units) == 1 or len(flat) == 0
    for batch in batches:
        alone = len(batch) == 1 and len(batch[0].units) == 1
        assert alone or sum(part.tokens for part in batch) <= budget


def test_as_many_as_the_budget_holds_by_hand():
    first, second = tree(3, [2, 2]), tree(2, [4])  # 7 and 6 tokens
    assert [len(b) for b in micro_batches([first, second], 13)] == [2]
    assert [len(b) for b in micro_batches([first, second], 12)] == [1, 1]
    split = micro_batches([first], 6)  # 3 + 2 fit, 3 + 2 + 2 do not
    assert [[len(part.units) for part in batch] for batch in split] == [[1], [1]]
    assert [[p.tokens for p in b] for b in micro_batches([first], 10, prefix_sharing=False)] == [
        [5, 5]
    ]


def test_no_trees_no_batches():
    assert micro_batches([], 100) == []


def test_tensors_by_hand():
    batch = to_batch([tree(2, [2, 1]), tree(1, [3], start=50)])
    stream = batch.stream
    assert stream.token_ids.tolist() == [[0, 1, 0, 1, 10, 0, 50, 51, 52]]
    assert stream.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1, 2, 3]]
    assert stream.targets.tolist() == [0, 1, 10, 50, 51, 52]
    assert stream.scored.tolist() == [1, 2, 1, 5, 6, 7]  # the token before each target
    assert batch.unit.tolist() == [0, 0, 1, 2, 2, 2]
    assert batch.num_units == 3
    assert batch.columns["weight"].tolist() == [0.0, 1.0, 10.0, 50.0, 51.0, 52.0]
    assert batch.columns["weight"].dtype == torch.float32


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="empty prompt"):
        to_batch([Tree((), [Unit((1,), {})])])
