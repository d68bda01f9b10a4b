"""Sets of row ids as roaring bitmaps, the form in which they are stored.

https://roaringbitmap.org: 32-bit ids, compressed, with fast set operations.
"""

from collections.abc import Iterable

from pyroaring import BitMap


def pack(ids: BitMap) -> bytes:
    ids.run_optimize()
    return bytes(ids.serialize())


def unpack(stored: bytes | memoryview | None) -> BitMap:
    """Nothing stored, and no bytes at all, is a set of nobody."""
    return BitMap.deserialize(bytes(stored)) if stored else BitMap()


def union(bitmaps: Iterable[BitMap]) -> BitMap:
    found = list(bitmaps)
    return BitMap.union(*found) if found else BitMap()
