"""Which prefixes of one length there are, and how many bits of a value tell that it has none of them.

They lie in order, so that the two next to a value are those that it has most bits in common with: the first bit by
which it differs from both is the last one that must be looked at. The order is kept in blocks of some hundred, as
putting one into a short list takes no longer than finding its place. Numbers of up to 64 bits lie in arrays: a search
in them touches less memory than one in a list of ints.

Invariant: blocks are in order and not empty, and `_last` has the last of each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, MutableSequence

__all__ = ["PrefixSet"]

_BLOCK = 512
"""A block of twice as many is cut in two."""


def _maker(length: int) -> Callable[[Iterable[int]], MutableSequence[int]]:
    """What makes a block of numbers of so many bits."""
    if length > 64:
        return list
    code = "I" if length <= 8 * array("I").itemsize else "Q"
    return lambda values: array(code, values)


class PrefixSet:
    """Prefixes of `length` bits as numbers, each as often as it was put in."""

    __slots__ = ("_blocks", "_last", "_make", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self._make = _maker(length)
        self._blocks: list[MutableSequence[int]] = []
        self._last = self._make(())

    def insert(self, prefix: int) -> None:
        """One more. # hot: once per flow-mod"""
        last = self._last
        place = bisect_left(last, prefix)
        if place == len(last):
            if not last:
                self._blocks.append(self._make((prefix,)))
                last.append(prefix)
                return
            place -= 1
            block = self._blocks[place]
            block.append(prefix)
            last[place] = prefix
        else:
            block = self._blocks[place]
            insort(block, prefix)
        if len(block) >= 2 * _BLOCK:
            self._blocks.insert(place + 1, block[_BLOCK:])
            last.insert(place, block[_BLOCK - 1])
            del block[_BLOCK:]

    def remove(self, prefix: int) -> None:
        """One less; there must be one."""
        place = bisect_left(self._last, prefix)
        block = self._blocks[place]
        at = bisect_left(block, prefix)
        assert block[at] == prefix, "a prefix that was never put in"
        del block[at]
        if not block:
            del self._blocks[place], self._last[place]
        else:
            self._last[place] = block[-1]

    def needed(self, prefix: int) -> int:
        """How many bits of this one suffice to tell that it is not here; 0: it is. # hot: for a miss in a subtable"""
        last = self._last
        place = bisect_left(last, prefix)
        differing = self.length + 1
        if place < len(last):
            block = self._blocks[place]
            at = bisect_left(block, prefix)
            differing = (block[at] ^ prefix).bit_length()
            if not differing:
                return 0
            if at:
                return self.length + 1 - min(differing, (block[at - 1] ^ prefix).bit_length())
        if place:
            differing = min(differing, (last[place - 1] ^ prefix).bit_length())
        return max(1, self.length + 1 - differing)
