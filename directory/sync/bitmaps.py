"""Sets of row ids as roaring bitmaps, the form in which they are stored.

https://roaringbitmap.org: 32-bit ids, compressed, with fast set operations.
"""

from collections.abc import Iterable

from pyroaring import BitMap

# A union of several at once begins with unpacked sets, of 8 KB for each 65,536 ids: too
# dear for so few.
FEW = 8


def pack(ids: BitMap) -> bytes:
    ids.run_optimize()
    return bytes(ids.serialize())


def unpack(stored: bytes | memoryview | None) -> BitMap:
    """Nothing stored, and no bytes at all, is a set of nobody."""
    return BitMap.deserialize(bytes(stored)) if stored else BitMap()


def union(bitmaps: Iterable[BitMap]) -> BitMap:
    found = list(bitmaps)
    if not 2 < len(found) <= FEW:
        return BitMap.union(*found) if found else BitMap()
    united = found[0] | found[1]
    for each in found[2:]:
        united |= each
    return united
