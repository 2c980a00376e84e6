"""Faucet as the controller of a switch: VLANs, routing between them, and an ACL, with traffic of hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.datapaths import frame, is_test, pinging, remove_all, remove_remains
from tests.faucet import Faucet
from tests.lab import Host, Lab, LabError, wait_until
from tests.running import Running

pytestmark = pytest.mark.kernel

Hosts = tuple[Host, Host, Host, Host]

CONFIGURATION = """
vlans:
  office: {vid: 100, faucet_vips: [10.1.0.254/24], faucet_mac: "0e:00:00:00:01:00"}
  guests: {vid: 200, faucet_vips: [10.2.0.254/24], faucet_mac: "0e:00:00:00:02:00"}
routers:
  between: {vlans: [office, guests]}
acls:
  no-web:
    - rule: {dl_type: 0x800, nw_proto: 6, tcp_dst: 80, actions: {allow: false}}
    - rule: {dl_type: 0x800, nw_proto: 17, udp_dst: 7, actions: {allow: false}}
    - rule: {actions: {allow: true}}
dps:
  switch:
    dp_id: 0x1
    hardware: Open vSwitch
    interfaces:
      1: {native_vlan: office, acls_in: [no-web]}
      2: {native_vlan: office}
      3: {native_vlan: guests}
      4: {tagged_vlans: [office, guests]}
"""
"""Hosts 1 and 2 are of the office, host 3 is a guest, host 4 is on a trunk. Host 1 reaches no web servers."""


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """A name for a bridge."""
    remove_remains()
    yield lab.name
    remove_all(lab.name)


@pytest.fixture
def hosts(lab: Lab) -> Hosts:
    """Two of the office, a guest, and one on the trunk."""
    one, two = lab.host("h1", ip="10.1.0.1/24"), lab.host("h2", ip="10.1.0.2/24")
    three, four = lab.host("h3", ip="10.2.0.3/24"), lab.host("h4")
    for host, gateway in ((one, "10.1.0.254"), (two, "10.1.0.254"), (three, "10.2.0.254")):
        host.run(["ip", "route", "add", "default", "via", gateway])
    return one, two, three, four


@pytest.fixture
def faucet(hosts: Hosts, tmp_path: Path) -> Iterator[Faucet]:
    with Faucet(tmp_path, CONFIGURATION) as faucet:
        yield faucet


def words(hosts: Hosts, faucet: Faucet) -> list[str]:
    ports = [word for host in hosts for word in ("--port", host.port)]
    return [*ports, "--no-local", "--datapath-id", "1", "--controller", faucet.target, "--fail-mode", "secure",
            "--protocols", "OpenFlow13"]  # fmt: skip


@pytest.fixture
def running(name: str, tmp_path: Path, hosts: Hosts, faucet: Faucet) -> Iterator[Running]:
    """The switch, when Faucet has programmed it."""
    with closing(Running(name, tmp_path, *words(hosts, faucet))) as running:
        try:
            wait_until(lambda: reach(hosts[0], hosts[1].ip), "Faucet has programmed the switch", 20)
        except LabError as problem:
            raise AssertionError(f"{problem}\n{faucet.said()}\n{running.said()}") from problem
        yield running
        assert "Traceback" not in running.said()
        if running.process.returncode is None:  # the test has not killed it
            assert running.end() == 0, running.said()


def reach(one: Host, address: str, count: int = 1) -> bool:
    return one.ping(address, count=count, interval_s=0.1).received == count


def test_hosts_of_a_vlan_reach_each_other_by_flows_alone(running: Running, hosts: Hosts, faucet: Faucet) -> None:
    one, two, _, _ = hosts
    assert reach(two, one.ip, 3)
    before = running.ofctl("dump-flows")
    with pinging(one, two.ip, interval_s=0.02) as seen:
        time.sleep(1)
    assert seen.sent > 30
    assert not seen.lost
    assert two.mac in before
    url = one.serve_http(content="by Faucet")
    assert two.curl(url) == "by Faucet"


def test_a_trunk_has_both_vlans_with_their_tags(running: Running, hosts: Hosts) -> None:
    one, _, three, four = hosts
    with four.capturing(lambda frame: frame[:6] == bytes([255] * 6) and frame[12:14] == b"\x81\x00") as frames:
        for host, address in ((one, "10.1.0.9"), (three, "10.2.0.9")):  # nobody has it, so all are asked
            host.ping(address, count=1)
        frames.wait_for(2)
    vlans = {bytes.fromhex(one.mac.replace(":", "")): 100, bytes.fromhex(three.mac.replace(":", "")): 200}
    assert {frame[6:12] for frame in frames} == set(vlans)
    assert all(int.from_bytes(frame[14:16], "big") & 0xFFF == vlans[frame[6:12]] for frame in frames)
    for host, vlan in ((one, 100), (three, 200)):
        inner = frame()
        target = bytes.fromhex(host.mac.replace(":", ""))
        with host.capturing(is_test) as untagged:
            four.send(target + inner[6:12] + bytes([0x81, 0, 0, vlan]) + inner[12:])
            assert untagged.wait_for(1) == [target + inner[6:]]


def test_vlans_are_apart_but_for_the_router(running: Running, hosts: Hosts) -> None:
    one, _, three, _ = hosts
    three.run(["ip", "address", "add", "10.1.0.3/24", "dev", three.device])  # within the wrong VLAN
    three.run(["ip", "route", "del", "10.1.0.0/24", "dev", three.device])
    assert not one.ping("10.1.0.3", count=3, interval_s=0.1).received


def test_faucet_routes_between_vlans(running: Running, hosts: Hosts) -> None:
    one, two, three, _ = hosts
    wait_until(lambda: reach(one, "10.1.0.254"), "the gateway answers", 10)
    wait_until(lambda: reach(three, one.ip), "guests reach the office", 20)
    wait_until(lambda: reach(one, three.ip), "the office reaches guests", 20)
    assert set(three.ping(one.ip, count=5, interval_s=0.1).ttls) == {63}
    url = three.serve_http(port=8080, content="routed")
    assert one.curl(url) == "routed"
    wait_until(lambda: reach(two, three.ip), "the other one of the office too", 20)
    with pinging(three, one.ip, interval_s=0.02) as seen:
        time.sleep(1)
    assert seen.sent > 30
    assert not seen.lost


def test_what_the_acl_forbids_is_dropped(running: Running, hosts: Hosts) -> None:
    one, two, three, _ = hosts
    forbidden, allowed = two.serve_http(80, "forbidden"), two.serve_http(8080, "allowed")
    assert one.curl(allowed) == "allowed"
    with pytest.raises(LabError):
        one.curl(forbidden, timeout_s=2)
    wait_until(lambda: reach(three, two.ip), "guests reach the office", 20)
    assert three.curl(forbidden) == "forbidden"


def test_the_acl_is_changed_while_it_runs(running: Running, hosts: Hosts, faucet: Faucet) -> None:
    one, two, _, _ = hosts
    url = two.serve_http(80, "allowed now")
    with pytest.raises(LabError):
        one.curl(url, timeout_s=2)

    def answers() -> bool:
        try:
            return one.curl(url, timeout_s=2) == "allowed now"
        except LabError:
            return False

    faucet.configure(CONFIGURATION.replace("tcp_dst: 80,", "tcp_dst: 81,"))
    wait_until(answers, "the ACL lets it through", 30)


def test_a_killed_switch_forwards_until_faucet_has_programmed_the_next(
    name: str, tmp_path: Path, hosts: Hosts, faucet: Faucet, running: Running
) -> None:
    one, two, three, _ = hosts
    wait_until(lambda: reach(three, one.ip), "guests reach the office", 20)
    with pinging(one, two.ip, interval_s=0.01) as seen:
        running.process.kill()
        running.process.wait()
        (tmp_path / "next").mkdir()
        with closing(Running(name, tmp_path / "next", *words(hosts, faucet), "--restore", "20")) as second:
            wait_until(lambda: "are gone" in second.said(), "megaflows of the first are gone", 15)
            time.sleep(1)
            assert reach(two, one.ip, 3)
            assert "Traceback" not in second.said()
            assert second.process.poll() is None
    assert seen.sent > 100
    assert not seen.lost
