"""Row orders that never change between versions."""

import numpy as np


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(count) that depends on (seed, epoch) only, int64 (count,).

    Sorts by splitmix64 (Steele et al. 2014) of each number. Unlike numpy's generators this never changes, so that a
    checkpoint resumes exactly under another version of numpy.
    """
    key = _mix(_mix(np.array([seed & (2**64 - 1)], np.uint64)) ^ np.uint64(epoch))
    return np.argsort(_mix(np.arange(count, dtype=np.uint64) ^ key))  # one to one, so there are no ties


def _mix(values: np.ndarray) -> np.ndarray:
    """splitmix64's output function, modulo 2^64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
