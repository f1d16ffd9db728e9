from dataclasses import dataclass

import pytest

from aha.data import query
from aha.data.query import Span
from aha.errors import ConfigError


@dataclass
class Some:
    number: int = 1
    word: str = ""
    flag: bool = False
    span: Span = (2, 3)


def test_a_source_without_keys():
    assert query.parse("folder/train.jsonl") == query.Query("folder/train.jsonl", {})


def test_keys_are_taken_as_written():
    asked = query.parse("arithmetic?ops=+-*&lang=zh&x=a%26b%3Dc")
    assert asked == query.Query("arithmetic", {"ops": "+-*", "lang": "zh", "x": "a&b=c"})


@pytest.mark.parametrize("source", ["", "?n=3", "x?n", "x?=3", "x?n=1&n=2", "x?n=1&"])
def test_what_cannot_be_a_source(source):
    with pytest.raises(ConfigError):
        query.parse(source)


def test_settings_have_types():
    keys = {"number": "-4", "word": "zh", "flag": "true", "span": "3-5"}
    assert query.settings(Some, keys, where="x") == Some(-4, "zh", True, (3, 5))
    assert query.settings(Some, {"span": "4"}, where="x").span == (4, 4)


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"numbr": "3"}, "did you mean 'number'"),
        ({"zzz": "3"}, "known keys: flag, number, span, word"),
        ({"number": "many"}, "x?number=many: write a whole number"),
        ({"number": "３"}, "whole number"),
        ({"flag": "perhaps"}, "true or false"),
        ({"span": "3-"}, "whole number"),
    ],
)
def test_settings_that_are_refused(keys, said):
    with pytest.raises(ConfigError) as error:
        query.settings(Some, keys, where="x")
    assert said in str(error.value)
