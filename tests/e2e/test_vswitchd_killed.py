"""A daemon that is killed at random moments of a random workload: the next one makes what the database says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.datapaths import command
from tests.lab import Lab
from tests.vswitchd import Daemon, add_bridge, add_port, change, mapping
from vswitch import Datapath
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.datapath.ebpf.state import hidden_name

PORTS: list[tuple[str, str, dict[str, Any]]] = [
    ("e0", "", {}), ("e1", "", {}), ("e2", "", {}), ("i0", "internal", {}), ("i1", "internal", {"mtu_request": 1400}),
    ("t0", "tap", {}), ("x0", "patch", {"peer": "x1"}), ("x1", "patch", {"peer": "x0"}), ("missing", "", {}),
]  # fmt: skip
LOCAL = 65534


class Workload:
    """Operations that may be asked for, whatever is there."""

    def __init__(self, daemon: Daemon, name: str, seed: int) -> None:
        self.daemon = daemon
        self.bridges = [name + letter for letter in "abc"]
        self.random = random.Random(seed)

    def step(self) -> None:
        """One transaction, of one to three operations, whose end nobody waits for."""
        there = {row["name"]: row for row in self.daemon.rows("Bridge")}
        ports = {row["name"]: row["_uuid"] for row in self.daemon.rows("Port") if row["name"] not in there}
        of_bridge = {name: _set(row["ports"]) for name, row in there.items()}
        choices: list[Callable[[], list[dict[str, Any]]]] = [self._add_bridge(there), self._add_port(there, ports)]
        choices += [self._remove_port(of_bridge, ports), self._change(ports), self._remove_bridge(there)]
        weights = [3 if len(there) < 2 else 1, 6, 2, 3, 1 if len(there) > 1 else 0]
        operations = self.random.choices(choices, weights)[0]()
        if operations:
            self.daemon.configure(*operations, wait=False)

    def _add_bridge(self, there: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
        missing = [name for name in self.bridges if name not in there]
        return lambda: add_bridge(self.random.choice(missing)) if missing else []

    def _add_port(self, there: dict[str, Any], ports: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
        missing = [each for each in PORTS if each[0] not in ports]

        def operations() -> list[dict[str, Any]]:
            if not missing or not there:
                return []
            name, kind, settings = self.random.choice(missing)
            row: dict[str, Any] = {"options": mapping(settings)} if kind == "patch" else dict(settings)
            if self.random.random() < 0.3:
                row["ofport_request"] = self.random.randint(1, 5)
            return add_port(self.random.choice(list(there)), name, kind, **row)

        return operations

    def _remove_port(self, of_bridge: dict[str, Any], ports: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
        def operations() -> list[dict[str, Any]]:
            if not ports:
                return []
            name = self.random.choice(list(ports))
            (bridge,) = [each for each, uuids in of_bridge.items() if ports[name] in uuids]
            gone = [self.daemon.delete_ports(bridge, [name])]
            if self.random.random() < 0.5:  # it moves
                _, kind, settings = next(each for each in PORTS if each[0] == name)
                row: dict[str, Any] = {"options": mapping(settings)} if kind == "patch" else dict(settings)
                gone += add_port(self.random.choice(list(of_bridge)), name, kind, **row)
            return gone

        return operations

    def _change(self, ports: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
        def operations() -> list[dict[str, Any]]:
            if not ports:
                return []
            name = self.random.choice(list(ports))
            return self.random.choice(
                [
                    [change("Port", name, tag=self.random.randint(1, 3))],
                    [change("Interface", name, ofport_request=self.random.randint(1, 5))],
                ]
            )

        return operations

    def _remove_bridge(self, there: dict[str, Any]) -> Callable[[], list[dict[str, Any]]]:
        return lambda: [self.daemon.delete_bridge(self.random.choice(list(there)))] if there else []


def _set(value: Any) -> list[Any]:
    return list(value[1]) if value and value[0] == "set" else [value]


def require_what_the_database_says(daemon: Daemon, prefix: str) -> None:
    """In the kernel, as who looks from outside sees it."""
    interfaces = {tuple(row["_uuid"]): row for row in daemon.rows("Interface")}
    ports = {tuple(row["_uuid"]): row for row in daemon.rows("Port")}
    wanted: dict[str, dict[str, int]] = {}
    allowed: set[str] = set()
    for bridge in daemon.rows("Bridge"):
        of_bridge = [interfaces[tuple(ports[tuple(uuid)]["interfaces"])] for uuid in _set(bridge["ports"])]
        wanted[bridge["name"]] = {
            row["name"]: 0 if row["ofport"] == LOCAL else row["ofport"] for row in of_bridge if row["ofport"] != -1
        }
        failed = {row["name"] for row in of_bridge if row["ofport"] == -1}
        assert failed <= {"missing"}, [(row["name"], row["error"]) for row in of_bridge]
        allowed |= {hidden_name("vsp", bridge["name"], n) for n in wanted[bridge["name"]].values()}
        allowed |= {hidden_name(end, bridge["name"]) for end in ("vsi", "vsj")}
    there = {}
    for name in Datapath.list():
        if name.startswith(prefix):
            with Datapath.open(name, control=False) as datapath:
                there[name] = {port.name: port.number for port in datapath.ports}
    assert there == wanted
    with Netdev() as devices:
        names = {device.name for device in devices.devices()}
    made = {name for each in wanted.values() for name in each}
    assert made <= names
    left = names - made - allowed - {"lo", "e0", "e1", "e2", "f0", "f1", "f2"}
    assert not {name for name in left if not name.startswith("vsx")}, left
    assert len([name for name in left if name.startswith("vsx")]) <= 2, "ends of patch ports without a peer"


def kill_and_look(lab: Lab, folder: Path, name: str, kills: int, seed: int) -> None:
    with Netdev() as devices:
        for number in range(3):
            devices.create_veth(f"e{number}", f"f{number}")
    chance = random.Random(seed)
    with Daemon(folder) as daemon:
        workload = Workload(daemon, name, seed)
        for kill in range(kills):
            until = time.monotonic() + chance.uniform(0, 0.6)
            while time.monotonic() < until:
                workload.step()
                time.sleep(chance.uniform(0, 0.05))
            daemon.kill()
            daemon.start(wait=chance.random() < 0.7)
            if chance.random() < 0.2:  # and at once again
                time.sleep(chance.uniform(0, 0.8))
                daemon.kill()
                daemon.start()
            daemon.wait_until_answered()
            daemon.configure()
            try:
                require_what_the_database_says(daemon, name)
            except AssertionError as problem:
                problem.add_note(f"after kill {kill} of seed {seed}\n{daemon.said()[-3000:]}\n{command('ip', 'link')}")
                raise
        daemon.configure(*[daemon.delete_bridge(row["name"]) for row in daemon.rows("Bridge")])
        require_what_the_database_says(daemon, name)


def test_after_each_kill_the_machine_becomes_what_the_database_says(lab: Lab, name: str, tmp_path: Path) -> None:
    kill_and_look(lab, tmp_path, name, 5, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_kills(lab: Lab, name: str, tmp_path: Path, seed: int) -> None:
    kill_and_look(lab, tmp_path, name, 50, seed)
