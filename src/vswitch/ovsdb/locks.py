"""Locks (RFC 7047, 4.1.8 to 4.1.10): a name that one session has, and others wait for, in turn.

Invariant: the first of a lock's queue has it. Who steals it comes first; who had it stays, as the second.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from vswitch.ovsdb.errors import OvsdbError, syntax_error

__all__ = ["MAX_LOCKS", "Locks"]

MAX_LOCKS = 256
"""That one session may have or wait for."""

S = TypeVar("S", bound=Hashable)


class Locks(Generic[S]):
    """Of one server. Sessions are told from each other by identity."""

    def __init__(self) -> None:
        self._queues: dict[str, list[S]] = {}
        self._of: dict[S, set[str]] = {}

    def owner(self, name: str) -> S | None:
        """Who has it."""
        queue = self._queues.get(name)
        return queue[0] if queue else None

    def lock(self, session: S, name: str) -> bool:
        """Ask for it. Whether the session has it now; else it will, in its turn."""
        self._begin(session, name, "lock")
        queue = self._queues.setdefault(name, [])
        queue.append(session)
        return len(queue) == 1

    def steal(self, session: S, name: str) -> S | None:
        """Take it. Who had it, if anybody."""
        self._begin(session, name, "steal")
        queue = self._queues.setdefault(name, [])
        queue.insert(0, session)
        return queue[1] if len(queue) > 1 else None

    def _begin(self, session: S, name: str, method: str) -> None:
        mine = self._of.setdefault(session, set())
        if name in mine:
            raise syntax_error(
                f"{method} of {name} needs an unlock before it: the session has it, or waits for it", [name]
            )
        if len(mine) >= MAX_LOCKS:
            raise OvsdbError("resources exhausted", f"a session has {MAX_LOCKS} locks at most")
        mine.add(name)

    def unlock(self, session: S, name: str) -> S | None:
        """Give it back, or wait for it no longer. Who has it now, if that is somebody else than before."""
        mine = self._of.get(session, set())
        if name not in mine:
            raise syntax_error(f"unlock of {name}, which the session neither has nor waits for", [name])
        mine.discard(name)
        if not mine:
            del self._of[session]
        queue = self._queues[name]
        had = queue[0] is session
        queue.remove(session)
        if not queue:
            del self._queues[name]
            return None
        return queue[0] if had else None

    def names(self, session: S) -> tuple[str, ...]:
        """What the session has or waits for."""
        return tuple(self._of.get(session, ()))
