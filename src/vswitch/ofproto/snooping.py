"""Multicast snooping: which ports want packets to which group, and behind which there is a router that wants all.

Hosts and routers say so (`membership`), and have to say it again: what was not heard of for its time is forgotten. The
table is bounded: when it is full, the port that is in most groups loses the one that it has not been heard of for
longest, so that one that makes groups up can only push out its own.

Invariant: no group is without a port, and the groups of `_of_port` are those of `_groups`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from vswitch.ofproto.membership import Membership

if TYPE_CHECKING:
    from vswitch.ofproto.translation import Dependency

__all__ = ["MAX_ROUTERS", "McastTable", "MulticastGroup"]

MAX_ROUTERS = 4096
"""(VLAN, port) of routers."""


class MulticastGroup(NamedTuple):
    """A port that wants a group in a VLAN; `group` is None for one behind which there is a router. `age_s`: since it
    was heard of last."""

    vlan: int
    group: int | None
    port: int
    age_s: int


class McastTable:
    """Ports by (vlan, group), and routers by VLAN. `evicted`: how many were pushed out for want of room."""

    def __init__(self, limit: int = 2048, age_ns: int = 300 * 10**9) -> None:
        self.limit = limit
        self.age_ns = age_ns
        self._groups: dict[tuple[int, int], dict[int, int]] = {}
        self._of_port: dict[int, OrderedDict[tuple[int, int], None]] = {}
        self._routers: OrderedDict[tuple[int, int], int] = OrderedDict()
        self.learned = self.expired = self.evicted = 0

    def __len__(self) -> int:
        return len(self._groups)

    def ports(self, vlan: int, group: int) -> frozenset[int] | None:
        """Those that want the group; None: nobody has asked for it."""
        found = self._groups.get((vlan, group))
        return None if found is None else frozenset(found)

    def routers(self, vlan: int) -> frozenset[int]:
        """Ports behind which there are routers."""
        return frozenset(port for of_vlan, port in self._routers if of_vlan == vlan)

    def entries(self, now_ns: int) -> list[MulticastGroup]:
        """All that is known, routers last."""
        found = [
            MulticastGroup(vlan, group, port, (now_ns - seen_ns) // 10**9)
            for (vlan, group), ports in self._groups.items()
            for port, seen_ns in ports.items()
        ]
        found += [
            MulticastGroup(vlan, None, port, (now_ns - seen_ns) // 10**9)
            for (vlan, port), seen_ns in self._routers.items()
        ]
        return found

    def hear(self, said: Membership, vlan: int, port: int, now_ns: int) -> set[Dependency]:
        """Somebody at this port has said this. What answers may have depended on, and that is another now."""
        changed: set[Dependency] = set()
        if said.router:
            changed |= self._router(vlan, port, now_ns)
        joins = () if (vlan, port) in self._routers else said.joins  # a router gets all groups as it is
        for group in joins:
            changed |= self._join(vlan, group, port, now_ns)
        for group in said.leaves:
            changed |= self._leave((vlan, group), port)
        return changed

    def expire(self, now_ns: int) -> set[Dependency]:
        """Forget what was not heard of for `age_ns`."""
        until = now_ns - self.age_ns
        old = [(where, port) for where, ports in self._groups.items() for port, ns in ports.items() if ns <= until]
        changed: set[Dependency] = set()
        for where, port in old:
            changed |= self._leave(where, port)
        routers = [where for where, seen_ns in self._routers.items() if seen_ns <= until]
        for vlan, port in routers:
            del self._routers[vlan, port]
            changed.add(("mrouter", vlan))
        self.expired += len(old)
        return changed

    def flush(self, port: int | None = None) -> set[Dependency]:
        """Forget all, or all of one port."""
        changed: set[Dependency] = set()
        for number in [port] if port is not None else list(self._of_port):
            for where in list(self._of_port.get(number, ())):
                changed |= self._leave(where, number)
        for vlan, number in [where for where in self._routers if port is None or where[1] == port]:
            del self._routers[vlan, number]
            changed.add(("mrouter", vlan))
        return changed

    def resize(self, limit: int, age_ns: int) -> set[Dependency]:
        """Other bounds from now on."""
        self.limit, self.age_ns = limit, age_ns
        changed: set[Dependency] = set()
        while len(self._groups) > limit:
            changed |= self._evict()
        return changed

    def _join(self, vlan: int, group: int, port: int, now_ns: int) -> set[Dependency]:
        where = vlan, group
        ports = self._groups.get(where)
        changed: set[Dependency] = set()
        if ports is None:
            while len(self._groups) >= self.limit:
                changed |= self._evict()
            ports = self._groups[where] = {}
            self.learned += 1
        if port not in ports:
            changed.add(("mcast", vlan, group))
        ports[port] = now_ns
        of_port = self._of_port.setdefault(port, OrderedDict())
        of_port[where] = None
        of_port.move_to_end(where)
        return changed

    def _leave(self, where: tuple[int, int], port: int) -> set[Dependency]:
        ports = self._groups.get(where)
        if ports is None or port not in ports:
            return set()
        del ports[port]
        if not ports:
            del self._groups[where]
        of_port = self._of_port[port]
        del of_port[where]
        if not of_port:
            del self._of_port[port]
        return {("mcast", *where)}

    def _router(self, vlan: int, port: int, now_ns: int) -> set[Dependency]:
        known = (vlan, port) in self._routers
        self._routers[vlan, port] = now_ns
        self._routers.move_to_end((vlan, port))
        if known:
            return set()
        changed: set[Dependency] = {("mrouter", vlan)}
        if len(self._routers) > MAX_ROUTERS:
            (gone, _), _ = self._routers.popitem(last=False)
            changed.add(("mrouter", gone))
            self.evicted += 1
        return changed

    def _evict(self) -> set[Dependency]:
        """Of the port that is in most groups, the one that it was not heard of for longest."""
        port = max(self._of_port, key=lambda number: len(self._of_port[number]))
        self.evicted += 1
        return self._leave(next(iter(self._of_port[port])), port)
