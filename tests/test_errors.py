"""Errors name the stage that they come from, once."""

import pytest

from aha.errors import ConfigError, DataError, DoesNotFit, Stopped, naming


@pytest.mark.parametrize("kind", [ConfigError, DataError, DoesNotFit])
def test_an_error_names_its_stage_once_and_stays_of_its_kind(kind):
    with (
        pytest.raises(kind, match=r"^dev1: no such file$") as caught,
        naming("dev1"),
        naming("dev1"),
    ):
        raise kind("no such file")
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize(
    "said, expected",
    [
        (
            "raise zero.group_size (zero.steps=3)",
            "dev2: raise stage.dev2.group_size (stage.dev2.steps=3)",
        ),
        ("zero: 'x' has no weight", "dev2: 'x' has no weight"),
        ("see runs/zero.json and my.zero.file", "dev2: see runs/zero.json and my.zero.file"),
        ("--set zero.preflight_strict=false", "dev2: --set stage.dev2.preflight_strict=false"),
    ],
)
def test_keys_are_those_of_the_stage(said, expected):
    with pytest.raises(DataError) as caught, naming("dev2", "zero"):
        raise DataError(said)
    assert str(caught.value) == expected
    with pytest.raises(DataError) as caught, naming("zero", "zero"):
        raise DataError(said)
    assert str(caught.value) == (said if said.startswith("zero: ") else f"zero: {said}")


@pytest.mark.parametrize("kind", [Stopped, KeyError])
def test_what_is_no_fault_of_a_stage_passes(kind):
    with pytest.raises(kind) as caught, naming("dev1"):
        raise kind("stopped")
    assert caught.value.args == ("stopped",)
