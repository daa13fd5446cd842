"""Fast weighted draws, and hashes that stand for lasting choices."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tables:
    """Walker's alias tables for several weighted lists, laid end to end.

    Drawing costs two look-ups, whatever the length of the list.

    Attributes:
        first: int64 [lists], where a list begins.
        size: int64 [lists], how many entries it has.
        keep: float64 [entries], chance that an entry keeps its cell.
        alias: int64 [entries], the entry that has the rest of the cell.
    """

    first: np.ndarray
    size: np.ndarray
    keep: np.ndarray
    alias: np.ndarray

    def draw(self, which: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One entry per row, int64 [n], from list `which` int [n] by `uniform` float64 [n] in [0, 1)."""
        spot = uniform * self.size[which]
        cell = spot.astype(np.int64)
        at = self.first[which] + cell
        return np.where(spot - cell < self.keep[at], at, self.alias[at])


def alias_tables(lists: list[np.ndarray]) -> Tables:
    """Tables over the lists' weights; entries are numbered through all lists. A list may be empty."""
    size = np.array([len(weights) for weights in lists], dtype=np.int64)
    first = np.concatenate(([0], np.cumsum(size)[:-1])).astype(np.int64)
    keep, alias = np.ones(int(size.sum())), np.arange(int(size.sum()), dtype=np.int64)
    for start, weights in zip(first, lists, strict=True):
        if len(weights):
            _fill(weights, int(start), keep, alias)
    return Tables(first, size, keep, alias)


def _fill(weights: np.ndarray, start: int, keep: np.ndarray, alias: np.ndarray) -> None:
    share = (weights * (len(weights) / weights.sum())).tolist()
    small = [at for at, value in enumerate(share) if value < 1]
    large = [at for at, value in enumerate(share) if value >= 1]
    while small and large:
        less, more = small.pop(), large.pop()
        keep[start + less], alias[start + less] = share[less], start + more
        share[more] -= 1 - share[less]
        (small if share[more] < 1 else large).append(more)


def hashed_uniform(*keys: np.ndarray | int) -> np.ndarray:
    """A number in [0, 1) that is always the same for the same keys, float64 [n] (SplitMix64's mixing)."""
    state = np.uint64(0)
    with np.errstate(over="ignore"):
        for key in keys:
            state = state + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state >> np.uint64(11)).astype(np.float64) * 2.0**-53
