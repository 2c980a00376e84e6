"""State that policies keep, and that knows which megaflows were decided by it.

A policy that reads `table[key]` has an answer that holds as long as that entry does. Who changes the entry thereby
withdraws the megaflows that were made of it, and no others. One that writes an entry has a megaflow whose packets would
write the same: it holds as long as that stands there.

State may be changed by any thread. A run, and what follows from it, holds the lock that each change takes: so no change
falls between a read and the note of it.

Invariant: who waits for a part of a table is told of its next change, and of no later one.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, NamedTuple

from vswitch.base.errors import ConfigError
from vswitch.fields import Field, field
from vswitch.model.match import field_value
from vswitch.policy.packet import Reading
from vswitch.policy.run import Moment, Waiting, changes, current_run

__all__ = ["LockedMapping", "Table", "changing", "frozen", "tell"]

changing = threading.RLock()
"""Held by who changes state that policies read, and by who runs a policy."""


def tell(waiting: Iterable[Waiting]) -> None:
    """These have waited for something that is another now."""
    owners = [each.withdraw() for each in waiting]
    for owner in {id(each): each for each in owners if each is not None}.values():
        owner.settle()


OWN_CHANGE = "it follows from what this run has changed"
"""Why an answer holds for its packet alone."""

_ALL = object()
"""The part of a table that changes when an entry comes or goes: what `len` and iteration read."""


class LockedMapping(MutableMapping[Any, Any]):
    """What a mapping does in two steps, done in one for other threads. `Table` and `Networks` are such mappings."""

    def _note(self, part: Hashable) -> None:
        """A policy, if one is at work, has read this part."""
        # hot: for each read
        run = current_run()
        if run is not None:
            run.reads.append((self, part))  # type: ignore[arg-type]  # those that are made of this are sources

    def _note_write(self, part: Hashable) -> None:
        """It has written this part."""
        run = current_run()
        if run is not None:
            run.writes.append((self, part))  # type: ignore[arg-type]

    def pop(self, key: Any, *default: Any) -> Any:
        """As of any mapping."""
        with changing:
            return super().pop(key, *default)

    def popitem(self) -> tuple[Any, Any]:
        """As of any mapping."""
        with changing:
            return super().popitem()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """As of any mapping."""
        with changing:
            return super().setdefault(key, default)

    def items(self) -> ItemsView[Any, Any]:
        """Those of this moment: they do not change when the table does."""
        with changing:
            return {key: self[key] for key in self}.items()

    def values(self) -> ValuesView[Any]:
        """Those of this moment."""
        with changing:
            return {key: self[key] for key in self}.values()


class Table(LockedMapping):
    """A dict whose reads by a policy are recorded, entry by entry.

    `key`: a field whose values the keys are; they may then be written as its texts, and are numbers. Without it, a key
    is any hashable value. A packet's fields may be keys, and parts of tuples that are: all of them is read. Values must
    be hashable too, so that none can change unseen. To write what an entry is already changes nothing.

    ConfigError: a value that is not hashable, a key that the field cannot have.
    """

    def __init__(
        self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /, *, key: str | None = None
    ) -> None:
        self._field: Field | None = None if key is None else field(key)
        self._entries: dict[Hashable, Hashable] = {}
        self._waiting: dict[Hashable, Waiting | dict[Waiting, None]] = {}  # mostly there is one for a part
        self.update(entries)

    # ---- reading

    def __getitem__(self, key: Any) -> Any:
        plain = self._plain(key)
        self._note(plain)
        try:
            return self._entries[plain]
        except KeyError:
            raise KeyError(self.describe(plain)) from None

    def get(self, key: Any, default: Any = None) -> Any:
        """The entry, or `default`; that there is none is recorded too."""
        plain = self._plain(key)
        self._note(plain)
        return self._entries.get(plain, default)

    def __contains__(self, key: object) -> bool:
        plain = self._plain(key)
        self._note(plain)
        return plain in self._entries

    def __iter__(self) -> Iterator[Any]:
        self._note(_ALL)
        return iter(list(self._entries))

    def __len__(self) -> int:
        self._note(_ALL)
        return len(self._entries)

    def describe(self, part: Hashable) -> str:
        """What was read, for people."""
        if part is _ALL:
            return "which entries a table has"
        shown = self._field.format(part) if self._field and isinstance(part, int) else repr(part)
        return f"entry {shown} of a table"

    # ---- changing

    def __setitem__(self, key: Any, value: Any) -> None:
        plain, value = self._own(key), frozen(value)
        with changing:
            waiting = self._set(plain, value)
            if waiting:
                tell(waiting)

    def _own(self, key: Any) -> Hashable:
        """A key that an entry may have."""
        plain = self._plain(key)
        if type(plain) is _Foreign and self._field is not None:
            raise ConfigError(f"a table of {self._field.name} has no entry for an address of IPv{plain.version}")
        return plain

    def _set(self, plain: Hashable, value: Hashable) -> list[Waiting]:
        self._note_write(plain)
        new = plain not in self._entries
        if not new and self._entries[plain] == value:
            return []
        self._rehearse()
        self._entries[plain] = value
        return self._changed((plain, _ALL) if new else (plain,))

    def __delitem__(self, key: Any) -> None:
        plain = self._plain(key)
        with changing:
            self._note(plain)
            if plain not in self._entries:
                raise KeyError(self.describe(plain))
            self._note_write(plain)
            self._rehearse()
            del self._entries[plain]
            tell(self._changed((plain, _ALL)))

    def update(  # type: ignore[override]
        self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **more: Any
    ) -> None:
        """All of them at once: their megaflows are withdrawn together. If one cannot be, nothing is changed."""
        checked = [(self._own(key), frozen(value)) for key, value in dict(entries, **more).items()]
        with changing:
            tell([waiting for plain, value in checked for waiting in self._set(plain, value)])

    def clear(self) -> None:
        """No entries any more; their megaflows are withdrawn together."""
        with changing:
            parts = [*self._entries, _ALL] if self._entries else []
            self._note_write(_ALL)
            self._rehearse()
            self._entries.clear()
            tell(self._changed(parts))

    def _rehearse(self) -> None:
        """Entries are about to change: if that is only tried, note how they were, in their order."""
        run = current_run()
        if run is not None and run.undo is not None and id(self) not in run.undo:
            before = dict(self._entries)
            run.undo[id(self)] = lambda: setattr(self, "_entries", before)

    def _changed(self, parts: Iterable[Hashable]) -> list[Waiting]:
        """Who waited for one of these parts."""
        told: list[Waiting] = []
        changes.count += 1
        run = current_run()
        for part in parts:
            if run is not None and run.lasting and any(source is self and part == read for source, read in run.reads):
                run.alone = OWN_CHANGE
            if run is None or run.undo is None:
                waiting = self._waiting.pop(part, ())
                told += waiting if isinstance(waiting, dict | tuple) else (waiting,)
        return told

    # ---- who waits

    def wait(self, part: Hashable, waiting: Waiting) -> None:
        """Tell `waiting` when this part changes."""
        # hot: for each read of a run
        there = self._waiting.setdefault(part, waiting)
        if type(there) is dict:
            there[waiting] = None
        elif there is not waiting:
            self._waiting[part] = {there: None, waiting: None}  # type: ignore[dict-item]

    def stop_waiting(self, part: Hashable, waiting: Waiting) -> None:
        """Its megaflow is gone."""
        there = self._waiting.get(part)
        if type(there) is dict:
            there.pop(waiting, None)
        if there is waiting or there == {}:
            del self._waiting[part]

    def _plain(self, key: Any) -> Hashable:
        # hot: for each read
        if isinstance(key, Reading):
            if not key.present:
                return None
            if self._field is not None and key.version and key.version != _VERSIONS.get(self._field.kind.name):
                return _Foreign(key.version, int(key))
            return int(key)
        if self._field is not None and key is not None:
            return field_value(self._field, key)
        return frozen(key)


_VERSIONS = {"ipv4": 4, "ipv6": 6}


class _Foreign(NamedTuple):
    """An address of the other version than the keys of a table are: it is none of them."""

    version: int
    address: int


def frozen(value: Any) -> Hashable:
    """A value that cannot change unseen; of a packet's fields, also within tuples and frozen sets, their numbers.
    ConfigError if this one could, or if it holds a packet's field elsewhere, as far as its hash tells."""
    # hot: for each read
    if type(value) is int:
        return value
    if type(value) is Reading:
        return value._trace.bits(value._view, value._mask) if value.present else None
    if isinstance(value, tuple):
        parts = [
            part
            if type(part) is int
            else part._trace.bits(part._view, part._mask)
            if type(part) is Reading and part.present
            else frozen(part)
            for part in value
        ]
        if type(value) is tuple:
            return tuple(parts)
        try:
            return type(value)(*parts)  # type: ignore[arg-type]
        except TypeError:
            what = f"{value!r} in a table is a tuple that is not made of its parts alone: put tuple(...) of it there"
            raise ConfigError(what) from None
    if isinstance(value, frozenset):
        return frozenset(map(frozen, value))
    if isinstance(value, Reading):
        return int(value) if value.present else None
    if isinstance(value, Moment):
        raise ConfigError("now() is of this run alone: what a table keeps is float(now())")
    run = current_run()
    hashed = 0 if run is None else run.trace.hashed
    try:
        hash(value)
    except TypeError:
        raise ConfigError(f"{value!r} in a table could change unseen: it must be hashable, such as a tuple") from None
    if run is not None and run.trace.hashed != hashed:
        raise ConfigError(f"{value!r} in a table holds a field of a packet: put its number there, int(packet.in_port)")
    return value  # type: ignore[no-any-return]
