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


@pytest.mark.parametrize("kind", [Stopped, KeyError])
def test_what_is_no_fault_of_a_stage_passes(kind):
    with pytest.raises(kind) as caught, naming("dev1"):
        raise kind("stopped")
    assert caught.value.args == ("stopped",)
