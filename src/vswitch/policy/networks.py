"""Tables of networks, in which a policy looks addresses up by the longest prefix.

The networks of one width (IPv4, IPv6, or the values of a field) part all numbers into segments, each with the longest
prefix that covers it. A lookup finds the segment of a number and reads as many of its upper bits as it takes to be sure
of that segment. So the answer "in none of these" is one megaflow for a whole block of addresses, whatever the number of
networks.

Invariants
  - Neighbouring segments have different owners.
  - Who waits is told of a change of any segment that has a number of those that its megaflow takes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, Field, field
from vswitch.model.match import field_value_and_mask
from vswitch.policy.packet import Reading
from vswitch.policy.run import Waiting, changes, current_run
from vswitch.policy.state import OWN_CHANGE, LockedMapping, changing, frozen, tell

__all__ = ["Networks"]

Prefix = tuple[int, int]
"""First number and length."""


class _Segments:
    """Numbers of so many bits, parted among prefixes."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.starts = [0]
        self.owners: list[Prefix | None] = [None]
        self.prefixes: set[Prefix] = set()
        self.lengths: dict[int, int] = {}

    def find(self, number: int) -> tuple[Prefix | None, int, int]:
        """The longest prefix that covers the number, and the segment around it: its first number and the next one's."""
        # hot: once per lookup
        at = bisect_right(self.starts, number) - 1
        end = self.starts[at + 1] if at + 1 < len(self.starts) else 1 << self.bits
        return self.owners[at], self.starts[at], end

    def add(self, prefix: Prefix) -> None:
        """A prefix that is not there."""
        self.prefixes.add(prefix)
        self.lengths[prefix[1]] = self.lengths.get(prefix[1], 0) + 1
        first, last = self._cut(prefix)
        for at in range(first, last):
            owner = self.owners[at]
            if owner is None or owner[1] < prefix[1]:
                self.owners[at] = prefix
        self._join(first, last)

    def remove(self, prefix: Prefix) -> None:
        """One that is there: what it had belongs to the next shorter one again."""
        self.prefixes.discard(prefix)
        self.lengths[prefix[1]] -= 1
        if not self.lengths[prefix[1]]:
            del self.lengths[prefix[1]]
        parent = self._covering(prefix)
        first, last = self._cut(prefix)
        for at in range(first, last):
            if self.owners[at] == prefix:
                self.owners[at] = parent
        self._join(first, last)

    def _covering(self, prefix: Prefix) -> Prefix | None:
        for length in sorted(self.lengths, reverse=True):
            shorter = (prefix[0] & -1 << self.bits - length, length)
            if length < prefix[1] and shorter in self.prefixes:
                return shorter
        return None

    def _cut(self, prefix: Prefix) -> tuple[int, int]:
        """Make a prefix begin and end where segments do; the places of the segments within."""
        begin = prefix[0]
        return self._cut_at(begin), self._cut_at(begin + (1 << self.bits - prefix[1]))

    def _cut_at(self, number: int) -> int:
        at = bisect_left(self.starts, number)
        if number < 1 << self.bits and (at == len(self.starts) or self.starts[at] != number):
            self.starts.insert(at, number)
            self.owners.insert(at, self.owners[at - 1])
        return at

    def _join(self, first: int, last: int) -> None:
        """Make one of neighbours with one owner, from the segment before `first` to that at `last`."""
        first, last = max(first - 1, 0), min(last, len(self.starts) - 1)
        starts, owners = [self.starts[first]], [self.owners[first]]
        for at in range(first + 1, last + 1):
            if self.owners[at] != owners[-1]:
                starts.append(self.starts[at])
                owners.append(self.owners[at])
        self.starts[first : last + 1] = starts
        self.owners[first : last + 1] = owners


class _Ranges:
    """Who waits for which numbers (`least` to `most`), found by the numbers that change."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], dict[Waiting, None]] = {}
        self._by_size: dict[int, list[tuple[int, int]]] = {}  # of (most - least).bit_length(), sorted

    def add(self, of: tuple[int, int], waiting: Waiting) -> None:
        if of not in self._waiting:
            insort(self._by_size.setdefault((of[1] - of[0]).bit_length(), []), of)
        self._waiting.setdefault(of, {})[waiting] = None

    def discard(self, of: tuple[int, int], waiting: Waiting) -> None:
        there = self._waiting.get(of, {})
        there.pop(waiting, None)
        if of in self._waiting and not there:
            self._drop(of)

    def take(self, begin: int, end: int) -> list[Waiting]:
        """Who waits for one of the numbers begin..end - 1, and waits no more."""
        found: list[Waiting] = []
        for size, ranges in list(self._by_size.items()):
            first = bisect_left(ranges, (begin - (1 << size), 0))
            touched = [of for of in ranges[first : bisect_left(ranges, (end, 0))] if of[1] >= begin]
            for of in touched:
                found += self._waiting[of]
                self._drop(of)
        return found

    def take_all(self) -> list[Waiting]:
        """Who waits for any, and waits no more."""
        found = [waiting for waitings in self._waiting.values() for waiting in waitings]
        self._waiting.clear()
        self._by_size.clear()
        return found

    def _drop(self, of: tuple[int, int]) -> None:
        del self._waiting[of]
        size = (of[1] - of[0]).bit_length()
        ranges = self._by_size[size]
        del ranges[bisect_left(ranges, of)]
        if not ranges:
            del self._by_size[size]


_ABSENT = object()
_WHOLE = "all"
"""The part of a table that changes with any network."""


def _part(bits: int, prefix: Prefix) -> tuple[int, int, int]:
    """The numbers of a prefix, as what is read of them is noted."""
    return bits, prefix[0], prefix[0] + (1 << bits - prefix[1]) - 1


class Networks(LockedMapping):
    """A table whose keys are networks, and in which an address finds the longest prefix that it is in.

    Keys are written "10.0.0.0/8", "2001:db8::/32", "10.0.0.1", or as `ipaddress` objects, IPv4 and IPv6 side by side;
    with `key`, the name of a field, as that field's values, or as values and masks. `lookup` of a packet's field, and
    `packet.ip_src in networks`, read no more of it than the answer needs; what is then changed elsewhere withdraws
    nothing. `[]` and `in` of what is no packet's field, `pop` and `setdefault` are about just that network. Values must
    be hashable.

    ConfigError: a key that is no network, a value that is not hashable.
    """

    def __init__(self, entries: Mapping[Any, Any] | Iterable[Any] = (), /, *, key: str | None = None) -> None:
        """`entries`: networks with values, or networks alone."""
        self._field: Field | None = None if key is None else field(key)
        self._entries: dict[tuple[int, Prefix], Hashable] = {}
        self._segments: dict[int, _Segments] = {}
        self._ranges: dict[int, _Ranges] = {}
        self._whole: dict[Waiting, None] = {}
        if isinstance(entries, Mapping):
            self.update(entries)
        else:
            self.update((each, True) for each in entries)

    # ---- looking up

    def lookup(self, number: Reading | Any, default: Any = None) -> Any:
        """The value of the longest prefix that this address is in; `default` if there is none, or no address.
        ConfigError: a network, not an address."""
        # hot: once per upcall
        with changing:
            return self._lookup(number, default)

    def _lookup(self, number: Reading | Any, default: Any) -> Any:
        if isinstance(number, Reading):
            if not number.present:
                return default
            bits = number.bits
            segments = self._of(bits)
            owner, begin, end = segments.find(number.peek())
            part = (bits, *number.settle(begin, end))
            self._note(part)
        else:
            bits, (first, length) = self._prefix(number)
            if length != bits:
                raise ConfigError(f"{number} is a network, not an address")
            owner, _, _ = self._of(bits).find(first)
            self._note(_part(bits, (first, length)))
        return default if owner is None else self._entries[bits, owner]

    def __getitem__(self, key: Any) -> Any:
        """Of a packet's field as `lookup`, with KeyError; of a network its own value."""
        missing = object()
        if isinstance(key, Reading):
            value = self.lookup(key, missing)
        else:
            self._note(_WHOLE)
            value = self._entries.get(self._prefix(key), missing)
        if value is missing:
            raise KeyError(str(key))
        return value

    def __contains__(self, key: object) -> bool:
        if isinstance(key, Reading):
            missing = object()
            return self.lookup(key, missing) is not missing
        self._note(_WHOLE)
        return self._prefix(key) in self._entries

    def __iter__(self) -> Iterator[str]:
        self._note(_WHOLE)
        return iter([self._format(*entry) for entry in list(self._entries)])

    def __len__(self) -> int:
        self._note(_WHOLE)
        return len(self._entries)

    def describe(self, part: Hashable) -> str:
        """What was read, for people."""
        if not isinstance(part, tuple):
            return "a table of networks, all of it"
        bits, least, most = part
        return f"the networks of {self._number(bits, least)} to {self._number(bits, most)}"

    # ---- changing

    def __setitem__(self, key: Any, value: Any) -> None:
        bits, prefix = self._prefix(key)
        value = frozen(value)
        with changing:
            tell(self._set(bits, prefix, value))

    def _set(self, bits: int, prefix: Prefix, value: Hashable) -> list[Waiting]:
        self._note_write(_part(bits, prefix))
        if self._entries.get((bits, prefix), _ABSENT) == value:
            return []
        self._rehearse()
        if (bits, prefix) not in self._entries:
            self._of(bits).add(prefix)
        self._entries[bits, prefix] = value
        return self._changed(bits, prefix)

    def __delitem__(self, key: Any) -> None:
        bits, prefix = self._prefix(key)
        with changing:
            self._note(_part(bits, prefix))
            if (bits, prefix) not in self._entries:
                raise KeyError(str(key))
            self._note_write(_part(bits, prefix))
            self._rehearse()
            del self._entries[bits, prefix]
            self._of(bits).remove(prefix)
            tell(self._changed(bits, prefix))

    def pop(self, key: Any, *default: Any) -> Any:
        """Take away what stands at just this network, or address, and return it."""
        bits, prefix = self._prefix(key)
        with changing:
            self._note(_part(bits, prefix))
            value = self._entries.get((bits, prefix), *default or (_ABSENT,))
            if (bits, prefix) in self._entries:
                del self[key]
        if value is _ABSENT:
            raise KeyError(str(key))
        return value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """What stands at just this network, or address; if nothing does, put `default` there."""
        bits, prefix = self._prefix(key)
        with changing:
            self._note(_part(bits, prefix))
            if (bits, prefix) not in self._entries:
                self[key] = default
            return self._entries[bits, prefix]

    def update(  # type: ignore[override]
        self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **more: Any
    ) -> None:
        """All of them at once: their megaflows are withdrawn together. If one cannot be, nothing is changed."""
        checked = [(*self._prefix(key), frozen(value)) for key, value in dict(entries, **more).items()]
        with changing:
            tell([waiting for entry in checked for waiting in self._set(*entry)])

    def clear(self) -> None:
        """No networks any more; all megaflows that were decided by them are withdrawn together."""
        with changing:
            self._note_write(_WHOLE)
            if not self._entries:
                return
            run = current_run()
            changes.count += 1
            if run is not None and any(source is self for source, _ in run.reads):
                run.alone = OWN_CHANGE
            self._rehearse()
            self._entries.clear()
            self._segments.clear()
            if run is not None and run.undo is not None:
                return
            told = [waiting for ranges in self._ranges.values() for waiting in ranges.take_all()]
            told += self._whole
            self._whole.clear()
            self._ranges.clear()
            tell(told)

    def _changed(self, bits: int, prefix: Prefix) -> list[Waiting]:
        """Who waited for some of its numbers, or for all that there is."""
        changes.count += 1
        begin, end = prefix[0], prefix[0] + (1 << bits - prefix[1])
        run = current_run()
        if (
            run is not None
            and run.lasting
            and any(source is self and self._touches(part, bits, begin, end) for source, part in run.reads)
        ):
            run.alone = OWN_CHANGE
        if run is not None and run.undo is not None:
            return []
        told = self._ranges[bits].take(begin, end) if bits in self._ranges else []
        told += self._whole
        self._whole.clear()
        return told

    def _rehearse(self) -> None:
        """Networks are about to change: if that is only tried, note how they were, in their order."""
        run = current_run()
        if run is None or run.undo is None or id(self) in run.undo:
            return
        before = dict(self._entries)

        def undo() -> None:
            for bits, prefix in self._entries.keys() - before.keys():
                self._of(bits).remove(prefix)
            for bits, prefix in before.keys() - self._entries.keys():
                self._of(bits).add(prefix)
            self._entries = before

        run.undo[id(self)] = undo

    @staticmethod
    def _touches(part: Hashable, bits: int, begin: int, end: int) -> bool:
        return not isinstance(part, tuple) or (part[0] == bits and part[1] < end and part[2] >= begin)

    # ---- who waits

    def wait(self, part: Hashable, waiting: Waiting) -> None:
        """Tell `waiting` when this part changes."""
        if isinstance(part, tuple):
            bits, least, most = part
            self._ranges.setdefault(bits, _Ranges()).add((least, most), waiting)
        else:
            self._whole[waiting] = None

    def stop_waiting(self, part: Hashable, waiting: Waiting) -> None:
        """Its megaflow is gone."""
        if isinstance(part, tuple):
            bits, least, most = part
            if bits in self._ranges:
                self._ranges[bits].discard((least, most), waiting)
        else:
            self._whole.pop(waiting, None)

    # ---- how networks are written

    def _of(self, bits: int) -> _Segments:
        segments = self._segments.get(bits)
        if segments is None:
            segments = self._segments[bits] = _Segments(bits)
        return segments

    def _view(self, bits: int) -> Field:
        return self._field or FIELDS["ipv4_dst" if bits == 32 else "ipv6_dst"]

    def _prefix(self, key: Any) -> tuple[int, Prefix]:
        """Width, first number and length."""
        view = self._field or self._view(128 if ":" in str(key) else 32)
        if self._field is None and isinstance(key, int):
            raise ConfigError(f"{key} is no network: a table of networks without `key` takes addresses")
        value, mask = field_value_and_mask(view, key)
        length = mask.bit_count()
        if mask != view.max ^ view.max >> length:
            raise ConfigError(f"{key} is no network: its mask has holes")
        return view.bits, (value, length)

    def _number(self, bits: int, number: int) -> str:
        return self._view(bits).format(number)

    def _format(self, bits: int, prefix: Prefix) -> str:
        view = self._view(bits)
        if view.kind.prefix_masks:
            return f"{view.format(prefix[0])}/{prefix[1]}"
        return f"{view.format(prefix[0])}/{view.format(view.max ^ view.max >> prefix[1])}"
