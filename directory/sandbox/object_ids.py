"""Object ids of a seed: GUIDs without a pattern, each of which tells its number.

The first eight digits are the number, scrambled; the rest is drawn by chance. So an
id finds its object without an index, however many there are.
"""

import random
from collections.abc import Mapping
from mmap import mmap

LENGTH = 36
_FACTOR = 0x9E3779B1  # odd, so that multiplying by it can be undone
_INVERSE = pow(_FACTOR, -1, 1 << 32)
_MASK = 0xFFFFFFFF


def scramble(number: int, key: int) -> int:
    """Map a number of 32 bits to another one, each to its own."""
    value = (number ^ key) * _FACTOR & _MASK
    value ^= value >> 16
    return value * _FACTOR & _MASK


def unscramble(value: int, key: int) -> int:
    value = value * _INVERSE & _MASK
    value ^= value >> 16
    return (value * _INVERSE & _MASK) ^ key


def draw(
    count: int, named: Mapping[int, str], key: int, source: random.Random
) -> bytes:
    """Write the ids of numbers 0 to ``count``, one after the other; some are given."""
    digits = source.randbytes(11 * count).hex()
    made = []
    for number in range(count):
        if number in named:
            made.append(named[number])
            continue
        part = digits[22 * number : 22 * number + 22]
        first = f"{scramble(number, key):08x}"
        made.append(f"{first}-{part[:4]}-4{part[4:7]}-a{part[7:10]}-{part[10:]}")
    return "".join(made).encode()


class ObjectIds:
    """The ids of a seed by number, and the numbers by id."""

    def __init__(self, table: bytes | mmap, named: Mapping[int, str], key: int) -> None:
        self.table = table
        self.count = len(table) // LENGTH
        self._named = {object_id: number for number, object_id in named.items()}
        self._key = key

    def of(self, number: int) -> str:
        return self.table[LENGTH * number : LENGTH * number + LENGTH].decode()

    def number(self, object_id: str) -> int | None:
        """Return the number of a lower-case id, or None for an unknown one."""
        number = self._named.get(object_id)
        if number is not None or len(object_id) != LENGTH:
            return number
        try:
            number = unscramble(int(object_id[:8], 16), self._key)
        except ValueError:
            return None
        known = number < self.count and self.of(number) == object_id
        return number if known else None
