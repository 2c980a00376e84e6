"""What the daemon can be asked at its control socket: the commands of its bridges, and such of its own.

A command goes to the bridges that its words name (`br0`, `vswitch@br0`); one that names none goes to all of them, if
it may do without a name. What several bridges answer stands one behind the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from vswitch.base.errors import VswitchError
from vswitch.base.version import VERSION
from vswitch.bridge.bridge import Bridge
from vswitch.control.commands import Answer, CommandError, Commands
from vswitch.host.qos import QOS_TYPES, Qos, Queue, QueueCounters

__all__ = ["DaemonCommands"]

Shaped = tuple[Qos | None, Mapping[int, QueueCounters]] | None

_OF_ONE: tuple[tuple[str, str, int, int], ...] = (
    ("ofproto/trace", "{[dp_name] odp_flow | bridge br_flow} [OPTIONS...] [-generate|packet]", 1, 16),
    ("ofproto/trace-packet-out",
     "[-consistent] {[dp_name] odp_flow | bridge br_flow} [OPTIONS...] [-generate|packet] actions", 2, 17),
    ("fdb/show", "bridge", 1, 1),
    ("fdb/add", "bridge port vlan mac", 4, 4),
    ("fdb/del", "bridge vlan mac", 3, 3),
    ("fdb/stats-show", "bridge", 1, 1),
    ("mdb/show", "bridge", 1, 1),
    ("bridge/dump-flows", "bridge", 1, 1),
    ("dpif/show-dp-features", "bridge", 1, 1),
    ("dpif/dump-flows", "[-m] [--names | --no-names] bridge", 1, 4),
)  # fmt: skip
"""Commands that name a bridge."""

_OF_ALL: tuple[tuple[str, str, int, int], ...] = (
    ("ofproto/list", "", 0, 0), ("fdb/flush", "[bridge]", 0, 1), ("fdb/stats-clear", "[bridge]", 0, 1),
    ("mdb/flush", "[bridge]", 0, 1),
    ("bridge/reconnect", "[bridge]", 0, 1), ("dpif/show", "", 0, 0), ("dpif/dump-dps", "", 0, 0),
    ("dpctl/dump-dps", "", 0, 0), ("dpctl/show", "[-s] [dp...]", 0, 4),
    ("dpctl/dump-flows", "[-m] [--names | --no-names] [dp]", 0, 4), ("upcall/show", "", 0, 0),
    ("revalidator/wait", "", 0, 0), ("revalidator/purge", "", 0, 0),
)  # fmt: skip
"""Commands that may."""

_ONCE = ("fdb/flush", "fdb/stats-clear", "mdb/flush")
"""Commands that say only that it is done."""


class DaemonCommands:
    """`bridges`: those at work, by name, when asked. `stop`: ends the daemon; whether bridges are to be removed.
    `shaped`: how the port of a name is shaped, and what its queues have counted; None: there is none."""

    def __init__(
        self, bridges: Callable[[], Mapping[str, Bridge]], stop: Callable[[bool], None], shaped: Callable[[str], Shaped]
    ) -> None:
        self._bridges = bridges
        self._stop = stop
        self._shaped = shaped
        self.commands = Commands(f"vswitch {VERSION}")
        for name, usage, least, most in _OF_ONE:
            self.commands.add(name, usage, least, most, self._asking(name, needs_name=True))
        for name, usage, least, most in _OF_ALL:
            self.commands.add(name, usage, least, most, self._asking(name, needs_name=False))
        self.commands.add("qos/show", "interface", 1, 1, self._qos)
        self.commands.add("qos/show-types", "interface", 1, 1, self._qos_types)
        self.commands.add("coverage/show", "", 0, 0, self._coverage)
        self.commands.add("coverage/read-counter", "COUNTER", 1, 1, self._read_counter)
        self.commands.add("memory/show", "", 0, 0, self._memory)
        self.commands.add("exit", "[--cleanup]", 0, 1, self._exit)

    def _asking(self, name: str, *, needs_name: bool) -> Callable[[Sequence[str]], Answer]:
        def run(words: Sequence[str]) -> Answer:
            bridges = self._bridges()
            named = [bridge for bridge in (word.removeprefix("vswitch@") for word in words) if bridge in bridges]
            if not named and (needs_name or any(not word.startswith("-") for word in words)):
                named = list(bridges)[:1]  # it says in its words what is wrong
                if not named:
                    raise CommandError("no such bridge")
            chosen = (named[:1] if needs_name else named) or list(bridges)
            answers = {bridge: bridges[bridge].ask(name, _words_for(bridge, words, chosen)) for bridge in chosen}
            if len(answers) == 1 or (answers and name in _ONCE):
                return next(iter(answers.values()))
            return _joined(answers)

        return run

    def _sums(self, name: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for bridge in self._bridges().values():
            value = bridge.ask(name, ()).value
            for key, count in (value() if value is not None else {}).items():
                sums[key] = sums.get(key, 0) + count
        return sums

    def _coverage(self, _words: Sequence[str]) -> Answer:
        sums = self._sums("coverage/show")
        lines = [f"{name:<24} total: {count}\n" for name, count in sums.items() if count]
        lines.append(f"{sum(not count for count in sums.values())} events never hit\n")
        return Answer("".join(["Event coverage:\n", *lines]), lambda: sums)

    def _read_counter(self, words: Sequence[str]) -> Answer:
        total = self._sums("coverage/show").get(words[0])
        if total is None:
            raise CommandError("No such counter")
        return Answer(f"{total}\n", lambda: total)

    def _memory(self, _words: Sequence[str]) -> Answer:
        sums = self._sums("memory/show")
        return Answer(" ".join(f"{name}:{count}" for name, count in sums.items()) + "\n", lambda: sums)

    def _find_shaped(self, name: str) -> tuple[Qos | None, Mapping[int, QueueCounters]]:
        try:
            found = self._shaped(name)
        except VswitchError as problem:
            raise CommandError(str(problem)) from None
        if found is None:
            raise CommandError("no such interface")
        return found

    def _qos(self, words: Sequence[str]) -> Answer:
        (name,) = words
        qos, counted = self._find_shaped(name)
        if qos is None:
            return Answer(f"QoS not configured on {name}\n", lambda: None)
        settings = {"max-rate": qos.max_rate_bps, **qos.settings} if qos.max_rate_bps else dict(qos.settings)
        queues = {number: _queue(queue, counted.get(number)) for number, queue in qos.queues.items()}
        parts = [f"QoS: {name} {qos.type}\n{_lines(settings)}"]
        for number, lines in queues.items():
            parts.append(f"{f'Queue {number}' if number else 'Default'}:\n{_lines(lines, 2)}")
        return Answer("\n".join(parts), lambda: {"type": qos.type, "settings": settings, "queues": queues})

    def _qos_types(self, words: Sequence[str]) -> Answer:
        self._find_shaped(words[0])
        return Answer("".join(f"QoS type: {each}\n" for each in QOS_TYPES), lambda: list(QOS_TYPES))

    def _exit(self, words: Sequence[str]) -> Answer:
        if words and words[0] != "--cleanup":
            raise CommandError(f"{words[0]}: unknown option")
        self._stop(bool(words))
        return Answer()


def _lines(values: Mapping[str, int], indent: int = 0) -> str:
    return "".join(f"{' ' * indent}{name}: {value}\n" for name, value in values.items())


def _queue(queue: Queue, counted: QueueCounters | None) -> dict[str, int]:
    priority = {"priority": queue.priority} if queue.priority else {}
    found = {"burst": queue.burst_bits, **priority, "min-rate": queue.min_rate_bps, "max-rate": queue.max_rate_bps}
    if counted is not None:
        found |= {"tx_packets": counted.packets, "tx_bytes": counted.bytes, "tx_errors": counted.errors}
    return found


def _words_for(bridge: str, words: Sequence[str], bridges: Sequence[str]) -> Sequence[str]:
    """Those of one bridge, where several are named."""
    others = set(bridges) - {bridge} if len(bridges) > 1 else ()
    return [word for word in words if word.removeprefix("vswitch@") not in others]


def _joined(answers: Mapping[str, Answer]) -> Answer:
    def parts() -> Iterator[str]:
        return chain.from_iterable(
            [each.text] if isinstance(each.text, str) else each.text for each in answers.values()
        )

    if not all(each.value is not None for each in answers.values()):
        return Answer(parts())

    def value() -> Any:
        found = {bridge: each.value() for bridge, each in answers.items() if each.value is not None}
        if all(isinstance(each, list) for each in found.values()):
            return list(chain.from_iterable(found.values()))
        return found

    return Answer(parts(), value)
