"""`vswitch completion SHELL`: the scripts by which shells complete this command line.

A script asks the program itself, `vswitch completion --words WORD...`, what may stand in the place of the last word;
the answer comes from the tables of commands, a line for each candidate: the word, a tab, what it means. So scripts know
nothing that could grow old. The line `:files` stands for the names of files, which shells know best.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vswitch.base.errors import VswitchError
from vswitch.cli.arguments import Argument, Command, Group, Node, Parser, Program

__all__ = ["candidates", "main"]

Candidate = tuple[str, str]
"""A word and what it means."""

FILES = ":files"
_SCRIPTS = Path(__file__).parent / "shells"


def main(line: Sequence[str]) -> int:
    """Print a script; or, for one, what may come next."""
    from vswitch.cli.table import VSWITCH

    if line[:1] == ["--words"]:
        for word, meaning in candidates(VSWITCH, line[1:]):
            print(f"{word}\t{meaning}")
        return 0
    program = VSWITCH.by_name["completion"]
    assert isinstance(program, Program)
    parser = Parser("vswitch completion", f"{program.summary.capitalize()}.", program.example)
    parser.add(program.arguments)
    shell = parser.parse_args(line).shell
    print((_SCRIPTS / f"vswitch.{shell}").read_text(encoding="utf-8"), end="")
    return 0


def candidates(root: Node, words: Sequence[str]) -> Iterator[Candidate]:
    """What the last of `words` may become, if those before it stay."""
    node, position, option = root, 0, None
    *before, current = words or [""]
    for word in before:
        if option is not None:
            option = None
        elif word.startswith("-") and len(word) > 1:
            option = next((each for each in _options(node) if word in each.flags and each.takes_value), None)
        elif isinstance(node, Group):
            if word not in node.by_name:
                return
            node = node.by_name[word]
        else:
            position += 1
    for candidate in _here(node, position, option, current):
        if candidate[0].startswith(current) or candidate[0] == FILES:
            yield candidate


def _here(node: Node, position: int, option: Argument | None, current: str) -> Iterator[Candidate]:
    if option is not None:
        yield from _values(option)
    elif current.startswith("-"):
        for each in _options(node):
            yield from ((flag, str(each.settings.get("help", "")).replace("%%", "%")) for flag in each.flags)
        if not isinstance(node, Program):
            yield "--help", "say more and exit"
    elif isinstance(node, Group):
        yield from ((name, command.summary) for name, command in node.by_name.items())
    else:
        for operand in _at(position, [each for each in node.arguments if not each.is_option]):
            yield from _values(operand)


def _options(node: Node) -> list[Argument]:
    more = node.more() if isinstance(node, Command) else ()
    return [each for each in (*node.arguments, *more) if each.is_option]


def _at(position: int, operands: Sequence[Argument]) -> Iterator[Argument]:
    """The operands that can stand at a position, if those that may be left out are."""
    earliest = 0
    for latest, operand in enumerate(operands):
        several = operand.settings.get("nargs") in ("*", "+")
        if earliest <= position and (several or position <= latest):
            yield operand
        earliest += operand.settings.get("nargs") not in ("?", "*")
        if several:
            return


def _values(argument: Argument) -> Iterator[Candidate]:
    if "choices" in argument.settings:
        yield from ((choice, "") for choice in argument.settings["choices"])
    elif argument.metavar in _KINDS:
        yield from _KINDS[argument.metavar]()


def _datapaths() -> Iterator[Candidate]:
    from vswitch import Datapath

    try:
        names = Datapath.list()
    except (VswitchError, OSError):  # not root, as a rule; who completes wants no sentences
        return
    yield from ((name, "datapath") for name in names)


def _switches() -> Iterator[Candidate]:
    from vswitch.cli.ofctl.target import bridges

    yield from ((name, "bridge") for name in bridges())


def _devices() -> Iterator[Candidate]:
    yield from ((name, "device") for _, name in socket.if_nameindex())


def _files() -> Iterator[Candidate]:
    yield FILES, ""


_KINDS: Mapping[str, Callable[[], Iterator[Candidate]]] = {
    "DP": _datapaths,
    "SWITCH": _switches,
    "IFACE": _devices,
    "FILE": _files,
}
"""By what the help calls the value."""
