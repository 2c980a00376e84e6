"""The packet as a policy sees it: attributes that notice what is asked of them.

`packet.tcp_dst` is a `Reading`. Nothing is read yet: what is read follows from the question that is asked of it, and
from the answer. A question that needs all of a number (`int`, `hash`, arithmetic) reads all of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from typing import Self

from vswitch.base.errors import ConfigError
from vswitch.fields import EITHER, Field
from vswitch.model.match import FieldValue, field_value, field_value_and_mask
from vswitch.policy.trace import VIEWS, Trace, View

__all__ = ["Packet", "Reading"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reading:
    """A field of a packet, or some bits of one (`packet.tcp_flags & 2`). It compares as a number, with numbers and with
    texts as docs/fields.md shows them; of a packet that lacks the header nothing is true: it is equal to nothing, less
    than nothing, in nothing, and false.

    ConfigError: compared with what the field cannot be. TypeError: compared with several values, a network, bytes, or a
    float, which no value of a field is equal to; `int` and the like of a field that is not there; ask
    `present` first, which is whether the packet has the header.
    """

    __slots__ = ("_mask", "_trace", "_view", "present")

    def __init__(self, trace: Trace, view: View, mask: int, present: bool) -> None:
        self._trace = trace
        self._view = view
        self._mask = mask
        self.present = present

    # ---- questions that read as little as they can

    def __eq__(self, other: object) -> bool:
        # hot: most of what policies ask
        if not self.present:
            return False
        if type(other) is int:
            return self._trace.is_equal(self._view, self._mask, other)
        if isinstance(other, Reading):
            return other.present and self._trace.is_equal(self._view, self._mask, int(other))
        number = self._number(other)
        return number is not None and self._trace.is_equal(self._view, self._mask, number)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: FieldValue | Reading) -> bool:
        return self._is_below(other, 0)

    def __le__(self, other: FieldValue | Reading) -> bool:
        return self._is_below(other, 1)

    def __gt__(self, other: FieldValue | Reading) -> bool:
        return self.present and self._is_comparable(other) and not self._is_below(other, 1)

    def __ge__(self, other: FieldValue | Reading) -> bool:
        return self.present and self._is_comparable(other) and not self._is_below(other, 0)

    def __bool__(self) -> bool:
        return self.present and not self._trace.is_equal(self._view, self._mask, 0)

    def within(self, *networks: str | Network) -> bool:
        """Whether the value is in one of these, written as `ipaddress` objects, "10.0.0.0/8" or
        "02:00:00:00:00:00/ff:00:00:00:00:00"."""
        return self.present and any(self._is_within(each) for each in networks)

    def between(self, first: FieldValue, last: FieldValue) -> bool:
        """Whether it is `first`, `last`, or a number between the two."""
        return self.present and self >= first and self <= last

    def __and__(self, mask: int | Reading) -> Self:
        """These bits of it alone. Bits that the field does not have are zero."""
        return type(self)(self._trace, self._view, self._mask & int(mask), self.present)

    __rand__ = __and__

    # ---- for tables that know where a number lies among theirs

    @property
    def bits(self) -> int:
        """The width of the field."""
        return self._view.field.bits

    def peek(self) -> int:
        """The value, which is not read thereby: `settle` what follows from it."""
        return self._trace.peek(self._view, self._mask)

    def settle(self, begin: int, end: int) -> tuple[int, int]:
        """Read that it is in begin..end - 1, which it is. The least and the most that it can be."""
        return self._trace.settle(self._view, self._mask, begin, end)

    def _is_within(self, network: str | Network) -> bool:
        value, mask = _network(self._view.field, network)
        return value & ~self._mask == 0 and self._trace.is_equal(self._view, self._mask & mask, value)

    def _is_comparable(self, other: object) -> bool:
        return not isinstance(other, Reading) or other.present

    def _is_below(self, other: object, offset: int) -> bool:
        """Whether it is less than `other` + `offset`."""
        if not (self.present and self._is_comparable(other)):
            return False
        number = int(other) if isinstance(other, Reading) else self._number(other)
        if number is None:
            raise TypeError(f"{self._view.field.name} does not compare with {other!r}")
        bound = number + offset
        trace, view, mask = self._trace, self._view, self._mask
        below = trace.peek(view, mask) < bound
        trace.settle(view, mask, 0 if below else bound, bound if below else mask + 1)
        return below

    def _number(self, other: object) -> int | None:
        """What the other side of a comparison is as a number; None if it is nothing that this field could be."""
        if isinstance(other, int):
            return int(other)
        if isinstance(other, str | Address):
            return None if _is_of_other_version(self._view.field, other) else field_value(self._view.field, other)
        name = self._view.field.name
        if isinstance(other, Network):
            raise TypeError(f"{name} == {other!r}: a packet has one address; ask packet.{name}.within({str(other)!r})")
        if isinstance(other, Container):
            raise TypeError(f"{name} == {other!r}: a packet has one value; ask whether it is in them, or `within`")
        if isinstance(other, float):
            raise TypeError(f"{name} does not compare with {other!r}: values are whole numbers")
        return None

    # ---- questions that read all of it

    def __int__(self) -> int:
        if not self.present:
            raise TypeError(f"the packet has no {self._view.field.name}: ask `.present` before you use its value")
        return self._trace.bits(self._view, self._mask)

    __index__ = __int__

    def __hash__(self) -> int:
        self._trace.hashed += 1
        return hash(int(self)) if self.present else hash(None)

    def __str__(self) -> str:
        return self._view.field.format(int(self)) if self.present else "-"

    def __repr__(self) -> str:
        return f"<{self._view.field.name} {self}>"

    def __format__(self, specification: str) -> str:
        """As text; by what is good for numbers alone, as a number."""
        return format(int(self) if specification[-1:] in tuple("bcdoxXn") else str(self), specification)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        """What is asked of a copy is asked of it."""
        return self

    def __add__(self, other: int | Reading) -> int:
        return int(self) + int(other)

    def __sub__(self, other: int | Reading) -> int:
        return int(self) - int(other)

    def __rsub__(self, other: int) -> int:
        return other - int(self)

    def __mul__(self, other: int | Reading) -> int:
        return int(self) * int(other)

    def __floordiv__(self, other: int | Reading) -> int:
        divisor = int(other)
        if divisor > 0 and divisor & divisor - 1 == 0:
            return self >> divisor.bit_length() - 1
        return int(self) // divisor

    def __mod__(self, other: int | Reading) -> int:
        divisor = int(other)
        if divisor > 0 and divisor & divisor - 1 == 0:
            return int(self & divisor - 1)
        return int(self) % divisor

    def __divmod__(self, other: int | Reading) -> tuple[int, int]:
        return divmod(int(self), int(other))

    def __truediv__(self, other: float | Reading) -> float:
        return int(self) / (int(other) if isinstance(other, Reading) else other)

    def __pow__(self, other: int | Reading) -> int:
        return int(int(self) ** int(other))

    def __rshift__(self, count: int | Reading) -> int:
        """Reads what is left of it only."""
        places = int(count)
        return int(self & -1 << places) >> places

    def __lshift__(self, count: int | Reading) -> int:
        return int(self) << int(count)

    def __rfloordiv__(self, other: int) -> int:
        return other // int(self)

    def __rmod__(self, other: int) -> int:
        return other % int(self)

    def __rdivmod__(self, other: int) -> tuple[int, int]:
        return divmod(other, int(self))

    def __rtruediv__(self, other: float) -> float:
        return other / int(self)

    def __rpow__(self, other: int) -> int:
        return int(other ** int(self))

    def __rrshift__(self, other: int) -> int:
        return other >> int(self)

    def __rlshift__(self, other: int) -> int:
        return other << int(self)

    def __neg__(self) -> int:
        return -int(self)

    def __pos__(self) -> int:
        return int(self)

    def __invert__(self) -> int:
        return ~int(self)

    def __or__(self, other: int | Reading) -> int:
        return int(self) | int(other)

    def __xor__(self, other: int | Reading) -> int:
        return int(self) ^ int(other)

    __radd__ = __add__
    __rmul__ = __mul__
    __ror__ = __or__
    __rxor__ = __xor__

    # ---- what makes `packet.ip_dst in ipaddress.ip_network("10.0.0.0/8")` ask for the network's bits alone

    @property
    def version(self) -> int:
        """4 or 6 for an IP address; 0 for every other field, and without the header."""
        return self._view.version if self.present else 0

    @property
    def _version(self) -> int:
        return self.version

    @property
    def _ip(self) -> Self:
        return self


def _network(field: Field, network: str | Network) -> tuple[int, int]:
    """Value and mask. A network of the other IP version holds no address of this one."""
    if _is_of_other_version(field, network):
        return field.max + 1, 0
    return field_value_and_mask(field, network)


def _is_of_other_version(field: Field, written: str | Address | Network) -> bool:
    """Whether it is written as an IPv6 address or network is, and this field holds one of IPv4, or the reverse."""
    kind = field.kind.name
    return kind in ("ipv4", "ipv6") and (":" in str(written)) != (kind == "ipv6")


class Packet:
    """What a policy is given. Every field of docs/fields.md is an attribute, a `Reading`; `ip_src` and `ip_dst` are
    the addresses of IPv4 or IPv6, whichever the packet has.

    AttributeError: there is no such field.
    """

    __slots__ = ("_trace",)

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        """What is read of a copy is read of it."""
        return self

    def __getattr__(self, name: str) -> Reading:
        raise AttributeError(f"a packet has no field {name!r} (docs/fields.md lists them)")

    @property
    def frame(self) -> bytes:
        """Its bytes, Ethernet header first. An answer that follows from them holds for this packet alone."""
        return self._trace.frame

    def has(self, name: str) -> bool:
        """Whether it has the header that this field is part of. ConfigError: there is no such field."""
        if name not in VIEWS and name not in EITHER:
            raise ConfigError(f"no field is called {name!r} (docs/fields.md lists them)")
        reading: Reading = getattr(self, name)
        return reading.present


def _attribute(view: View) -> property:
    if not view.needs:
        return property(lambda packet: Reading(packet._trace, view, view.max, True), doc=view.field.doc)
    return property(lambda packet: Reading(packet._trace, view, view.max, packet._trace.has(view)), doc=view.field.doc)


def _attribute_of_either(four: str, six: str) -> property:
    def get(packet: Packet) -> Reading:
        reading: Reading = getattr(packet, four)
        return reading if reading.present else getattr(packet, six)

    return property(get, doc=f"{four} or {six}")


for _name, _view in VIEWS.items():
    setattr(Packet, _name, _attribute(_view))
for _name, _pair in EITHER.items():
    setattr(Packet, _name, _attribute_of_either(*_pair))
