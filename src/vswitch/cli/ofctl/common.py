"""What the commands share: opening a switch, names of ports and tables, printing answers, failing."""

from __future__ import annotations

import gc
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from vswitch.base.errors import ConfigError, TextError
from vswitch.cli.ofctl.client import Switch, is_error
from vswitch.cli.ofctl.printing import format_bytes
from vswitch.messages.base import Message
from vswitch.messages.control import FeaturesReply, FeaturesRequest
from vswitch.messages.ports import PortDescription
from vswitch.messages.stats import MultipartReply, StatsRequest, TableFeaturesRequest
from vswitch.openflow.codec import decode
from vswitch.text.flow_words import LineError

__all__ = [
    "Names",
    "Session",
    "changing",
    "entries",
    "fail",
    "finish",
    "print_answer",
    "print_answers",
    "session",
    "texts",
]

T = TypeVar("T")


class Names:
    """What a switch calls its ports and tables: asked for when first needed, and but once."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    @cached_property
    def descriptions(self) -> tuple[PortDescription, ...]:
        """All ports."""
        if self._switch.version < 4:
            reply, _ = decode(self._switch.ask(FeaturesRequest()))
            if isinstance(reply, FeaturesReply) and len(reply.ports) < 800:  # more would not have fitted in
                return reply.ports
        return tuple(each for each in entries(self._switch, StatsRequest("port_description"))
                     if isinstance(each, PortDescription))  # fmt: skip

    @cached_property
    def ports(self) -> dict[int, str]:
        """Names of ports by number; ports that share one have none."""
        return _unique((each.number, each.name) for each in self.descriptions)

    @cached_property
    def port_numbers(self) -> dict[str, int]:
        return {name: number for number, name in self.ports.items()}

    @cached_property
    def tables(self) -> dict[int, str]:
        """Names of tables by number."""
        switch = self._switch
        request = StatsRequest("table") if switch.version < 4 else TableFeaturesRequest()
        found = entries(switch, request)
        return _unique((each.table, each.name) for each in found if getattr(each, "name", ""))  # type: ignore[attr-defined]

    @cached_property
    def table_numbers(self) -> dict[str, int]:
        return {name: number for number, name in self.tables.items()}


def _unique(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    found = dict(pairs)
    names = list(found.values())
    return {number: name for number, name in found.items() if names.count(name) == 1}


class Session:
    """A switch, and how names are read and shown to whoever speaks with it."""

    def __init__(self, switch: Switch, arguments: Namespace) -> None:
        self.switch = switch
        self.arguments = arguments
        self.names = Names(switch)
        self.accept_names = arguments.names is not False
        self.show_names = arguments.names is True or (arguments.names is None and sys.stdout.isatty())

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.switch.close()

    @property
    def ports(self) -> dict[int, str] | None:
        """Names of ports to show, None for numbers."""
        return self.names.ports if self.show_names else None

    @property
    def tables(self) -> dict[int, str] | None:
        """Names of tables to show, None for numbers."""
        return self.names.tables if self.show_names else None

    def read(self, parse: Callable[[Mapping[str, int] | None, Mapping[str, int] | None], T], where: str = "") -> T:
        """What `parse` makes of a text, given numbers by name of ports and tables: without, and only if it is no use
        so, with the names that the switch has. `where`: the file that it is from."""
        try:
            return parse(None, None)
        except (TextError, LineError) as error:
            if not self.accept_names:
                raise _of_file(error, where) from None
        try:
            return parse(self.names.port_numbers, self.names.table_numbers)
        except (TextError, LineError) as error:
            raise _of_file(error, where) from None

    def port(self, text: str) -> int:
        """The number of the port that a word of the command line means."""
        from vswitch.text.flow_words import read_port

        try:
            return read_port(text)
        except ConfigError:
            if self.accept_names and text in self.names.port_numbers:
                return self.names.port_numbers[text]
        raise ConfigError(f"{self.switch.target}: no port is called {text!r}")

    def table(self, text: str) -> int:
        """The number of the table that a word of the command line means; 255 for all."""
        if text.isascii() and text.isdigit():
            if int(text) > 255:
                raise ConfigError(f"table {text} is outside 0..254, and is not 255 or ALL")
            return int(text)
        if text.upper() == "ALL":
            return 255
        if self.accept_names and text in self.names.table_numbers:
            return self.names.table_numbers[text]
        raise ConfigError(f"{self.switch.target}: no table is called {text!r}")

    def text(self, data: bytes, more: int = 0) -> str:
        """A message that came, in the verbosity asked for and `more`."""
        return format_bytes(data, self.arguments.more + more, self.ports, self.tables)


def _of_file(error: ConfigError, where: str) -> ConfigError:
    """What is wrong with a file, with its name in front."""
    if not where:
        return error
    name = "standard input" if where == "-" else where
    return ConfigError(f"{name}:{error.line}: {error.error}" if isinstance(error, LineError) else f"{name}: {error}")


def session(arguments: Namespace, least: int = 1) -> Session:
    """Connects to the switch that the command line names. `least`: the version that the command needs."""
    return Session(Switch.open(arguments.switch, arguments, least), arguments)


def changing(arguments: Namespace, least: int = 1) -> Session:
    """As `session`, to change the switch. ConfigError if that is not wanted (`--read-only`)."""
    if arguments.read_only:
        raise ConfigError("this command changes the switch, and --read-only forbids it")
    return session(arguments, least)


def entries(switch: Switch, request: Message) -> Iterator[object]:
    """What the replies to a request list. Fails with the switch's error."""
    for data in switch.ask_all(request):
        if is_error(data):
            fail([data])
        reply, _ = decode(data)
        assert isinstance(reply, MultipartReply)
        yield from reply.entries


def print_answer(found: Session, request: Message) -> None:
    """Asks, and prints what is answered, even if it is an error."""
    print_answers(found, [found.switch.ask(request)])


def print_answers(found: Session, answers: Iterable[bytes]) -> None:
    """Prints them; an error among them is printed as well, and the command has failed."""
    failed = False
    for data in answers:
        sys.stdout.write(found.text(data, 1))
        failed |= is_error(data)
    if failed:
        raise SystemExit(1)


def finish(found: Session, errors: list[bytes]) -> None:
    """The end of what changes a switch: with the first of the switch's errors, if there are some."""
    if errors:
        fail(errors, found.arguments.more)


def fail(errors: list[bytes], verbosity: int = 0) -> None:
    """Prints the switch's error on the standard error; the command has failed."""
    sys.stdout.flush()
    sys.stderr.write(format_bytes(errors[0], verbosity + 1))
    raise SystemExit(1)


def texts(name: str) -> list[str]:
    """The lines of a file, "-" being the standard input."""
    gc.disable()  # what is made of them lives as long as the command, and looking through it costs a tenth of its time
    if name == "-":
        return sys.stdin.read().splitlines()
    return Path(name).read_text(encoding="utf-8").splitlines()
