"""How to take back what a list of changes has done so far, if a later one of it is refused.

Who changes something notes how that is undone. Outside of a transaction nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Journal"]


class Journal:
    """Steps that undo what was done, in the order in which it was done."""

    __slots__ = ("_steps", "open")

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.open = False

    def note(self, undo: Callable[..., Any], *arguments: Any) -> None:
        """`undo(*arguments)` takes the next change back."""
        if self.open:
            self._steps.append((undo, arguments))

    def begin(self) -> None:
        """From now on all is kept."""
        assert not self.open, "a transaction within another"
        self.open = True

    def commit(self) -> None:
        """It stays as it is."""
        self._steps.clear()
        self.open = False

    def rollback(self) -> None:
        """All is as it was at `begin`."""
        self.open = False
        while self._steps:
            undo, arguments = self._steps.pop()
            undo(*arguments)
