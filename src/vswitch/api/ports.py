"""`dp.ports`: the ports of a datapath, as a program sees them."""

from __future__ import annotations

from collections.abc import Iterator

from vswitch.base.errors import ConfigError
from vswitch.datapath.backend import PortStore
from vswitch.model.port import Policing, Port, PortEvent, PortKind, PortStats

__all__ = ["Ports"]


class Ports:
    """Iterate over ports, look one up by number or name, add and remove them while traffic runs.

    `ports["veth1"]` and `ports[1]` are a `Port` as it is now, NotFoundError if there is none; `in` says whether there
    is. What adds or removes raises BusyError on a datapath that was opened for reading.
    """

    def __init__(self, table: PortStore) -> None:
        self._table = table

    def __iter__(self) -> Iterator[Port]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, which: int | str) -> Port:
        return self._table.get(which)

    def __contains__(self, which: object) -> bool:
        return which in self._table

    def add(
        self,
        name: str,
        number: int | None = None,
        *,
        kind: PortKind | str = PortKind.SYSTEM,
        peer_redirect: bool = False,
    ) -> Port:
        """Make device `name` a port, under `number` (0..65534) or the lowest free one from 1 on. It is returned.

        `kind`: "system" for a device that exists, "internal" or "tap" for one to be made, which goes with the port.
        `peer_redirect`: for a veth whose other end is in another network namespace, hand packets straight to that
        end. It is faster, but they pass neither qdiscs nor captures nor counters of the near end. While the other end
        is down, or in this namespace, they go out of the near end as from any port. This follows the device's events,
        so while nobody takes them (`run`, `misses`, `events`), or until the kernel tells them, which may take it a
        second, packets for an end that has just gone down or moved are lost, and nothing counts them.

        NotFoundError: no such device; ExistsError: the device or number is a port already, or the device to be made is
        there; TableFullError: max_ports; ConfigError: it cannot be a port.
        """
        try:
            kind = PortKind(kind)
        except ValueError:
            names = ", ".join(known.value for known in PortKind)
            raise ConfigError(f"port {name!r}: kind {kind!r} is none of {names}") from None
        return self._table.add(name, number, kind, peer_redirect)

    def remove(self, which: int | str) -> Port:
        """Take the port of that number or name away, and its device if it was made for it. The port is returned as it
        was. NotFoundError if there is none."""
        return self._table.remove(which)

    def set_policing(self, which: int | str, policing: Policing) -> None:
        """Bound what comes in by the port of that number or name, in bits and in packets; `Policing()` for no bound. It
        lasts as long as the port, whether or not a process runs. NotFoundError if there is no such port."""
        self._table.set_policing(which, policing)

    def stats(self, which: int | str) -> PortStats:
        """What the port of that number or name has counted since it was added. NotFoundError if there is none."""
        return self._table.stats(which)

    def events(self) -> list[PortEvent]:
        """What happened to devices of ports since the last call. `run` and `misses` follow events by themselves."""
        return self._table.events()

    def names(self) -> dict[int, str]:
        """Number -> name, of all ports: what `format_match` and its like take."""
        return {port.number: port.name for port in self}

    def numbers(self) -> dict[str, int]:
        """Name -> number, of all ports: what `parse_match` and its like take."""
        return {port.name: port.number for port in self}
