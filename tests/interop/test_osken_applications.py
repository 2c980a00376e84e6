"""os-ken's own applications as the controllers of `vswitch run`: what they are for works between hosts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datapaths import remove_all, remove_remains
from tests.lab import Host, Lab, wait_until
from tests.osken import HAS_APPLICATIONS, Application, ask, knows, told
from tests.running import Running

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not HAS_APPLICATIONS, reason="os-ken's applications are not there (scripts/setup)"),
]

DATAPATH = "0000000000000001"


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """A name for a bridge."""
    remove_remains()
    yield lab.name
    remove_all(lab.name)


def switch(name: str, folder: Path, application: Application, *ports: str, datapath: str = DATAPATH) -> Running:
    words = ["--no-local", "--fail-mode", "secure", "--controller", application.target, "--max-backoff", "1"]
    words += [word for port in ports for word in ("--port", port)]
    return Running(name, folder, "--datapath-id", datapath, *words)


def reaches(one: Host, other: str, count: int = 1) -> bool:
    return one.ping(other, count=count, interval_s=0.05).received == count


@pytest.mark.parametrize(
    ("module", "version"),
    [
        ("simple_switch", 0),
        ("simple_switch_12", 2),
        ("simple_switch_13", 3),
        ("simple_switch_14", 4),
        ("simple_switch_15", 5),
    ],
)
def test_the_learning_switch_of_each_version(name: str, lab: Lab, tmp_path: Path, module: str, version: int) -> None:
    one, two = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    with (
        Application(f"os_ken.app.{module}") as application,
        switch(name, tmp_path, application, one.port, two.port) as running,
    ):
        wait_until(lambda: reaches(one, two.ip), "the first ping", 20)
        assert reaches(two, one.ip, 10)
        two.iperf3_server()
        assert one.iperf3(two.ip) > 0.2
        assert one.iperf3(two.ip, reverse=True) > 0.2
        flows = running.ofctl("dump-flows", version=f"OpenFlow1{version}")
        assert flows.count(f"dl_dst={two.mac}") == 1, flows
        assert flows.count(f"dl_dst={one.mac}") == 1, flows


def test_the_monitor_reads_what_was_counted(name: str, lab: Lab, tmp_path: Path) -> None:
    """It asks for flows and ports every ten seconds, and for nothing that is refused."""
    one, two = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    with (
        Application("os_ken.app.simple_monitor_13") as application,
        switch(name, tmp_path, application, one.port, two.port) as running,
    ):
        wait_until(lambda: reaches(one, two.ip), "the first ping", 20)
        two.iperf3_server()
        assert one.iperf3(two.ip) > 0.2
        time.sleep(11)
        assert reaches(one, two.ip, 5)
        assert "rror" not in running.said()


def test_the_spanning_tree_breaks_a_loop(name: str, lab: Lab, tmp_path: Path) -> None:
    """Two switches with two cables between them: one of the cables is not used, or nothing would get through."""
    one, two = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    from pyroute2 import IPRoute

    with IPRoute() as route:
        for number in (1, 2):
            route.link("add", ifname=f"left{number}", kind="veth", peer={"ifname": f"right{number}"})
            for end in ("left", "right"):
                route.link("set", index=route.link_lookup(ifname=f"{end}{number}")[0], state="up")
    with (
        Application("os_ken.app.simple_switch_stp_13") as application,
        switch(f"{name}a", tmp_path, application, one.port, "left1", "left2"),
        switch(f"{name}b", tmp_path, application, two.port, "right1", "right2", datapath="0000000000000002") as right,
    ):
        wait_until(lambda: reaches(one, two.ip), "the tree, and the first ping", 90)
        assert reaches(two, one.ip, 10)
        two.iperf3_server()
        assert one.iperf3(two.ip) > 0.2
        blocked = [line for line in right.ofctl("show").splitlines() if "NO_RECV" in line or "NO_FWD" in line]
        assert len(blocked) == 1, blocked


def test_the_router_routes(name: str, lab: Lab, tmp_path: Path) -> None:
    one, two = lab.host("h1", ip="172.16.20.10/24"), lab.host("h2", ip="172.16.10.10/24")
    for host, gateway in ((one, "172.16.20.1"), (two, "172.16.10.1")):
        host.run(["ip", "route", "add", "default", "via", gateway])
    with (
        Application("os_ken.app.rest_router") as application,
        switch(name, tmp_path, application, one.port, two.port) as running,
    ):
        wait_until(lambda: "priority=0" in running.ofctl("dump-flows"), "the router's first flows", 20)
        for address in ("172.16.20.1/24", "172.16.10.1/24"):
            answer = json.dumps(ask("POST", f"/router/{DATAPATH}", {"address": address}))
            assert "success" in answer, answer
        wait_until(lambda: reaches(one, "172.16.20.1"), "a ping to the router", 20)
        wait_until(lambda: reaches(one, two.ip), "a ping through the router", 20)
        assert one.ping(two.ip, count=5, interval_s=0.05).ttls == (63,) * 5
        two.iperf3_server()
        assert one.iperf3(two.ip) > 0.2


@pytest.mark.parametrize("version", [0, 2, 3, 4, 5])
def test_flows_groups_and_meters_by_rest(name: str, lab: Lab, tmp_path: Path, version: int) -> None:
    one, two = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    words = ["--protocols", f"OpenFlow1{version}"]
    number = int(DATAPATH, 16)
    with (
        Application("os_ken.app.ofctl_rest") as application,
        Running(
            name, tmp_path, "--datapath-id", DATAPATH, "--no-local", "--fail-mode", "secure", "--port", one.port,
            "--port", two.port, "--controller", application.target, "--max-backoff", "1", *words,
        ),
    ):  # fmt: skip
        wait_until(lambda: knows(number), "ofctl_rest has met the switch", 30)
        for port, other in ((1, 2), (2, 1)):
            actions = [{"type": "OUTPUT", "port": other}]
            said = (
                ("instructions", [{"type": "APPLY_ACTIONS", "actions": actions}])
                if version >= 4
                else ("actions", actions)
            )
            ask("POST", "/stats/flowentry/add", {"dpid": number, "match": {"in_port": port}, said[0]: said[1]})
        wait_until(lambda: reaches(one, two.ip), "the first ping", 10)
        assert reaches(two, one.ip, 10)
        two.iperf3_server()
        assert one.iperf3(two.ip) > 0.2
        flows = told("flow", number)
        assert len(flows) == 2
        counted = [flow["stats"]["packet_count"] if version == 5 else flow["packet_count"] for flow in flows]
        assert min(counted) > 20, flows
        assert {1, 2} <= {port["port_no"] for port in told("port", number)}
        for what in ("desc", "table", "aggregateflow", "portdesc"):
            assert told(what, number)
        if version >= 2:
            bucket = {"weight": 0, "watch_port": 0xFFFFFFFF, "watch_group": 0xFFFFFFFF,
                      "actions": [{"type": "OUTPUT", "port": 2}]}  # fmt: skip
            # OpenFlow 1.5 has a bucket in each command, and in this one it must be all of them.
            group = {"dpid": number, "type": "ALL", "group_id": 1, "buckets": [bucket],
                     "command_bucket_id": 0xFFFFFFFF}  # fmt: skip
            ask("POST", "/stats/groupentry/add", group)
            assert [group["group_id"] for group in told("groupdesc", number)] == [1]
        if version >= 3:
            band = {"type": "DROP", "rate": 1000}
            ask("POST", "/stats/meterentry/add", {"dpid": number, "flags": "KBPS", "meter_id": 1, "bands": [band]})
            what = "meter" if version == 5 else "meterconfig"  # it does not wait for 1.5's descriptions
            assert [meter["meter_id"] for meter in told(what, number)] == [1]
        ask("DELETE", f"/stats/flowentry/clear/{number}")
        wait_until(lambda: not ask("GET", f"/stats/flow/{number}")[str(number)], "no flows", 5)
        assert not one.ping(two.ip, count=1).received
