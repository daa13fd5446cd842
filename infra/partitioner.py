"""Which partition a card's transactions are in: Kafka's own hash of the key, for logs that are not in Kafka yet."""

_SEED, _FACTOR, _SHIFT, _32_BITS = 0x9747B28C, 0x5BD1E995, 24, 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """Unsigned 32-bit MurmurHash2 of Kafka's Java clients (`Utils.murmur2`), and of librdkafka's murmur2_random."""
    value = _SEED ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _FACTOR & _32_BITS
        word = (word ^ (word >> _SHIFT)) * _FACTOR & _32_BITS
        value = (value * _FACTOR & _32_BITS) ^ word
    if len(key) > whole:
        value = (value ^ int.from_bytes(key[whole:], "little")) * _FACTOR & _32_BITS
    value = (value ^ (value >> 13)) * _FACTOR & _32_BITS
    return value ^ (value >> 15)


class Partitioner:
    """The partition of each key, as `infra.seeding`'s producer and every Java producer choose it."""

    def __init__(self, partitions: int):
        self._partitions = partitions
        self._known: dict[bytes, int] = {}

    def __call__(self, keys: list[bytes]) -> list[int]:
        """Partitions of keys. An empty key, which a producer sends anywhere, is given the first one."""
        known = self._known
        for key in set(keys).difference(known):
            known[key] = (murmur2(key) & 0x7FFFFFFF) % self._partitions if key else 0
        return [known[key] for key in keys]
