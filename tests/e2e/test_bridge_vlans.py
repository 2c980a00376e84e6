"""Access ports of two bridges with a trunk between them: who reaches whom."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab import Host, Lab
from tests.running import Running


def reaches(one: Host, other: Host) -> bool:
    return one.ping(other.ip, count=2, interval_s=0.1).received == 2


def words(*ports: str) -> list[str]:
    return [word for port in ports for word in ("--port", port)] + ["--no-local"]


def test_ports_reach_those_of_their_vlan_also_beyond_a_trunk(name: str, lab: Lab, tmp_path: Path) -> None:
    a, b, far, far20, stranger = (lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in range(1, 6))
    subprocess.run(["ip", "link", "add", "t1", "type", "veth", "peer", "name", "t2"], check=True)
    for device in ("t1", "t2"):
        subprocess.run(["ip", "link", "set", device, "up"], check=True)
    near = words(
        f"{a.port},tag=10", f"{b.port},tag=10", f"{stranger.port},tag=20", "t1,vlan_mode=trunk,trunks=10,20-29"
    )
    beyond = words(f"{far.port},tag=10", f"{far20.port},tag=30", "t2")
    with Running(name, tmp_path, *near) as running, Running(f"{name}x", tmp_path, *beyond):
        assert reaches(a, b)
        assert reaches(a, far)
        assert not reaches(a, stranger)
        assert not reaches(stranger, far20)
        assert "push_vlan(vid=10" in running.appctl("dpctl/dump-flows")
        vlans = {line.split()[1] for line in running.appctl("fdb/show", name).splitlines()[1:]}
        assert vlans == {"10", "20"}
