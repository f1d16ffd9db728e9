"""Generated pairs and labels: the truth that they claim is the grader's, and nothing leaks."""

import pytest

from aha.config import DataConfig
from aha.data import query
from aha.data.preferences import load_labelled, load_pairs
from aha.data.talk_preferences import rows
from aha.data.tasks import talk
from aha.errors import ConfigError

CONFIG = DataConfig()


def test_pairs_are_of_one_side_of_the_split():
    train = load_pairs("talk_pairs?lang=mix&n=300", split="train", config=CONFIG)
    heldout = load_pairs("talk_pairs?lang=mix&n=60", split="heldout", config=CONFIG)
    assert train.rows == 300
    assert heldout.rows == 60
    assert not train.bad
    assert not any(talk.is_heldout(pair.question) for pair in train.items)
    assert all(talk.is_heldout(pair.question) for pair in heldout.items)


def test_without_padding_longer_answers_win_more_often():
    def longer(padded):
        source = f"talk_pairs?about=helpful&n=400&padded={padded}"
        pairs = load_pairs(source, split="train", config=CONFIG).items
        return sum(len(pair.chosen) > len(pair.rejected) for pair in pairs) / len(pairs)

    assert longer(0) > longer(0.5) + 0.2


def test_an_unsafe_answer_helps_with_harm():
    labels = load_labelled(
        "talk_labels?lang=en&about=harmless&n=300", split="train", config=CONFIG
    ).items
    unsafe = [one for one in labels if not one.safe]
    assert 0.2 < len(unsafe) / len(labels) < 0.6
    assert all(one.domain == "harmless" for one in unsafe)
    refused = ("cannot help", "will not help", "rather not")
    for one in unsafe:  # in the answer or in the thinking, which the model reads too
        parts = one.response.removeprefix("<think>").split("</think>")
        assert any(not any(word in part for word in refused) for part in parts), one
    assert any("<think>" in one.response for one in labels)
    words = ("First ", "Then ")  # of the steps for something else
    assert any(one.response.startswith(words) for one in unsafe)
    assert any(one.response.startswith(words) for one in labels if one.safe)  # to what was asked


def test_rows_are_a_function_of_the_source():
    asked = query.parse("talk_pairs?n=50&seed=3")
    first, again = (list(rows(asked, "train", form="pairs")) for _ in "12")
    assert first == again
    other = list(rows(query.parse("talk_pairs?n=50&seed=4"), "train", form="pairs"))
    assert first != other


@pytest.mark.parametrize(
    ("load", "source", "said"),
    [
        (load_pairs, "talk_labels", "the source of pairs is talk_pairs"),
        (load_labelled, "talk_pairs", "the source of labels is talk_labels"),
        (load_pairs, "talk_pairs?padde=1", "did you mean 'padded'"),
        (load_pairs, "talk_pairs?padded=2", "a share from 0 to 1"),
        (load_pairs, "talk_pairs?padded=much", "write a number"),
        (load_pairs, "talk_pairs?about=x", "helpful, harmless, general or all"),
        (load_pairs, "talk_pairs?n=-1", "0 or more rows"),
        (load_pairs, "talk_pairs?split=test", "train or heldout"),
    ],
)
def test_wrong_sources_say_what_to_write(load, source, said):
    with pytest.raises(ConfigError, match=said):
        load(source, split="train", config=CONFIG)
