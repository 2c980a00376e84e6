"""The daemon that follows the database: what is there when it says that it is, and after it was ended or killed."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.datapaths import command, pinging
from tests.lab import Host, Lab, LabError, patience, wait_until
from tests.vswitchd import OUR_SERVER, Daemon, add_bridge, add_port, change, insert, mapping
from vswitch import Datapath, NotFoundError
from vswitch.datapath.ebpf.netdev import Netdev

LOCAL = 65534


@pytest.fixture
def daemon(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Iterator[Daemon]:
    """With nothing in its database yet. Bridges are to be called `name`, or that and some letters."""
    assert name
    with Daemon(tmp_path, getattr(request, "param", None)) as running:
        yield running


both = pytest.mark.parametrize("daemon", [None, OUR_SERVER], ids=["embedded", "external"], indirect=True)
"""With the database in the daemon, and in a server elsewhere."""


def connect(daemon: Daemon, bridge: str, *hosts: Host) -> None:
    ports = [operation for host in hosts for operation in add_port(bridge, host.port)]
    daemon.configure(*add_bridge(bridge), *ports)


@both
def test_ports_are_there_when_the_database_says_so(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    assert daemon.ofports() == {name: LOCAL, one.port: 1, two.port: 2}
    row = daemon.row("Interface", one.port)
    with Netdev() as devices:
        device = devices.device(one.port)
    assert (row["ifindex"], row["mac_in_use"], row["mtu"]) == (device.ifindex, device.mac, device.mtu)
    assert (row["admin_state"], row["link_state"], row["error"]) == ("up", "up", ["set", []])
    assert daemon.row("Bridge", name)["datapath_id"] == "0000" + daemon.row("Interface", name)["mac_in_use"].replace(
        ":", ""
    )
    daemon.configure(change("Interface", one.port, external_ids=mapping({"a": "b"})))
    root = daemon.row("Open_vSwitch")
    assert root["iface_types"] == ["set", ["internal", "patch", "system", "tap"]]
    assert root["ovs_version"].count(".") == 2


@both
def test_one_that_cannot_be_is_told_and_comes_later(daemon: Daemon, name: str, lab: Lab) -> None:
    one = lab.host("h1", ip="10.0.0.1/24")
    daemon.configure(
        *add_bridge(name), *add_port(name, "h2-port"), *add_port(name, "v1", "vxlan"), *add_port(name, one.port)
    )
    assert daemon.ofports() == {name: LOCAL, one.port: 1, "h2-port": -1, "v1": -1}
    assert "does not exist" in daemon.row("Interface", "h2-port")["error"]
    assert "vxlan are not supported" in daemon.row("Interface", "v1")["error"]
    with Netdev() as devices:
        devices.create_veth("h2-port", "h2-far")
        daemon.wait_for("Interface", "h2-port", lambda row: row["ofport"] == 2, "the device that came is a port")
        devices.delete("h2-port")
        daemon.wait_for("Interface", "h2-port", lambda row: row["ofport"] == -1, "the device that went is none")
        devices.create_veth("h2-port", "h2-far")
        daemon.wait_for("Interface", "h2-port", lambda row: row["ofport"] == 2, "it has the same number")


def test_what_is_removed_from_the_database_is_gone(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    daemon.configure(*add_bridge(f"{name}x"), *add_port(f"{name}x", "in0", "internal"))
    daemon.configure(daemon.delete_ports(name, [two.port]))
    with Datapath.open(name, control=False) as datapath:
        assert [port.name for port in datapath.ports] == [name, one.port]
    daemon.configure(*add_port(f"{name}x", two.port), daemon.delete_bridge(name))
    assert name not in Datapath.list()
    assert daemon.ofports() == {f"{name}x": LOCAL, "in0": 1, two.port: 2}
    with Netdev() as devices:
        assert not devices.exists(name)
        assert devices.exists("in0")


def test_requested_numbers_are_given_and_changed(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    daemon.configure(*add_bridge(name), *add_port(name, one.port), *add_port(name, two.port, ofport_request=1))
    assert daemon.ofports() == {name: LOCAL, one.port: 2, two.port: 1}
    daemon.configure(change("Interface", one.port, ofport_request=1), change("Interface", two.port, ofport_request=2))
    assert daemon.ofports() == {name: LOCAL, one.port: 1, two.port: 2}
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2


def test_patch_ports_connect_bridges(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    other = f"{name}x"
    connect(daemon, name, one)
    connect(daemon, other, two)
    daemon.configure(*add_port(name, "to-x", "patch", options=["map", [["peer", "from-x"]]]))
    assert daemon.row("Interface", "to-x")["ofport"] == 2, "it needs no peer to have a number"
    daemon.configure(*add_port(other, "from-x", "patch", options=["map", [["peer", "to-x"]]]))
    assert daemon.ofports() == {name: LOCAL, other: LOCAL, one.port: 1, two.port: 1, "to-x": 2, "from-x": 2}
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    daemon.configure(daemon.delete_ports(other, ["from-x"]))
    assert one.ping(two.ip, count=1, interval_s=0.05).received == 0
    assert daemon.row("Interface", "to-x")["ofport"] == 2


@pytest.mark.parametrize(
    ("daemon", "how"),
    [(None, "ended"), (None, "killed"), (OUR_SERVER, "killed")],
    ids=["ended", "killed", "killed, with the database elsewhere"],
    indirect=["daemon"],
)
def test_no_ping_is_lost_over_a_restart(daemon: Daemon, name: str, pair: tuple[Host, Host], how: str) -> None:
    one, two = pair
    daemon.configure(*add_bridge(name), *add_port(name, one.port, ofport_request=9), *add_port(name, two.port))
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    numbers = daemon.ofports()
    with pinging(one, two.ip) as seen:
        if how == "killed":
            daemon.kill()
        else:
            assert daemon.end() == 0
        daemon.start()
        time.sleep(0.3)
    assert seen.sent > 300
    assert not seen.lost
    assert daemon.ofports() == numbers
    counted = dict(daemon.row("Interface", one.port)["statistics"][1])
    assert counted["rx_packets"] >= 300


def is_there(device: str) -> bool:
    with Netdev() as devices, contextlib.suppress(NotFoundError):
        devices.device(device)
        return True
    return False


def test_a_backup_restored_while_the_daemon_runs_disturbs_nothing_that_is_the_same(
    daemon: Daemon, name: str, pair: tuple[Host, Host], tmp_path: Path
) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    before = daemon.ofports()
    ovsdb = f"{sys.executable} -m vswitch ovsdb"
    copy = tmp_path / "conf.backup"
    subprocess.run(f"{ovsdb} backup {daemon.socket} >{copy}", shell=True, check=True)
    daemon.configure(*add_port(name, "in0", "internal"))
    with pinging(one, two.ip) as seen:
        subprocess.run(f"{ovsdb} restore {daemon.socket} <{copy}", shell=True, check=True)
        wait_until(lambda: not is_there("in0"), "in0 goes")
        time.sleep(0.2)
    assert not seen.lost
    assert daemon.ofports() == before


SINK = """import socket, sys, time
there = socket.create_server((sys.argv[1], 5001)); print("ready", flush=True)
peer, last, longest, size = there.accept()[0], time.monotonic(), 0.0, 0
while data := peer.recv(1 << 18):
    now = time.monotonic(); longest = max(longest, now - last); last = now; size += len(data)
print(longest, size)
"""
SOURCE = """import socket, sys, time
peer, end, data = socket.create_connection((sys.argv[1], 5001)), time.monotonic() + float(sys.argv[2]), bytes(1 << 16)
while time.monotonic() < end: peer.sendall(data)
"""
"""A stream of TCP, and the longest time for which nothing of it came."""


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_a_tcp_stream_is_not_stalled_by_a_restart(
    daemon: Daemon, name: str, pair: tuple[Host, Host], how: str, record_property: Callable[[str, object], None]
) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    with two.popen([sys.executable, "-c", SINK, two.ip], stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        assert sink.stdout.readline() == "ready\n"
        with one.popen([sys.executable, "-c", SOURCE, two.ip, "3"]) as source:
            time.sleep(0.3)
            daemon.kill() if how == "killed" else daemon.end()
            time.sleep(0.3)
            daemon.start()
            assert source.wait(20 * patience()) == 0
        longest_s, size = map(float, sink.stdout.readline().split())
    record_property("longest_s", longest_s)
    assert size > 1e8
    assert longest_s < patience(), "the bound is 0.1 s; on a busy machine the two programs wait for each other"


def test_a_bridge_that_was_removed_while_nobody_looked_is_gone_afterwards(
    daemon: Daemon, name: str, pair: tuple[Host, Host]
) -> None:
    connect(daemon, name, *pair)
    daemon.configure(daemon.delete_bridge(name), wait=False)
    daemon.kill()
    daemon.start()
    wait_until(lambda: name not in Datapath.list(), "the datapath is gone")
    assert daemon.ofports() == {}


def test_flows_are_as_they_were_after_an_orderly_end(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    daemon.configure(
        *add_bridge(name, fail_mode="secure"), *(each for host in pair for each in add_port(name, host.port))
    )
    daemon.ofctl(name, "add-group", "group_id=1,type=all,bucket=output:2")
    daemon.ofctl(name, "add-flow", "priority=5,in_port=1,actions=group:1")
    daemon.ofctl(name, "add-flow", "priority=5,cookie=0x7,in_port=2,actions=output:1")
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    assert daemon.end() == 0
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2, "nobody is there, and packets are forwarded"
    daemon.start()
    flows = daemon.ofctl(name, "dump-flows")
    assert "cookie=0x7" in flows
    assert "actions=group:1" in flows
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2


class Controller:
    """Listens for switches; `hellos`: how often one has come."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.target = f"tcp:127.0.0.1:{self.socket.getsockname()[1]}"
        self.hellos = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.socket.accept()
                peer.sendall(bytes([4, 0, 0, 8, 0, 0, 0, 1]))
                self._open.append(peer)
                self.hellos += 1

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self._thread.join()
        for peer in self._open:
            peer.close()


def test_controllers_come_and_go_and_others_stay_connected(daemon: Daemon, name: str) -> None:
    with contextlib.closing(Controller()) as one, contextlib.closing(Controller()) as two:

        def controllers(*targets: str) -> list[dict[str, Any]]:
            """Operations, which give the bridge these."""
            names = [["named-uuid", f"c{at}"] for at in range(len(targets))]
            made = [insert("Controller", f"c{at}", target=target) for at, target in enumerate(targets)]
            return [*made, change("Bridge", name, controller=["set", names])]

        def is_connected(target: str) -> bool:
            return any(row["target"] == target and row["is_connected"] for row in daemon.rows("Controller"))

        daemon.configure(*add_bridge(name))
        assert "NORMAL" in daemon.ofctl(name, "dump-flows")
        daemon.configure(*controllers(one.target, "tcp:127.0.0.1:1", "punix:/etc/x"))
        wait_until(lambda: is_connected(one.target), "one is connected", 10)
        (row,) = [row for row in daemon.rows("Controller") if row["target"] == one.target]
        assert row["role"] == "other"
        assert dict(row["status"][1])["state"] == "ACTIVE"
        assert "NORMAL" not in daemon.ofctl(name, "dump-flows"), "a controller says what there is"
        daemon.ofctl(name, "add-flow", "actions=NORMAL")
        errors = {row["target"]: dict(row["status"][1]).get("last_error", "") for row in daemon.rows("Controller")}
        assert "a socket is to be in the folder" in errors["punix:/etc/x"]
        daemon.wait_for(
            "Bridge", name, lambda row: "controller punix:/etc/x" in dict(row["status"][1]), "the bridge says so too"
        )

        daemon.configure(*controllers(one.target, two.target), change("Bridge", name, fail_mode="secure"))
        wait_until(lambda: is_connected(two.target), "two is connected", 10)
        assert (one.hellos, two.hellos) == (1, 1)
        assert "NORMAL" in daemon.ofctl(name, "dump-flows")
        daemon.configure(change("Bridge", name, other_config=mapping({"datapath-id": "00000000000000ab"})))
        wait_until(lambda: (one.hellos, two.hellos) == (2, 2), "they are told of another datapath", 10)
        assert daemon.row("Bridge", name)["datapath_id"] == "00000000000000ab"
        daemon.configure(*controllers())
        assert daemon.rows("Controller") == []
        assert not daemon.ofctl(name, "dump-flows").count("actions"), "it is secure, and nobody has said anything"


def test_vlans_follow_the_database(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    assert one.ping(two.ip, count=1, interval_s=0.05).received == 1
    daemon.configure(change("Port", one.port, tag=7))
    assert one.ping(two.ip, count=1, interval_s=0.05).received == 0
    daemon.configure(change("Port", two.port, tag=7))
    assert one.ping(two.ip, count=1, interval_s=0.05).received == 1


def test_nothing_is_answered_while_flows_are_restored(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    assert one.ping(two.ip, count=1, interval_s=0.05).received == 1
    with pinging(one, two.ip) as seen:
        daemon.configure(change("Open_vSwitch", None, other_config=mapping({"flow-restore-wait": "true"})))
        daemon.end()
        daemon.start()
        assert "NORMAL" in daemon.ofctl(name, "dump-flows")
        daemon.ofctl(name, "add-flow", "priority=9,actions=NORMAL")
        daemon.configure(change("Open_vSwitch", None, other_config=mapping({})))
        time.sleep(0.3)
    assert not seen.lost
    daemon.wait_for("Interface", one.port, lambda row: row["ofport"] == 1, "it is as before")
    assert "priority=9" in daemon.ofctl(name, "dump-flows")


def test_devices_get_addresses_and_lengths(daemon: Daemon, name: str, lab: Lab) -> None:
    one = lab.host("h1", ip="10.0.0.1/24")
    mac = "02:00:00:00:00:77"
    daemon.configure(
        *add_bridge(name, other_config=mapping({"hwaddr": mac})),
        *add_port(name, "in0", "internal", mac="02:00:00:00:00:99", mtu_request=1400),
        *add_port(name, one.port, mtu_request=1450),
    )
    assert daemon.row("Bridge", name)["datapath_id"] == "0000" + mac.replace(":", "")
    rows = {row["name"]: (row["mac_in_use"], row["mtu"]) for row in daemon.rows("Interface")}
    assert rows["in0"] == ("02:00:00:00:00:99", 1400)
    assert rows[name] == (mac, 1450)
    assert rows[one.port][1] == 1450
    daemon.configure(change("Interface", one.port, mtu_request=10))
    row = daemon.row("Interface", one.port)
    assert "MTU 10 is outside" in row["error"]
    assert row["ofport"] == 1


def test_ports_are_shaped_and_policed(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair

    def qdisc(device: str) -> str:
        return command("tc", "qdisc", "show", "dev", device, "root")

    queue = insert("Queue", "q", other_config=mapping({"max-rate": "2000000"}))
    qos = insert("QoS", "qos", type="linux-htb", queues=mapping({1: ["named-uuid", "q"]}))
    daemon.configure(
        queue, qos, *add_bridge(name), *add_port(name, one.port, port={"qos": ["named-uuid", "qos"]}),
        *add_port(name, two.port, ingress_policing_rate=1000, ingress_policing_burst=100),
    )  # fmt: skip
    assert "htb" in qdisc(one.port)
    assert "2Mbit" in command("tc", "class", "show", "dev", one.port)
    assert "queue 1" in daemon.ofctl(name, "queue-stats")
    shown = daemon.appctl("qos/show", one.port)
    assert shown.startswith(f"QoS: {one.port} linux-htb\nmax-rate: ")
    assert "Queue 1:\n  burst: " in shown
    assert "  max-rate: 2000000\n  tx_packets: " in shown
    assert daemon.appctl("qos/show", two.port) == f"QoS not configured on {two.port}\n"
    daemon.kill()
    daemon.start()
    daemon.configure(change("Port", one.port, qos=["set", []]), change("Interface", two.port, ingress_policing_rate=0))
    assert "htb" not in qdisc(one.port)
    daemon.configure(change("Port", two.port, qos=daemon.rows("QoS")[0]["_uuid"]))
    assert "htb" in qdisc(two.port)
    daemon.configure(daemon.delete_ports(name, [two.port]))
    assert "htb" not in qdisc(two.port)
    daemon.configure(change("Port", one.port, qos=daemon.rows("QoS")[0]["_uuid"]))
    command("tc", "qdisc", "replace", "dev", one.port, "root", "handle", "77:", "pfifo")
    daemon.configure(change("QoS", None, other_config=mapping({"max-rate": "5000000"})))
    assert "not vswitch's" in daemon.row("Interface", one.port)["error"]
    assert "pfifo 77:" in qdisc(one.port)
    assert daemon.row("Interface", one.port)["ofport"] == 1


def test_one_control_socket_is_for_all_bridges(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    other = f"{name}x"
    connect(daemon, name, one)
    connect(daemon, other, two)
    assert daemon.appctl("ofproto/list").split() == [name, other]
    assert json.loads(daemon.appctl("-f", "json", "ofproto/list")) == [name, other]
    assert "output:LOCAL" not in daemon.appctl("ofproto/trace", other, "in_port=1")
    assert f"port 1: {two.port}" in daemon.appctl("dpctl/show", f"vswitch@{other}")
    both_shown = daemon.appctl("dpctl/show", f"vswitch@{other}", name)
    assert [line for line in both_shown.splitlines() if line[:1] != " "] == [f"vswitch@{other}:", f"vswitch@{name}:"]
    assert daemon.appctl("fdb/show", name).split()[:2] == ["port", "VLAN"]
    assert "ports:4" in daemon.appctl("memory/show")
    with pytest.raises(LabError, match="no such bridge"):
        daemon.appctl("fdb/show", "nothing")
    daemon.appctl("exit", "--cleanup")
    wait_until(lambda: not {name, other} & set(Datapath.list()), "the datapaths are gone", 10)


@pytest.mark.parametrize("daemon", [OUR_SERVER], indirect=True)
def test_a_server_that_is_away_for_a_while_changes_nothing(
    daemon: Daemon, name: str, tmp_path: Path, pair: tuple[Host, Host]
) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    with pinging(one, two.ip) as seen:
        daemon.restart_server()
        daemon.configure(*add_port(name, "in0", "internal"))
    assert not seen.lost
    assert daemon.ofports() == {name: LOCAL, one.port: 1, two.port: 2, "in0": 3}
    (tmp_path / "second").mkdir()
    second = Daemon(tmp_path / "second")
    second.words = ["--db", daemon.socket]
    second.start(wait=False)
    try:
        wait_until(lambda: "another process has the lock" in second.said(), "the other waits", 10)
        daemon.configure(*add_port(name, "in1", "internal"))
        assert daemon.row("Interface", "in1")["ofport"] == 4
    finally:
        assert second.end() == 0
        second.errors.close()


def test_mirrors_follow_the_database(daemon: Daemon, name: str, lab: Lab) -> None:
    hosts = [lab.host(f"h{number}", ip=f"10.0.0.{number}/24") for number in (1, 2, 3)]
    connect(daemon, name, *hosts)
    (copies,) = [row["_uuid"] for row in daemon.rows("Port") if row["name"] == hosts[2].port]
    mirror = insert("Mirror", "m", name="m", select_all=True, output_port=copies)
    packet = "in_port=1,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02"
    daemon.configure(mirror, change("Bridge", name, mirrors=["named-uuid", "m"]))
    assert hosts[0].ping(hosts[1].ip, count=2, interval_s=0.05).received == 2
    assert hosts[2].ping(hosts[1].ip, count=1, interval_s=0.05).received == 0, "the port is for copies alone"
    assert "3" in daemon.appctl("ofproto/trace", name, packet).rpartition("Datapath actions:")[2]
    daemon.configure(change("Bridge", name, mirrors=["set", []]))
    assert "3" not in daemon.appctl("ofproto/trace", name, packet).rpartition("Datapath actions:")[2]
    assert hosts[2].ping(hosts[1].ip, count=1, interval_s=0.05).received == 1
