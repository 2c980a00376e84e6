"""Which prefixes of a field there are, and how many bits of a value tell that it is in none of a given length.

A binary trie in which no node has just one way on, unless a prefix ends there. A node knows its whole prefix, so that
a step compares one number with another.

Invariant: a node other than the root has `count` > 0 or two children.
"""

from __future__ import annotations

__all__ = ["Trie"]


class _Node:
    """The prefix `value` of `length` bits; `count` of them were put in."""

    __slots__ = ("count", "length", "one", "value", "zero")

    def __init__(self, value: int, length: int, count: int) -> None:
        self.value = value
        self.length = length
        self.count = count
        self.zero: _Node | None = None
        self.one: _Node | None = None

    def adopt(self, bit: int, child: _Node | None) -> None:
        if bit:
            self.one = child
        else:
            self.zero = child


class Trie:
    """Prefixes of values of `bits` bits. Values are given whole; those of prefixes have zeros behind them."""

    __slots__ = ("_root", "bits")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._root = _Node(0, 0, 0)

    def lookup(self, value: int) -> tuple[int, int]:
        """(lengths, bits): bit n of `lengths` is set if the first n bits of `value` are a prefix that is in here, and
        the first `bits` bits of it suffice to tell. # hot: for a miss in a subtable"""
        width = self.bits
        node, lengths = self._root, 0
        while True:
            length = node.length
            difference = (value >> width - length) ^ node.value
            if difference:
                return lengths, length - difference.bit_length() + 1
            if node.count:
                lengths |= 1 << length
            if length == width:
                return lengths, width
            child = node.one if value >> width - 1 - length & 1 else node.zero
            if child is None:
                return lengths, length if node.zero is node.one else length + 1
            node = child

    def insert(self, value: int, length: int) -> None:
        """One more prefix of these bits. # hot: once per flow-mod"""
        width = self.bits
        node = self._root
        while node.length != length:
            bit = value >> width - 1 - node.length & 1
            child = node.one if bit else node.zero
            if child is None:
                node.adopt(bit, _Node(value >> width - length, length, 1))
                return
            shorter = min(length, child.length)
            difference = (value >> width - shorter) ^ (child.value >> child.length - shorter)
            if difference:  # the two part here
                common = shorter - difference.bit_length()
                fork = _Node(value >> width - common, common, 0)
                own = value >> width - 1 - common & 1
                fork.adopt(own, _Node(value >> width - length, length, 1))
                fork.adopt(1 - own, child)
                node.adopt(bit, fork)
                return
            if child.length > length:  # the new one is on the way to it
                between = _Node(value >> width - length, length, 1)
                between.adopt(child.value >> child.length - 1 - length & 1, child)
                node.adopt(bit, between)
                return
            node = child
        node.count += 1

    def remove(self, value: int, length: int) -> None:
        """One less of a prefix that is in here."""
        width = self.bits
        path = [self._root]
        while path[-1].length != length:
            node = path[-1]
            child = node.one if value >> width - 1 - node.length & 1 else node.zero
            assert child is not None, "a prefix that was never put in"
            path.append(child)
        path[-1].count -= 1
        for index in range(len(path) - 1, 0, -1):
            node, parent = path[index], path[index - 1]
            if node.count or (node.zero and node.one):
                return
            bit = value >> width - 1 - parent.length & 1
            parent.adopt(bit, node.zero or node.one)
