"""Gzip made of parts, so that the large part of a page is compressed only once.

A part is a stretch of DEFLATE (RFC 1951) that ends on a byte and refers to nothing
before it; such stretches may follow one another in one gzip member (RFC 1952).
"""

import struct
import zlib

# The lightest level: loopback is fast, and the reader waits for what is not kept yet.
_LEVEL = 1
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"


def part(text: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)


def gzipped(before: bytes, text: bytes, packed: bytes, after: bytes) -> bytes:
    """Compress three stretches of text, of which the second is packed already."""
    check = zlib.crc32(after, zlib.crc32(text, zlib.crc32(before)))
    size = len(before) + len(text) + len(after)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    end = packer.compress(after) + packer.flush(zlib.Z_FINISH)
    tail = struct.pack("<LL", check, size & 0xFFFFFFFF)
    return b"".join((_HEADER, part(before), packed, end, tail))
