"""Counter-based random numbers: the u of an answer's token t depends on the answer's name and t only.

So an answer is the same whoever decodes beside it, and a resumed run needs no saved sampler state.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def answer_key(*name: int | str) -> int:
    """64-bit key of an answer, e.g. from (seed, stage, phase, prompt, sample, attempt)."""
    digest = hashlib.blake2b(repr(name).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniforms(keys: NDArray[np.uint64], counters: NDArray[np.uint64]) -> NDArray[np.float64]:
    """[R] numbers in [0, 1), 53 bits each: SplitMix64 at state key + (counter + 1) * golden ratio."""
    with np.errstate(over="ignore"):
        z = keys + (counters + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
