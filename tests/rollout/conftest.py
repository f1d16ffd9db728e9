"""`new_engine` and `drain`: a local engine on a tiny model, run until nothing is left."""

import pytest
import tiny

from aha.rollout.local.engine import LocalEngine


def letters(ids):
    """One letter a token, and back again in the eye of the reader."""
    return "".join(chr(0x100 + i) for i in ids)


@pytest.fixture
def new_engine():
    def make(policy="llama", *, eos=(3,), budget=1 << 30, decode=letters, **options):
        if isinstance(policy, str):
            policy = tiny.policy(policy)
        return LocalEngine(policy, eos_ids=eos, decode=decode, budget_bytes=budget, **options)

    return make


@pytest.fixture
def drain():
    def run(engine, check=None):
        """{(prompt, sample): rollout}; the number of pending answers falls to 0 as they come."""
        out = {}
        for _ in range(10_000):
            if not engine.pending():
                return out
            before = engine.pending()
            ended = engine.step()
            assert engine.pending() == before - len(ended)
            for rollout in ended:
                assert (rollout.prompt_id, rollout.sample) not in out
                out[rollout.prompt_id, rollout.sample] = rollout
            if check:
                check(engine)
        raise AssertionError("the engine does not come to an end")

    return run
