"""The benchmark of reward models: what it compares is the same, and it refuses what is not."""

import pytest
import torch

from aha.models.locate import locate
from benchmarks import reward_model


@pytest.fixture(autouse=True)
def one_thread():
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)


def test_rows_of_a_group_share_their_question():
    groups = reward_model.rows_of(5, 3, 100, seed=1)
    assert groups == reward_model.rows_of(5, 3, 100, seed=1)
    assert [len(group) for group in groups] == [3] * 5
    for group in groups:
        first, *others = group
        assert all(row[:1] == first[:1] for row in others)
        assert all(10 <= token < 100 for row in group for token in row)


def test_both_sides_are_timed_on_the_same_scores():
    result = reward_model.compare(
        locate("aha:base"), dtype="float32", rounds=1, seed=0, pairs=2, groups=1
    )
    assert result["scores_apart"] < 1e-4
    for case in result["cases"].values():
        assert case["tokens_per_s"].keys() == {"packed", "padded"}
        assert case["ratio"] > 0
    assert "train ratio" in reward_model.shown(result)


def test_different_scores_end_it(monkeypatch):
    """A comparison of times means nothing then."""
    monkeypatch.setattr(
        reward_model.Padded, "_last_of_padded", lambda self, rows: torch.ones(len(rows), 128)
    )
    with pytest.raises(SystemExit, match="nothing was timed"):
        reward_model.compare(
            locate("aha:base"), dtype="float32", rounds=1, seed=0, pairs=2, groups=1
        )
