"""How many new flows a program lets itself be asked about: token buckets, one for each value of some fields.

Invariant: there are at most MAX_SOURCES buckets of one limit; who was not heard of for longest is forgotten, which
gives it a full bucket again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import product

from vswitch.base.errors import ConfigError
from vswitch.fields import EITHER, FIELDS
from vswitch.model.match import Key, field_value_and_mask

__all__ = ["NewFlowLimits", "mask_of"]

_BY_PORT = FIELDS["in_port"].mask

MAX_SOURCES = 65536
"""Sources that one limit knows at a time: some 10 MB."""

MAX_LIMITS = 16
"""Limits at a time: each is looked at for each new flow."""

MIN_RATE, MAX_RATE = 0.001, 10_000_000
"""New flows a second: from one in a quarter of an hour to more than come up. Also the largest burst."""


def mask_of(names: Iterable[str]) -> int:
    """The bits of the key that are these fields, or parts of them, "ipv4_src/24", "udp_dst/0xff00"; "ip_src" and
    "ip_dst" are the addresses of IPv4 or IPv6. ConfigError: there is no such field, or it has no such mask."""
    if isinstance(names, str):
        raise ConfigError(f"fields {names!r} is one text, not several names of fields")
    mask = 0
    for each in names:
        name, slash, bits = each.partition("/")
        for one in EITHER.get(name, (name,)):
            field = FIELDS.get(one)
            if field is None:
                raise ConfigError(f"there is no field {name!r}")
            own = field_value_and_mask(field, f"{field.format(0)}/{bits}")[1] if slash else field.max
            mask |= field.place(own)
    return mask


Needed = tuple[tuple[str, ...], ...]


def _needed(names: Iterable[str]) -> Needed:
    """Of each field that a packet may lack, its names: it has to have one of these. ConfigError: no packet has."""
    parts = sorted({each.partition("/")[0] for each in names})
    needed = tuple(several for name in parts if FIELDS[(several := EITHER.get(name, (name,)))[0]].prerequisites)
    if not any(map(_is_possible, product(*needed))):
        raise ConfigError(f"no packet has all of {', '.join(parts)}")
    return needed


def _is_possible(names: tuple[str, ...]) -> bool:
    """Whether some packet has all of these fields."""
    allowed: dict[str, set[int]] = {}
    pending = list(names)
    while pending:
        for need, values in FIELDS[pending.pop()].prerequisites:
            allowed[need] = allowed.get(need, set(values)) & set(values)
            pending.append(need)
    return all(allowed.values())


def _meant(by: Iterable[str]) -> tuple[int, Needed]:
    """The bits that tell packets apart, and what they need to have. ConfigError."""
    names = by if isinstance(by, str) else tuple(by)  # a text is refused by `mask_of`
    return mask_of(names), _needed(names)


class _Limit:
    """A bucket is the time at which it will be full: one number, as in GCRA."""

    def __init__(self, mask: int, needed: Needed, cost_ns: int, burst_ns: int) -> None:
        self.mask = mask
        self.needed = needed
        self.cost_ns = cost_ns
        self.burst_ns = burst_ns
        self.full_at_ns: OrderedDict[int, int] = OrderedDict()

    def allow(self, key: int, now_ns: int) -> bool:
        """Whether a token was there; it is taken. A packet that lacks one of the fields is not meant."""
        if self.needed and not all(any(map(Key(key).has, names)) for names in self.needed):
            return True
        source = key & self.mask
        full_at_ns = max(self.full_at_ns.pop(source, now_ns), now_ns) + self.cost_ns
        fits = full_at_ns <= now_ns + self.burst_ns
        self.full_at_ns[source] = full_at_ns if fits else full_at_ns - self.cost_ns
        if len(self.full_at_ns) > MAX_SOURCES:
            self.full_at_ns.popitem(last=False)
        return fits


class NewFlowLimits:
    """All that a program has set. False if Python has none to look at: what is bounded by port alone the kernel sees
    to (`of_ports`: the cost and the burst, in ns)."""

    def __init__(self) -> None:
        self._limits: list[_Limit] = []
        self.of_ports = (0, 0)

    def __bool__(self) -> bool:
        return bool(self._limits)

    def set(self, per_s: float, burst: int | None, by: Iterable[str]) -> None:
        """One for each value of the fields `by`, in the place of an earlier one by the same. ConfigError."""
        if not isinstance(per_s, int | float) or not MIN_RATE <= per_s <= MAX_RATE:
            raise ConfigError(f"{per_s!r} new flows a second is outside {MIN_RATE}..{MAX_RATE}")
        tokens = max(round(per_s), 1) if burst is None else burst
        if not isinstance(tokens, int) or not 1 <= tokens <= MAX_RATE:
            raise ConfigError(f"a burst of {burst!r} new flows is outside 1..{MAX_RATE}")
        cost_ns = round(1e9 / per_s)
        mask, needed = _meant(by)
        if mask == _BY_PORT:
            self.of_ports = (cost_ns, cost_ns * tokens)
            return
        kept = self._others(mask, needed)
        if len(kept) >= MAX_LIMITS:
            raise ConfigError(f"there are {len(kept)} limits of new flows already, the most that there may be")
        self._limits = [*kept, _Limit(mask, needed, cost_ns, cost_ns * tokens)]

    def _others(self, mask: int, needed: Needed) -> list[_Limit]:
        """Those by other fields. Fields of different packets may be the same bits."""
        return [limit for limit in self._limits if (limit.mask, limit.needed) != (mask, needed)]

    def remove(self, by: Iterable[str]) -> None:
        """Take one away. ConfigError: there is none by these fields."""
        mask, needed = _meant(by)
        kept = self._others(mask, needed)
        if mask == _BY_PORT and self.of_ports[0]:
            self.of_ports = (0, 0)
        elif len(kept) == len(self._limits):
            raise ConfigError(f"there is no limit of new flows by {by!r}")
        self._limits = kept

    def allow(self, key: int, now_ns: int) -> bool:
        """Whether one more new flow, of a packet with this key, may be. It counts for all limits that have room for it,
        up to the first that has not."""
        return all(limit.allow(key, now_ns) for limit in self._limits)
