"""Which partition a card's transactions are in: Kafka's own hash of the key, for what is not read from Kafka."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SEED, _FACTOR, _SHIFT = np.uint32(0x9747B28C), np.uint32(0x5BD1E995), np.uint32(24)
_SIGN = np.uint32(0x7FFFFFFF)


def murmur2(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """MurmurHash2 of Kafka's Java clients (`Utils.murmur2`), and of librdkafka's murmur2_random, of each key."""
    hashes = np.empty(len(keys), np.uint32)
    lengths = np.fromiter(map(len, keys), np.intp, len(keys))
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        text = np.frombuffer(b"".join([keys[row] for row in rows.tolist()]), np.uint8).reshape(-1, length)
        hashes[rows] = _murmur2(text)
    return hashes


def _murmur2(text: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Of keys of one length, a row for each."""
    count, length = text.shape
    whole = length & ~3
    value = np.full(count, _SEED ^ np.uint32(length), np.uint32)
    for word in np.ascontiguousarray(text[:, :whole]).view("<u4").T:
        mixed = word * _FACTOR
        value = (value * _FACTOR) ^ ((mixed ^ (mixed >> _SHIFT)) * _FACTOR)
    if whole < length:
        rest = np.zeros((count, 4), np.uint8)
        rest[:, : length - whole] = text[:, whole:]
        value = (value ^ rest.view("<u4")[:, 0]) * _FACTOR
    value = (value ^ (value >> np.uint32(13))) * _FACTOR
    return value ^ (value >> np.uint32(15))


def shares(keys: Sequence[bytes], count: int) -> NDArray[np.intp]:
    """The partition of each key, if there are `count`, as `infra.seeding`'s producer and every Java producer choose it.

    Of two counts of which one divides the other, the keys of a share of the larger one are in one share of the smaller.
    """
    return ((murmur2(keys) & _SIGN) % np.uint32(count)).astype(np.intp)


class Partitioner:
    """`shares`, remembered: cards come again and again."""

    def __init__(self, partitions: int):
        self._partitions = partitions
        self._known: dict[bytes, int] = {b"": 0}  # an empty key, which a producer sends anywhere

    def __call__(self, keys: list[bytes]) -> list[int]:
        """Partitions of keys."""
        known = self._known
        new = list(set(keys).difference(known))
        known.update(zip(new, shares(new, self._partitions).tolist(), strict=True))
        return [known[key] for key in keys]
