"""Commands as rows of tables, from which come the parsers, the help and the shell completion.

A `Group` offers commands by name, a `Command` does something, a `Program` has a command line of its own.

Invariant: a table imports nothing that its commands need to run. What a row runs is named, `module:function`, and
loaded when it is called: `--help` and completion stay quick whatever the commands load.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

__all__ = ["Argument", "Command", "Group", "Node", "Parser", "Program", "UsageError", "argument", "run"]


class UsageError(Exception):
    """The words of the command line do not fit together; it ends with status 2."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One option or operand, as `ArgumentParser.add_argument` takes it."""

    flags: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def is_option(self) -> bool:
        """Whether it begins with a dash; else it is an operand, known by its place."""
        return self.flags[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return bool(self.settings.get("action", "append") == "append")

    @property
    def metavar(self) -> str:
        """What the help calls its value: `DP`."""
        return str(self.settings.get("metavar", ""))

    @property
    def usage(self) -> str:
        """How an operand stands in a line of help: `[DP]`, `IFACE...`."""
        forms = {"?": "[{}]", "*": "[{}...]", "...": "[{}...]", "+": "{}..."}
        return forms.get(self.settings.get("nargs", ""), "{}").format(self.metavar)


def _usage(name: str, arguments: Sequence[Argument]) -> str:
    return " ".join([name, *(each.usage for each in arguments if not each.is_option)])


def argument(*flags: str, **settings: Any) -> Argument:
    """A row of a command's arguments."""
    return Argument(flags, settings)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that ends the line. `run`: `module:function`, called with what was parsed. `more`: arguments that take
    time to find out. `example`: lines that a user can type, each as it stands."""

    name: str
    summary: str
    run: str
    arguments: tuple[Argument, ...] = ()
    example: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    more: Callable[[], tuple[Argument, ...]] = tuple

    @property
    def usage(self) -> str:
        """Name and operands: `add-flow [DP] FLOW ACTIONS`."""
        return _usage(self.name, self.arguments)


@dataclass(frozen=True, slots=True)
class Program:
    """A module whose `main` takes the rest of the line as it is, and gives the exit status."""

    name: str
    summary: str
    module: str
    arguments: tuple[Argument, ...] = ()
    example: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """Name and operands."""
        return _usage(self.name, self.arguments)


@dataclass(frozen=True, slots=True)
class Group:
    """A command that has commands. `arguments`: options that may stand before their names. `prepare`: makes of the rest
    of the line what its parsers understand."""

    name: str
    summary: str
    commands: tuple[Node, ...]
    arguments: tuple[Argument, ...] = ()
    example: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    version: str = ""
    prepare: Callable[[Sequence[str]], Sequence[str]] = list
    by_name: dict[str, Node] = field(init=False)

    def __post_init__(self) -> None:
        names = [(name, command) for command in self.commands for name in (command.name, *command.aliases)]
        object.__setattr__(self, "by_name", dict(names))
        assert len(self.by_name) == len(names), "two commands of one name"

    @property
    def usage(self) -> str:
        """Name and operands."""
        return f"{self.name} COMMAND ..."


Node = Command | Program | Group


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Text as it was written, and room for long options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


class Parser(argparse.ArgumentParser):
    """An argument parser in whose errors `vswitch` speaks one sentence, with status 2."""

    def __init__(self, prog: str, description: str, example: str) -> None:
        epilog = "".join(f"\n  {line}" for line in example.strip().splitlines())
        super().__init__(
            prog=prog, description=description, epilog=f"example:{epilog}" if epilog else None,
            formatter_class=_Formatter, allow_abbrev=False,
        )  # fmt: skip

    def add(self, arguments: Sequence[Argument]) -> None:
        """Take these, too."""
        for each in arguments:
            self.add_argument(*each.flags, **each.settings)

    def error(self, message: str) -> NoReturn:
        """Say it on the standard error and exit."""
        _, _, where = self.prog.partition(" ")
        self.exit(2, f"vswitch: {where + ': ' if where else ''}{message} (see {self.prog} --help)\n")


def run(node: Node, line: Sequence[str], before: Sequence[str] = (), given: argparse.Namespace | None = None) -> int:
    """Do what `line` says; the exit status. `before`: the names that led to `node`; `given`: options among them.
    SystemExit after --help, and with status 2 if the line is wrong."""
    path = [*before, node.name]
    if isinstance(node, Program):
        return int(importlib.import_module(node.module).main(list(line)))
    if isinstance(node, Group):
        return _run_group(node, line, path)
    parser = Parser(" ".join(path), _sentence(node.summary) + _paragraph(node.description), node.example)
    parser.add((*node.arguments, *node.more()))
    parsed = parser.parse_intermixed_args(line, given)
    module, _, function = node.run.partition(":")
    try:
        getattr(importlib.import_module(module), function)(parsed)
    except UsageError as error:
        parser.error(str(error))
    return 0


def _run_group(group: Group, line: Sequence[str], path: list[str]) -> int:
    prog = " ".join(path)
    parser = Parser(prog, _sentence(group.summary) + _paragraph(group.description) + _listing(group), group.example)
    parser.usage = f"{prog} [option...] COMMAND ..."
    if group.version:
        parser.add_argument("--version", action="version", version=group.version, help="say which version this is")
    parser.add(group.arguments)
    parser.add_argument("command", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if not line:
        parser.error("a command is needed")
    parsed = parser.parse_args(group.prepare(line))
    command, rest = group.by_name.get(parsed.command), parsed.rest
    if command is None:
        parser.error(f"there is no command {parsed.command!r}{_guess(parsed.command, group)}")
    del parsed.command, parsed.rest
    return run(command, rest, path, parsed)


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}.\n\n"


def _paragraph(text: str) -> str:
    return f"{text.strip()}\n\n" if text else ""


def _listing(group: Group) -> str:
    width = min(max(len(command.usage) for command in group.commands), 40)
    return "\n".join(["commands:", *(line for command in group.commands for line in _lines(command, width))])


def _lines(command: Node, width: int) -> Iterator[str]:
    also = f" (also {', '.join(command.aliases)})" if command.aliases else ""
    if len(command.usage) > width:
        yield f"  {command.usage}"
        yield f"  {'':{width}}  {command.summary}{also}"
    else:
        yield f"  {command.usage:{width}}  {command.summary}{also}"


def _guess(name: str, group: Group) -> str:
    from difflib import get_close_matches  # only who mistypes waits for it

    close = get_close_matches(name, group.by_name, 1)
    return f", did you mean {close[0]!r}?" if close else ""
