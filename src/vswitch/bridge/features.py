"""Mirrors, multicast snooping and the like, as they are set while the bridge runs, by the names of ports.

Here is what is wanted, whether its ports are there or not; `apply` makes what translation looks at of it, for the ports
that there are. What mirrors have copied is counted here, and what multicast snooping reads of packets is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from vswitch.base.errors import ConfigError
from vswitch.ofproto.membership import read_membership
from vswitch.ofproto.places import IN_PORT
from vswitch.ofproto.settings import MAX_MIRRORS, McastSnooping, Mirror, placed, snooping
from vswitch.ofproto.snooping import McastTable, MulticastGroup
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Config, Dependency

if TYPE_CHECKING:
    from vswitch.bridge.handler import PacketForControllers
    from vswitch.bridge.options import BridgeOptions
    from vswitch.bridge.packet_outs import PacketOuts
    from vswitch.bridge.revalidation import Revalidator
    from vswitch.bridge.view import BridgeView

__all__ = ["Features", "MirrorStats", "mirrors_changed"]


class MirrorStats(NamedTuple):
    """What a mirror has copied."""

    tx_packets: int
    tx_bytes: int


class Features:
    """What is set. `mirrors` are in their order; of `snooped`, packets that were read, `odd` said nothing."""

    def __init__(self, options: BridgeOptions, view: BridgeView, now_ns: Callable[[], int]) -> None:
        self._view = view
        self._now_ns = now_ns
        self.mirrors: tuple[Mirror, ...] = ()
        self.snooping: McastSnooping | None = None
        self.protected = options.protected
        self.forward_bpdu = options.forward_bpdu
        self.flood_vlans = options.flood_vlans
        self._copied: dict[str, list[int]] = {}
        self.snooped = self.odd = 0
        self.set_mirrors(options.mirrors)
        self.set_snooping(options.mcast_snooping)

    @property
    def table(self) -> McastTable:
        """Who wants which group."""
        return self._view.mcast

    def apply(self, config: Config, numbers: Mapping[str, int]) -> Config:
        """`config` with these features, for the ports of these names and numbers."""
        return replace(
            config,
            mirrors=placed(self.mirrors, numbers),
            snooping=snooping(self.snooping, numbers),
            protected=frozenset(numbers[name] for name in self.protected if name in numbers),
            forward_bpdu=self.forward_bpdu,
            flood_vlans=self.flood_vlans,
        )

    def stats(self) -> dict[str, int]:
        """What is known of groups, and what was read."""
        table = self.table
        return {
            "current": len(table), "maximum": table.limit, "learned": table.learned, "expired": table.expired,
            "evicted": table.evicted, "read": self.snooped, "not_understood": self.odd,
        }  # fmt: skip

    # ---- mirrors

    def set_mirrors(self, mirrors: Iterable[Mirror]) -> None:
        """These from now on; those that there were under the same name count on. ConfigError: they are too many, or two
        have one name."""
        wanted = tuple(mirrors)
        names = [each.name for each in wanted]
        if len(names) > MAX_MIRRORS:
            raise ConfigError(f"{len(names)} mirrors exceed the {MAX_MIRRORS} that a bridge may have")
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two mirrors have the name {name}")
        self.mirrors = wanted
        self._copied = {name: self._copied.get(name, [0, 0]) for name in names}

    def credit(self, names: Iterable[str], packets: int, size: int) -> None:
        """So many packets were copied by these."""
        for name in names:
            copied = self._copied.get(name)
            if copied is not None:
                copied[0] += packets
                copied[1] += size

    def mirror_stats(self) -> dict[str, MirrorStats]:
        """What each mirror has copied."""
        return {name: MirrorStats(*copied) for name, copied in self._copied.items()}

    # ---- multicast

    def set_snooping(self, wanted: McastSnooping | None) -> set[Dependency]:
        """So from now on. What answers may have depended on, and that is another now."""
        self.snooping = wanted
        if wanted is None:
            return self.table.flush()
        return self.table.resize(wanted.max_groups, wanted.age_s * 10**9)

    def groups(self) -> list[MulticastGroup]:
        """What is known of groups and routers."""
        return self.table.entries(self._now_ns())

    def read(self, told: PacketForControllers, packet_outs: PacketOuts, revalidator: Revalidator) -> None:
        """A host or a router has said something of groups: learn of it, and send it on."""
        send = told.send
        assert send.snoop is not None
        self.snooped += 1
        said = read_membership(told.frame)
        self.odd += said.kind == "other"
        now_ns = self._now_ns()
        port = IN_PORT.take(told.key)
        if self.snooping is not None and self._view.ports.get(port) is not None:
            changed = self.table.hear(said, send.snoop, port, now_ns)
            if changed:
                revalidator.note_parts(changed)
        translation = translate(self._view, told.key, told.frame, now_ns, resume=send.pause, snooped=said.kind)
        packet_outs.send_translated(told.frame, told.key, translation)


def mirrors_changed(before: Config, after: Config) -> set[Dependency] | None:
    """What answers depended on, and that is another with these mirrors; None: all may have."""
    changed = set(before.mirrors) ^ set(after.mirrors)
    parts: set[Dependency] = {ANY_PORT_CHANGE}
    for each in changed:
        ports = each.ports
        if ports is None:
            return None
        parts |= {("port", number) for number in ports}
    return parts
