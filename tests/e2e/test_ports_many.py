"""More ports than hang by tcx links: the others hang by filters, and are ports as any."""

from __future__ import annotations

import pytest

from tests.datapaths import command, connect, reach, require_sound
from tests.lab import Host
from vswitch import Datapath, PortChange
from vswitch.datapath.ebpf import ports
from vswitch.datapath.ebpf.netdev import Netdev

COUNT = 6


@pytest.fixture
def few_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there need not be many ports."""
    monkeypatch.setattr(ports, "_TCX_PORTS", 2)


@pytest.mark.usefixtures("few_links")
def test_ports_past_the_bound_work_as_any(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Netdev() as net:
        for n in range(COUNT):
            net.create_veth(f"a{n}", f"b{n}")
    with Datapath.create(name, ports=[hosts[0].port], local=False) as dp:
        for n in range(COUNT):
            dp.ports.add(f"a{n}")
        dp.ports.add(hosts[1].port, 40)
        assert "vswitch" in command("tc", "filter", "show", "dev", hosts[1].port, "ingress")
        assert "vswitch" not in command("tc", "filter", "show", "dev", hosts[0].port, "ingress")
        connect(dp, 1, 40)
        assert reach(hosts[0], hosts[1])
        require_sound(dp)
        dp.keep()
    with Datapath.create(name, local=False, exist_ok=True) as dp:
        assert len(dp.ports) == COUNT + 2
        assert reach(hosts[0], hosts[1])
        command("ip", "link", "set", hosts[1].port, "name", "other")
        assert [event.change for event in dp.ports.events()] == [PortChange.RENAMED]
        for n in range(COUNT):
            dp.ports.remove(f"a{n}")
        dp.ports.remove("other")
        require_sound(dp)
    assert "vswitch" not in command("tc", "filter", "show", "dev", "other", "ingress")
    assert "clsact" not in command("tc", "qdisc", "show")
