"""Commands by name, as tools of Open vSwitch know them: how many words follow, and what is said of wrong ones.

What a command finds out is an `Answer`: a text, for people, and if it is to be had the same as a JSON value, for
programs. A long text is an iterator over its parts: who writes it may do other things between two of them.

The texts of refusals are those that ovs-vswitchd has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vswitch.base.errors import VswitchError

__all__ = ["Answer", "Command", "CommandError", "Commands"]


class CommandError(VswitchError):
    """A command cannot be done; the text is what the one who asked is told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`text`: whole, or in parts. `value`: makes the same for `json.dumps`; None if it has no such form."""

    text: str | Iterator[str] = ""
    value: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """`usage`: its words, as list-commands shows them; from `least` to `most` of them may follow."""

    name: str
    usage: str
    least: int
    most: int
    run: Callable[[Sequence[str]], Answer]


class Commands:
    """What a process can be asked. `version`: what it says it is."""

    def __init__(self, version: str) -> None:
        self._commands: dict[str, Command] = {}
        self.add("list-commands", "", 0, 0, lambda _words: self._list())
        self.add("version", "", 0, 0, lambda _words: Answer(f"{version}\n", lambda: version))

    def add(self, name: str, usage: str, least: int, most: int, run: Callable[[Sequence[str]], Answer]) -> None:
        """One more."""
        assert name not in self._commands, f"two commands {name}"
        self._commands[name] = Command(name, usage, least, most, run)

    def call(self, name: str, words: Sequence[Any]) -> Answer:
        """Do it. CommandError: there is no such command, or it cannot be done so."""
        command = self._commands.get(name)
        if command is None:
            raise CommandError(f'"{name}" is not a valid command (use "list-commands" to see a list of valid commands)')
        if len(words) < command.least:
            raise CommandError(f'"{name}" command requires at least {command.least} arguments')
        if len(words) > command.most:
            raise CommandError(f'"{name}" command takes at most {command.most} arguments')
        if not all(isinstance(word, str) for word in words):
            raise CommandError(f'"{name}" command has non-string argument')
        return command.run(words)

    def _list(self) -> Answer:
        rows = [(name, self._commands[name].usage) for name in sorted(self._commands)]
        text = "".join(f"  {name:<23} {usage}\n" for name, usage in rows)
        return Answer(f"The available commands are:\n{text}", lambda: dict(rows))
