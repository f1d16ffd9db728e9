import pytest
import torch

from aha.models.load import quiet


@pytest.fixture(autouse=True, scope="session")
def no_advice_of_libraries():
    quiet()


@pytest.fixture(autouse=True)
def same_random_numbers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
