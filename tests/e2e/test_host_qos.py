"""Quality of service: what the kernel then has, as tc(8) shows it, and what hosts get of it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.lab import Host, Lab, patience
from vswitch import ConfigError, Datapath, ExistsError, KernelError, Match, NotFoundError, Output, SetField
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.host.qdiscs import Qdiscs
from vswitch.host.qos import KINDS, MAX_QUEUE, Qos, Queue, parse_qos

MBIT = 1_000_000


@pytest.fixture
def qdiscs(lab: Lab) -> Iterator[Qdiscs]:
    with Qdiscs() as qdiscs:
        yield qdiscs


@pytest.fixture
def port(lab: Lab) -> Host:
    return lab.host("h1", ip="10.0.0.1/24")


def tc(*words: str) -> str:
    command = ["tc", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20 * patience()).stdout


def root(device: str) -> dict[str, Any]:
    """The root qdisc."""
    (found,) = [each for each in json.loads(tc("-j", "qdisc", "show", "dev", device)) if each.get("root")]
    return dict(found)


CLASS = re.compile(
    r"class htb (?P<handle>\S+) (?:root|parent \S+) (?:leaf \S+ )?(?:prio (?P<prio>\d+) quantum \d+ )?"
    r"rate (?P<rate>\S+)bit ceil (?P<ceil>\S+)bit .*?\n"
    r" Sent (?P<bytes>\d+) bytes (?P<packets>\d+) pkt \(dropped (?P<drops>\d+),.*\n backlog \S+ (?P<backlog>\d+)p"
)


def classes(device: str) -> dict[str, dict[str, int]]:
    """By handle. (`tc -j` writes no JSON of them.)"""
    units = {"K": 10**3, "M": 10**6, "G": 10**9}
    return {
        each["handle"]: {
            name: int(value.rstrip("KMG")) * units.get(value[-1:], 1)
            for name, value in each.groupdict("0").items()
            if name != "handle"
        }
        for each in CLASS.finditer(tc("-s", "-d", "class", "show", "dev", device))
    }


def ifindex(device: str) -> int:
    with Netdev() as net:
        return net.device(device).ifindex


def rates(device: str) -> dict[str, tuple[int, int, int]]:
    return {handle: (each["rate"], each["ceil"], each["prio"]) for handle, each in classes(device).items()}


def test_queues_are_classes_of_htb(qdiscs: Qdiscs, port: Host) -> None:
    queues = {0: Queue(), 3: Queue(min_rate_bps=2 * MBIT, priority=4), 9: Queue(max_rate_bps=3 * MBIT)}
    qdiscs.apply(ifindex(port.port), Qos("linux-htb", 10 * MBIT, queues))
    assert (root(port.port)["kind"], root(port.port)["handle"]) == ("htb", "1:")
    assert rates(port.port) == {
        "1:fffe": (10 * MBIT, 10 * MBIT, 0),
        "1:1": (12000, 10 * MBIT, 0),
        "1:4": (2 * MBIT, 10 * MBIT, 4),
        "1:a": (12000, 3 * MBIT, 0),
    }
    said = qdiscs.read(ifindex(port.port))
    assert said is not None
    assert said.max_rate_bps == 10 * MBIT
    assert {number: (each.min_rate_bps, each.max_rate_bps) for number, each in said.queues.items()} == {
        0: (12000, 10 * MBIT), 3: (2 * MBIT, 10 * MBIT), 9: (12000, 3 * MBIT),
    }  # fmt: skip
    assert qdiscs.remove(ifindex(port.port))
    assert root(port.port)["kind"] == "noqueue"
    assert not qdiscs.remove(ifindex(port.port))
    assert qdiscs.read(ifindex(port.port)) is None


def test_rates_past_32_bits(qdiscs: Qdiscs, port: Host) -> None:
    qdiscs.apply(ifindex(port.port), Qos("linux-htb", 80_000 * MBIT, {0: Queue(min_rate_bps=50_000 * MBIT)}))
    assert rates(port.port)["1:1"] == (50_000 * MBIT, 80_000 * MBIT, 0)
    assert qdiscs.read(ifindex(port.port)).max_rate_bps == 80_000 * MBIT  # type: ignore[union-attr]


def test_most_rate_is_by_default_the_links(qdiscs: Qdiscs, port: Host) -> None:
    qdiscs.apply(ifindex(port.port), Qos("linux-htb"))
    assert rates(port.port)["1:fffe"][0] == 10_000 * MBIT
    with Netdev() as net:
        qdiscs.apply(net.device("lo").ifindex, Qos("linux-htb"))
    assert rates("lo")["1:fffe"][0] == 100 * MBIT


def test_queues_change_in_place(qdiscs: Qdiscs, port: Host) -> None:
    index = ifindex(port.port)
    qdiscs.apply(index, Qos("linux-htb", 10 * MBIT, {0: Queue(), 1: Queue(), 2: Queue(max_rate_bps=MBIT)}))
    two = port.port
    send(two, 0x10003, count=400)
    waiting = classes(two)["1:3"]["backlog"]
    assert waiting > 0
    qdiscs.apply(index, Qos("linux-htb", 20 * MBIT, {0: Queue(), 2: Queue(max_rate_bps=2 * MBIT), 7: Queue()}))
    assert rates(two) == {
        "1:fffe": (20 * MBIT, 20 * MBIT, 0),
        "1:1": (12000, 20 * MBIT, 0),
        "1:3": (12000, 2 * MBIT, 0),
        "1:8": (12000, 20 * MBIT, 0),
    }
    assert 0 < classes(two)["1:3"]["backlog"] <= waiting
    assert set(qdiscs.statistics(index)) == {0, 2, 7}


def send(device: str, priority: int, *, count: int, length: int = 1000) -> None:
    """Out of a device, with that skb->priority."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((device, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
        sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE
        for _ in range(count):
            with suppress(OSError):  # the queue is full
                sock.send(bytes.fromhex("02000000000102000000000288b5") + bytes(length - 14))


def test_statistics_are_those_of_tc(qdiscs: Qdiscs, port: Host) -> None:
    index = ifindex(port.port)
    qdiscs.apply(index, Qos("linux-htb", 100 * MBIT, {0: Queue(), 1: Queue(max_rate_bps=12000)}))
    tc("qdisc", "add", "dev", port.port, "parent", "1:2", "handle", "20:", "pfifo", "limit", "5")
    send(port.port, 0, count=7)
    send(port.port, 0x10002, count=20)
    counted, shown = qdiscs.statistics(index), classes(port.port)
    assert (counted[0].packets, counted[0].bytes, counted[0].errors) == (7, 7000, 0)
    for queue, handle in ((0, "1:1"), (1, "1:2")):
        assert counted[queue].errors == shown[handle]["drops"]
        assert counted[queue].bytes <= shown[handle]["bytes"]
    assert counted[1].errors >= 10


def test_set_queue_of_the_switch_hits_its_class(qdiscs: Qdiscs, name: str, hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    with Datapath.create(name, ports=[one.port, two.port], local=False) as dp:
        qdiscs.apply(ifindex(two.port), Qos("linux-htb", 100 * MBIT, {5: Queue(max_rate_bps=4 * MBIT)}))
        dp.flows.put(Match(in_port=2, recirc_id=0), Output(1))
        dp.flows.put(Match(in_port=1, recirc_id=0), [SetField("skb_priority", 0x10006), Output(2)])
        two.iperf3_server()
        assert 1 < 1000 * one.iperf3(two.ip, 2) < 6
        assert qdiscs.statistics(ifindex(two.port))[5].packets > 100
        qdiscs.apply(ifindex(two.port), Qos("linux-htb", 100 * MBIT, {5: Queue(max_rate_bps=40 * MBIT)}))
        assert 6 < 1000 * one.iperf3(two.ip, 2) < 50
        before = qdiscs.statistics(ifindex(two.port))[0].packets
        dp.flows.put(Match(in_port=1, recirc_id=0), Output(2))
        assert one.ping(two.ip, 3, 0.01).received == 3
        assert qdiscs.statistics(ifindex(two.port))[0].packets >= before + 3


def test_qdisc_of_others_is_left_alone(qdiscs: Qdiscs, port: Host) -> None:
    for words in (
        "handle 5: htb default 1",
        "handle 1: htb default 1",
        "handle 9: tbf rate 1mbit burst 10kb limit 1mb",
    ):
        tc("qdisc", "add", "dev", port.port, "root", *words.split())
        before = tc("-d", "qdisc", "show", "dev", port.port)
        with pytest.raises(ExistsError, match=f"device {port.port} has the qdisc .*:, which is not vswitch's"):
            qdiscs.apply(ifindex(port.port), Qos("linux-htb", MBIT))
        assert not qdiscs.remove(ifindex(port.port))
        qdiscs.apply(ifindex(port.port), Qos("linux-noop"))
        assert qdiscs.statistics(ifindex(port.port)) == {}
        assert tc("-d", "qdisc", "show", "dev", port.port) == before
        tc("qdisc", "del", "dev", port.port, "root")


def test_port_survives_that_others_replace_its_qdisc(
    qdiscs: Qdiscs, dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    one, two, _ = hosts
    qdiscs.apply(ifindex(two.port), Qos("linux-htb", 100 * MBIT))
    tc("qdisc", "replace", "dev", two.port, "root", "handle", "5:", "htb", "default", "1")
    tc("class", "add", "dev", two.port, "parent", "5:", "classid", "5:1", "htb", "rate", "50mbit")
    assert one.ping(two.ip, 3, 0.01).received == 3
    assert qdiscs.read(ifindex(two.port)) is None
    tc("qdisc", "del", "dev", two.port, "root")
    assert one.ping(two.ip, 3, 0.01).received == 3
    qdiscs.apply(ifindex(two.port), Qos("linux-htb", 100 * MBIT))
    assert one.ping(two.ip, 3, 0.01).received == 3


def test_what_another_process_made_is_ours(qdiscs: Qdiscs, port: Host) -> None:
    qdiscs.apply(ifindex(port.port), Qos("linux-htb", MBIT))
    with Qdiscs() as later:
        later.apply(ifindex(port.port), Qos("linux-htb", 2 * MBIT))
        assert rates(port.port)["1:fffe"][0] == 2 * MBIT
        assert later.remove(ifindex(port.port))


def test_applying_again_changes_nothing(qdiscs: Qdiscs, port: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    qos = Qos("linux-htb", 7_654_321, {0: Queue(), 1: Queue(1_234_567, 3_333_333, 77_777, 3)})
    qdiscs.apply(ifindex(port.port), qos)
    monkeypatch.setattr(Qdiscs, "_put_class", lambda *_: pytest.fail("a class was set again"))
    qdiscs.apply(ifindex(port.port), qos)


def test_what_fails_half_way_is_undone(qdiscs: Qdiscs, port: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    index, put, failing = ifindex(port.port), Qdiscs._put_class, {"left": 2}

    def fail(self: Qdiscs, *words: Any) -> None:
        if not failing["left"]:
            failing["left"] = 99
            raise NotFoundError("no more")
        failing["left"] -= 1
        put(self, *words)

    monkeypatch.setattr(Qdiscs, "_put_class", fail)
    with pytest.raises(NotFoundError, match="no more"):
        qdiscs.apply(index, Qos("linux-htb", MBIT, {1: Queue(), 2: Queue()}))
    assert root(port.port)["kind"] == "noqueue"
    failing["left"] = 99
    qdiscs.apply(index, Qos("linux-htb", MBIT, {1: Queue(), 2: Queue()}))
    before = rates(port.port)
    failing["left"] = 2
    with pytest.raises(NotFoundError, match="no more"):
        qdiscs.apply(index, Qos("linux-htb", 2 * MBIT, {1: Queue(), 3: Queue()}))
    assert rates(port.port) == before


SHOWN = {
    "linux-fq_codel": (Qos("linux-fq_codel", settings={"limit": 500, "target": 7000}), {"limit": 500}),
    "linux-codel": (Qos("linux-codel", settings={"limit": 500}), {"limit": 500}),
    "linux-sfq": (Qos("linux-sfq", settings={"quantum": 3000, "perturb": 5}), {"quantum": 3000, "perturb": 5}),
    "linux-netem": (Qos("linux-netem", settings={"latency": 5000, "limit": 99}), {"limit": 99}),
}


@pytest.mark.parametrize("type_", sorted(KINDS.keys() - {"linux-htb"}))
def test_kinds_without_queues_are_made_or_refused_by_name(qdiscs: Qdiscs, port: Host, type_: str) -> None:
    """Whichever this kernel can: it says so itself, being asked by tc."""
    kind, (qos, shown) = KINDS[type_][0], SHOWN[type_]
    words = ["tc", "qdisc", "add", "dev", port.port, "root", kind]
    known = subprocess.run(words, capture_output=True, check=False, timeout=20 * patience()).returncode == 0
    if known:
        tc("qdisc", "del", "dev", port.port, "root")
        qdiscs.apply(ifindex(port.port), qos)
        assert root(port.port)["kind"] == kind
        assert root(port.port)["options"].items() >= shown.items()
        assert qdiscs.read(ifindex(port.port)) == Qos(type_)
        qdiscs.apply(ifindex(port.port), Qos("linux-htb", MBIT))
        qdiscs.apply(ifindex(port.port), qos)
        assert root(port.port)["kind"] == kind
        assert qdiscs.remove(ifindex(port.port))
        return
    with pytest.raises(KernelError, match=f"the kernel has no qdisc {kind}: no module sch_{kind}"):
        qdiscs.apply(ifindex(port.port), qos)
    qdiscs.apply(ifindex(port.port), Qos("linux-htb", MBIT))
    with pytest.raises(KernelError, match=f"the kernel has no qdisc {kind}"):
        qdiscs.apply(ifindex(port.port), qos)
    assert root(port.port)["kind"] == "htb", "what there was stays"


def test_device_that_is_away_is_named(qdiscs: Qdiscs) -> None:
    for ask in (lambda: qdiscs.apply(4711, Qos("linux-htb")), lambda: qdiscs.remove(4711), lambda: qdiscs.read(4711)):
        with pytest.raises(NotFoundError, match="device 4711 does not exist"):
            ask()


def test_database_is_understood() -> None:
    config = {"max-rate": "10000000", "other": "x"}
    queues = {0: {}, 7: {"min-rate": "5", "max-rate": "6", "burst": "7", "priority": "8", "dscp": "?"}}
    assert parse_qos("linux-htb", config, queues) == Qos("linux-htb", 10 * MBIT, {0: Queue(), 7: Queue(5, 6, 7, 8)})
    assert parse_qos("linux-sfq", {"perturb": "3", "max-rate": "9"}, {}) == Qos("linux-sfq", settings={"perturb": 3})
    assert parse_qos("linux-noop", {"max-rate": "?"}, {}) == Qos("linux-noop")


@pytest.mark.parametrize(
    ("type_", "config", "queues", "sentence"),
    [
        ("linux-hfsc", {}, {}, "QoS type 'linux-hfsc' is none of linux-htb, linux-fq_codel"),
        ("egress-policer", {}, {}, "QoS type 'egress-policer' is none of"),
        ("linux-htb", {"max-rate": "10M"}, {}, "QoS linux-htb: max-rate '10M' is no number of 0..10000000000000"),
        ("linux-htb", {"max-rate": "-1"}, {}, "max-rate '-1' is no number"),
        ("linux-htb", {"max-rate": "9" * 5000}, {}, "is no number"),
        ("linux-htb", {"max-rate": "\u0661"}, {}, "is no number"),
        ("linux-htb", {}, {61440: {}}, f"queue 61440 is outside 0..{MAX_QUEUE}"),
        ("linux-htb", {}, {1: {"priority": "4294967296"}}, "queue 1: priority '4294967296' is no number of"),
        ("linux-netem", {"loss": "101"}, {}, "QoS linux-netem: loss '101' is no number of 0..100"),
    ],
)
def test_nonsense_in_a_database_is_refused(
    type_: str, config: dict[str, str], queues: dict[int, dict[str, str]], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_qos(type_, config, queues)
