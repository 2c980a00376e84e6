"""What is set for the whole switch beside its tables: mirrors and multicast snooping.

What is set names ports (`Mirror`, `McastSnooping`), what translation looks at has their numbers (`PlacedMirror`,
`Snooping`): `placed` and `snooping` make one of the other. All are frozen values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vswitch.base.errors import ConfigError

__all__ = ["MAX_MIRRORS", "McastSnooping", "Mirror", "PlacedMirror", "Snooping", "placed", "snooping"]

MAX_MIRRORS = 32
"""Of a bridge, as Open vSwitch has it."""
MAX_VLAN = 4095
MIN_SNAPLEN, MAX_SNAPLEN = 14, 65535
MAX_GROUPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Mirror:
    """Packets that are copied, in the words of Open vSwitch's Mirror table. Those are selected that come in by a port
    of `select_src_port`, or go out by one of `select_dst_port`, or, with `select_all`, all; of these, if there are any
    `select_vlan`, those of these VLANs alone. A copy goes to `output_port`, on which nothing else goes out or comes in
    by NORMAL, or to all ports of `output_vlan`. `snaplen`: so many bytes of it at most, 0: all.

    ConfigError: there is not one of both outputs, or a number is outside of its bounds."""

    name: str
    select_all: bool = False
    select_src_port: frozenset[str] = frozenset()
    select_dst_port: frozenset[str] = frozenset()
    select_vlan: frozenset[int] = frozenset()
    output_port: str | None = None
    output_vlan: int | None = None
    snaplen: int = 0

    def __post_init__(self) -> None:
        if (self.output_port is None) == (self.output_vlan is None):
            raise ConfigError(f"mirror {self.name}: it needs either an output port or an output VLAN")
        if self.output_vlan is not None and not 1 <= self.output_vlan <= MAX_VLAN:
            raise ConfigError(f"mirror {self.name}: output VLAN {self.output_vlan} is outside 1..{MAX_VLAN}")
        for vlan in self.select_vlan:
            if not 0 <= vlan <= MAX_VLAN:
                raise ConfigError(f"mirror {self.name}: selected VLAN {vlan} is outside 0..{MAX_VLAN}")
        if self.snaplen and not MIN_SNAPLEN <= self.snaplen <= MAX_SNAPLEN:
            raise ConfigError(
                f"mirror {self.name}: snaplen {self.snaplen} is outside {MIN_SNAPLEN}..{MAX_SNAPLEN}, and not 0"
            )


@dataclass(frozen=True, slots=True)
class McastSnooping:
    """Multicast snooping. `flood_unregistered`: packets to groups that nobody has asked for go everywhere.
    `flood_ports`: ports that get all multicast, `flood_reports_ports`: ports that get all reports. `age_s`: of groups
    and routers; `max_groups`: as many are kept."""

    flood_unregistered: bool = True
    flood_ports: frozenset[str] = frozenset()
    flood_reports_ports: frozenset[str] = frozenset()
    age_s: int = 300
    max_groups: int = 2048

    def __post_init__(self) -> None:
        if not 1 <= self.age_s <= 3600:
            raise ConfigError(f"mcast-snooping-aging-time {self.age_s} is outside 1..3600")
        if not 1 <= self.max_groups <= MAX_GROUPS:
            raise ConfigError(f"mcast-snooping-table-size {self.max_groups} is outside 1..{MAX_GROUPS}")


@dataclass(frozen=True, slots=True)
class PlacedMirror:
    """A `Mirror` with the numbers of ports. `sources`, `destinations`: None means all ports. `output`: a port, None if
    it goes to `output_vlan`."""

    name: str
    sources: frozenset[int] | None
    destinations: frozenset[int] | None
    vlans: frozenset[int]
    output: int | None
    output_vlan: int | None = None
    snaplen: int = 0

    @property
    def ports(self) -> frozenset[int] | None:
        """Those that packets depend on it by; None: all."""
        if self.sources is None or self.destinations is None:
            return None
        own = frozenset() if self.output is None else frozenset((self.output,))
        return self.sources | self.destinations | own


@dataclass(frozen=True, slots=True)
class Snooping:
    """A `McastSnooping` with the numbers of ports."""

    flood_unregistered: bool = True
    flood_ports: frozenset[int] = frozenset()
    flood_reports_ports: frozenset[int] = frozenset()


def placed(mirrors: Iterable[Mirror], numbers: Mapping[str, int]) -> tuple[PlacedMirror, ...]:
    """These mirrors with the numbers of ports; without those whose output port is not there."""
    found = []
    for each in mirrors:
        output = None if each.output_port is None else numbers.get(each.output_port)
        if output is None and each.output_vlan is None:
            continue
        sources = None if each.select_all else _numbers(each.select_src_port, numbers)
        destinations = None if each.select_all else _numbers(each.select_dst_port, numbers)
        found.append(
            PlacedMirror(each.name, sources, destinations, each.select_vlan, output, each.output_vlan, each.snaplen)
        )
    return tuple(found)


def snooping(wanted: McastSnooping | None, numbers: Mapping[str, int]) -> Snooping | None:
    """The same of multicast snooping."""
    if wanted is None:
        return None
    return Snooping(
        wanted.flood_unregistered,
        _numbers(wanted.flood_ports, numbers),
        _numbers(wanted.flood_reports_ports, numbers),
    )


def _numbers(names: Iterable[str], numbers: Mapping[str, int]) -> frozenset[int]:
    return frozenset(numbers[name] for name in names if name in numbers)
