"""NORMAL: forwarding as a switch does that learns addresses, for each VLAN on its own.

`MacTable` knows where addresses were seen. It is bounded: when it is full, the port that has most addresses in it loses
the one that it has not been heard of for longest, so that a port that makes addresses up can only push out its own.

In the datapath a packet is of a VLAN by its tag; ports may carry a VLAN without a tag (`PortVlan`), in which case the
tag is taken off or put on (`tagging`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from vswitch.base.errors import ConfigError
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.registry import SLOTS
from vswitch.messages.ports import PortConfig
from vswitch.ofproto.multicast import snooped
from vswitch.ofproto.places import IN_PORT
from vswitch.ofproto.tagging import PLAIN, note, reaches, send, vlan_of
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Effect, MacLearned

if TYPE_CHECKING:
    from vswitch.ofproto.run import Run

__all__ = ["MAC_AGE_NS", "MAX_MACS", "MacEntry", "MacTable", "normal"]

MAC_AGE_NS = 300 * 1_000_000_000
"""IEEE 802.1Q clause 8.8.3: the ageing time that is recommended."""
MAX_MACS = 8192

_ETH_SRC, _ETH_DST = SLOTS["eth_src"], SLOTS["eth_dst"]
_MULTICAST = _ETH_DST.place(0x0100_0000_0000)
_RESERVED, _RESERVED_MASK = 0x0180C2000000, 0xFFFFFFFFFFF0
_FIRST_RESERVED, _LOCAL = 0xFFFFFF00, OPENFLOW_PORTS["LOCAL"]


class MacEntry:
    """Where an address was seen last. `static`: it neither ages nor moves."""

    __slots__ = ("mac", "port", "static", "used_ns", "vlan")

    def __init__(self, vlan: int, mac: int, port: int, used_ns: int, *, static: bool = False) -> None:
        self.vlan = vlan
        self.mac = mac
        self.port = port
        self.used_ns = used_ns
        self.static = static


class MacTable:
    """Addresses by (vlan, mac). `evicted`, `moved`: how many were pushed out for want of room, how many came by another
    port than before."""

    def __init__(self, limit: int = MAX_MACS, age_ns: int = MAC_AGE_NS) -> None:
        if limit < 1:
            raise ConfigError(f"limit of the MAC table {limit} is below 1")
        self.limit = limit
        self.age_ns = age_ns
        self._entries: dict[tuple[int, int], MacEntry] = {}
        self._of_port: dict[int, OrderedDict[tuple[int, int], MacEntry]] = {}
        self.learned = self.evicted = self.moved = self.expired = 0

    def lookup(self, vlan: int, mac: int) -> int | None:
        """The port that this address was seen at, None if it was not."""
        entry = self._entries.get((vlan, mac))
        return None if entry is None else entry.port

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[MacEntry]:
        """All of them."""
        return list(self._entries.values())

    def learn(self, seen: MacLearned, now_ns: int) -> list[tuple[int, int]]:
        """An address was seen. Returns the (vlan, mac) for which `lookup` answers something else than before."""
        # hot: once per packet that is translated by NORMAL, and per used megaflow
        where = seen.vlan, seen.mac
        entry = self._entries.get(where)
        if entry is not None:
            if entry.static:
                return []
            entry.used_ns = max(entry.used_ns, now_ns)
            if entry.port == seen.port:
                self._of_port[entry.port].move_to_end(where)
                return []
            self._drop(where)
            self.moved += 1
        changed = [where]
        if len(self._entries) >= self.limit:
            changed.append(self._evict())
        self._put(MacEntry(seen.vlan, seen.mac, seen.port, now_ns))
        self.learned += 1
        return changed

    def add_static(self, seen: MacLearned, now_ns: int) -> list[tuple[int, int]]:
        """It is there, and stays. As `learn`."""
        where = seen.vlan, seen.mac
        self._drop(where)
        changed = [where]
        if len(self._entries) >= self.limit:
            changed.append(self._evict())
        self._put(MacEntry(seen.vlan, seen.mac, seen.port, now_ns, static=True))
        return changed

    def remove_static(self, vlan: int, mac: int) -> list[tuple[int, int]]:
        """It is there no more, if it was put there by `add_static`. As `learn`."""
        entry = self._entries.get((vlan, mac))
        if entry is None or not entry.static:
            return []
        self._drop((vlan, mac))
        return [(vlan, mac)]

    def resize(self, limit: int, age_ns: int) -> list[tuple[int, int]]:
        """Know so many addresses at most, and each for so long. Returns what was forgotten for that."""
        if limit < 1:
            raise ConfigError(f"limit of the MAC table {limit} is below 1")
        self.limit, self.age_ns = limit, age_ns
        return [self._evict() for _ in range(len(self._entries) - limit)]

    def clear_statistics(self) -> None:
        """Count anew."""
        self.learned = self.evicted = self.moved = self.expired = 0

    def expire(self, now_ns: int) -> list[tuple[int, int]]:
        """Forget what was not seen for `age_ns`. Returns what was forgotten."""
        old = []
        for entries in self._of_port.values():
            for where, entry in entries.items():
                if entry.used_ns + self.age_ns > now_ns:
                    break
                if not entry.static:
                    old.append(where)
        for where in old:
            self._drop(where)
        self.expired += len(old)
        return old

    def flush(self, port: int | None = None) -> list[tuple[int, int]]:
        """Forget all, or all of one port. Returns what was forgotten."""
        gone = [
            where for where, entry in self._entries.items() if not entry.static and (port is None or entry.port == port)
        ]
        for where in gone:
            self._drop(where)
        return gone

    def _put(self, entry: MacEntry) -> None:
        where = entry.vlan, entry.mac
        self._entries[where] = entry
        self._of_port.setdefault(entry.port, OrderedDict())[where] = entry

    def _drop(self, where: tuple[int, int]) -> None:
        entry = self._entries.pop(where, None)
        if entry is not None:
            of_port = self._of_port[entry.port]
            del of_port[where]
            if not of_port:
                del self._of_port[entry.port]

    def _evict(self) -> tuple[int, int]:
        """Of the port that has most, the oldest."""
        most = max(self._of_port.values(), key=len)
        where = next((each for each, entry in most.items() if not entry.static), next(iter(most)))
        self._drop(where)
        self.evicted += 1
        return where


def normal(run: Run) -> None:
    """Learn where the packet came from, and send it where its destination was seen, or everywhere."""
    packet = run.packet
    config = run.view.config
    in_port = IN_PORT.take(packet.key)
    own = config.vlans.get(in_port, PLAIN)
    vlan = vlan_of(run, own)
    if vlan is None:
        return
    destination = _ETH_DST.take(packet.key)
    if not config.forward_bpdu:
        packet.consult(_ETH_DST.place(_RESERVED_MASK))
        if destination & _RESERVED_MASK == _RESERVED:
            note(run, "-> reserved address, dropping")
            return
    learned = _learn(run, vlan, in_port)
    packet.consult(_MULTICAST)
    if not destination & 0x0100_0000_0000 and vlan not in config.flood_vlans:
        packet.consult(_ETH_DST.mask)
        run.depends.add(("mac", vlan, destination))
        if destination == learned:
            port: int | None = in_port
        else:
            port = run.view.macs.lookup(vlan, destination)
            run.places.append((vlan, destination, port))
        if port is not None:
            _forward(run, vlan, in_port, port)
            return
        note(run, "-> no learned MAC for destination, flooding")
    elif config.snooping is not None and destination & 0x0100_0000_0000 and snooped(run, vlan, in_port, own):
        return
    else:
        note(run, "-> multicast, flooding" if destination & 0x0100_0000_0000 else "-> VLAN without learning, flooding")
    run.depends.add(ANY_PORT_CHANGE)
    flooded = [
        port.number
        for port in run.view.ports
        if port.number != in_port and not port.config & PortConfig.NO_FLOOD and reaches(run, in_port, port.number, vlan)
    ]
    send(run, vlan, flooded, own)


def _learn(run: Run, vlan: int, in_port: int) -> int | None:
    """Returns the address that is learned. Not from what no port has sent, nor in a group."""
    packet = run.packet
    source = _ETH_SRC.take(packet.consult(_ETH_SRC.mask))
    if source & 0x0100_0000_0000 or run.stage.kind == "group" or vlan in run.view.config.flood_vlans:
        return None
    if in_port >= _FIRST_RESERVED and in_port != _LOCAL:
        return None
    seen: Effect = MacLearned(vlan, source, in_port)
    if seen not in run.effects:
        run.effects.append(seen)
    run.depends.add(("mac", vlan, source))
    return source


def _forward(run: Run, vlan: int, in_port: int, port: int) -> None:
    run.depends.add(("port", port))
    if port == in_port:
        note(run, "-> learned port is input port, dropping")
    elif not reaches(run, in_port, port, vlan):
        note(run, "-> learned port does not forward this, dropping")
    else:
        note(run, "-> forwarding to learned port")
        send(run, vlan, [port], run.view.config.vlans.get(in_port, PLAIN))
