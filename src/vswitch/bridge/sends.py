"""What a userspace action in the datapath stands for: packets for controllers, by a number that the action carries.

A translation numbers what it sends to controllers by its own list. Here each gets a number of the whole bridge; equal
ones share it, for as long as a megaflow has it. The number is all that comes up with a packet.

Invariant: a number stands for the same as long as a megaflow with it is in the datapath, and `LINGER` numbers longer:
packets that it sent may still be under way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic_ns
from typing import TYPE_CHECKING

from vswitch.model.actions import Action, CheckPacketLength, Clone, DecTtl, Meter, Sample, Userspace

if TYPE_CHECKING:
    from vswitch.ofproto.translation import ControllerSend

__all__ = ["Sends", "rewritten"]

MOST = 1 << 17
"""Numbers at a time: some for each megaflow that there may be."""

_FIRST = (1 << 30) - 1
_NUMBERS = 1 << 32

LINGER = 1024
"""Numbers that nobody has any more are kept until so many others were given back."""


class Sends:
    """Numbers, and what they stand for."""

    def __init__(self) -> None:
        self._by_number: dict[int, ControllerSend] = {}
        self._numbers: dict[ControllerSend, int] = {}
        self._uses: dict[int, int] = {}
        self._gone: OrderedDict[int, None] = OrderedDict()  # those that nobody has, the one longest so first
        self._last = monotonic_ns() // 1000 & _FIRST  # others than those that an earlier process gave
        self.unknown = 0  # packets that came up with a number that stands for nothing

    def __len__(self) -> int:
        return len(self._by_number)

    def acquire(self, sends: Sequence[ControllerSend]) -> tuple[int, ...] | None:
        """Their numbers, until `release`; None: there are too many."""
        if len(self._by_number) + len(sends) > MOST:
            return None
        numbers = []
        for each in sends:
            number = self._numbers.get(each)
            if number is None:
                number = self._last = self._next()
                self._numbers[each] = number
                self._by_number[number] = each
            self._gone.pop(number, None)
            self._uses[number] = self._uses.get(number, 0) + 1
            numbers.append(number)
        return tuple(numbers)

    def _next(self) -> int:
        number = self._last
        while True:
            number = (number + 1) % _NUMBERS
            if number not in self._by_number:
                return number

    def release(self, numbers: Sequence[int]) -> None:
        """A megaflow that had these is gone."""
        for number in numbers:
            self._uses[number] -= 1
            if not self._uses[number]:
                self._gone[number] = None
        while len(self._gone) > LINGER:
            number, _ = self._gone.popitem(last=False)
            del self._uses[number]
            del self._numbers[self._by_number.pop(number)]

    def get(self, userdata: bytes) -> ControllerSend | None:
        """What a packet that came up with this is sent for; None: nobody knows, or no longer."""
        found = self._by_number.get(int.from_bytes(userdata, "big"))
        if found is None:
            self.unknown += 1
        return found


def rewritten(actions: tuple[Action, ...], change: Callable[[Action], Action]) -> tuple[Action, ...]:
    """The actions with `change` made to each userspace and meter action among them, nested ones included."""
    found: list[Action] = []
    for action in actions:
        if isinstance(action, Userspace | Meter):
            found.append(change(action))
        elif isinstance(action, Clone | Sample):
            found.append(replace(action, actions=rewritten(action.actions, change)))
        elif isinstance(action, CheckPacketLength):
            greater, less_equal = rewritten(action.greater, change), rewritten(action.less_equal, change)
            found.append(replace(action, greater=greater, less_equal=less_equal))
        elif isinstance(action, DecTtl):
            found.append(replace(action, exceeded=rewritten(action.exceeded, change)))
        else:
            found.append(action)
    return tuple(found)
