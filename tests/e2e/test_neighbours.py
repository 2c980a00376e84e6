"""A datapath beside others: programs, filters and qdiscs of somebody else at its devices, and other datapaths."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.datapaths import (
    MECHANISMS,
    ROOT,
    command,
    connect,
    kernel_objects,
    left_behind,
    plug,
    reach,
    require_sound,
    wait_until_gone,
)
from tests.lab import Host, Lab
from vswitch import Datapath, ExistsError, Match, Output
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.compile import compile_object
from vswitch.datapath.ebpf.libbpf import ObjectFile
from vswitch.datapath.ebpf.netdev import Netdev

# ---- programs, filters and qdiscs of others

FOREIGN = """
typedef unsigned int u32;
u32 seen;
__attribute__((section("tc"), used)) int watch(__attribute__((unused)) void *skb)
{
	seen++;
	return -1; /* TC_ACT_UNSPEC: let the next one decide */
}
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


class Watcher:
    """A program of somebody else, which lets every packet pass and counts it."""

    def __init__(self, folder: Path, pin: Path) -> None:
        source = folder / "watch.bpf.c"
        source.write_text(FOREIGN)
        compile_object(source, source.with_suffix(".o"))
        self._object = ObjectFile(source.with_suffix(".o"))
        self._object.load()
        self.pin = pin
        bpf_syscall.obj_pin(self.fd, pin)

    @property
    def fd(self) -> int:
        return self._object.program_fd("watch")

    @property
    def seen(self) -> int:
        value = bpf_syscall.map_lookup(self._object.map_fd(".bss"), bytes(4), 4)
        assert value is not None
        return int.from_bytes(value, "little")

    def close(self) -> None:
        self.pin.unlink()
        self._object.close()


@pytest.fixture
def watcher(tmp_path: Path, lab: Lab) -> Iterator[Watcher]:
    watcher = Watcher(tmp_path, bpf_syscall.ensure_bpffs() / f"{lab.name}-watch")
    yield watcher
    watcher.close()


def qdiscs(device: str) -> list[tuple[str, str, str]]:
    entries = json.loads(command("tc", "-j", "qdisc", "show", "dev", device))
    return [(entry["kind"], entry["handle"], entry.get("parent", "root")) for entry in entries]


def filters(device: str, *, but: str) -> list[str]:
    """Those of others, without what changes by itself."""
    found = []
    for hook in ("ingress", "egress"):
        entries = re.split(r"(?m)^(?=filter )", command("tc", "filter", "show", "dev", device, hook))
        ours = {each[0] for entry in entries if but in entry and (each := re.search(r"pref \d+", entry))}
        found += [f"{hook} {entry}" for entry in entries if entry and not any(f"{pref} " in entry for pref in ours)]
    return found


def links(device: str) -> list[int]:
    with Netdev() as devices:
        index = devices.device(device).ifindex
    return list(bpf_syscall.tcx_links(index, bpf_syscall.TCX_INGRESS)) if "tcx" in MECHANISMS else []


@pytest.mark.usefixtures("mechanism")
def test_filters_and_qdiscs_of_others_stay_and_work(
    name: str, hosts: tuple[Host, Host, Host], watcher: Watcher
) -> None:
    command("tc", "qdisc", "add", "dev", "h1-port", "root", "handle", "7:", "htb", "default", "1")
    command("tc", "class", "add", "dev", "h1-port", "parent", "7:", "classid", "7:1", "htb", "rate", "100mbit")
    command("tc", "qdisc", "add", "dev", "h1-port", "clsact")
    pinned = ("bpf", "da", "object-pinned", str(watcher.pin))
    command("tc", "filter", "add", "dev", "h1-port", "ingress", "prio", "9", *pinned)
    command("tc", "filter", "add", "dev", "h1-port", "egress", "prio", "9", *pinned)
    words = ("protocol", "ip", "u32", "match", "ip", "dst", "10.9.9.9/32")
    command("tc", "filter", "add", "dev", "h1-port", "ingress", "prio", "7", *words)
    before = qdiscs("h1-port"), filters("h1-port", but=f"vswitch:{name}")
    assert len(before[1]) >= 3
    with Datapath.create(name, ports=["h1-port", "h2-port"], local=False) as dp:
        connect(dp, 1, 2)
        assert (qdiscs("h1-port"), filters("h1-port", but=f"vswitch:{name}")) == before
        assert reach(hosts[0], hosts[1])
        # two requests in, where tcx runs before filters, and two replies out
        assert watcher.seen >= 2
        assert "htb" in command("tc", "-s", "qdisc", "show", "dev", "h1-port")
        sent = json.loads(command("tc", "-j", "-s", "qdisc", "show", "dev", "h1-port", "root"))[0]["packets"]
        assert sent >= 2, "what goes out passes the qdisc"
        dp.ports.remove(1)
        assert (qdiscs("h1-port"), filters("h1-port", but=f"vswitch:{name}")) == before
        dp.ports.add("h1-port", 1)
        assert reach(hosts[0], hosts[1])
    assert (qdiscs("h1-port"), filters("h1-port", but="none")) == before
    assert [kind for kind, _, _ in qdiscs("h2-port")] == ["noqueue"]


@pytest.mark.usefixtures("mechanism")
def test_tcx_programs_of_others_stay_and_run_first(name: str, hosts: tuple[Host, Host, Host], watcher: Watcher) -> None:
    if "tcx" not in MECHANISMS:
        return
    with Netdev() as devices:
        index = devices.device("h1-port").ifindex
    foreign = bpf_syscall.link_create_tcx(watcher.fd, index, bpf_syscall.TCX_INGRESS)
    try:
        before = links("h1-port")
        with Datapath.create(name, ports=["h1-port", "h2-port"], local=False) as dp:
            connect(dp, 1, 2)
            assert reach(hosts[0], hosts[1])
            assert watcher.seen >= 2
            assert links("h1-port")[0] == before[0]
            dp.ports.remove(1)
            assert links("h1-port") == before
            dp.ports.add("h1-port", 1)
            assert reach(hosts[0], hosts[1])
        assert links("h1-port") == before
    finally:
        os.close(foreign)


def test_clsact_qdisc_of_our_own_goes_unless_somebody_uses_it(
    name: str, hosts: tuple[Host, Host, Host], watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bpf_syscall, "has_tcx", lambda: False)
    with Datapath.create(name, ports=["h1-port", "h2-port"], local=False) as dp:
        assert [kind for kind, _, _ in qdiscs("h1-port")] == ["noqueue", "clsact"]
        command("tc", "filter", "add", "dev", "h2-port", "egress", "bpf", "da", "object-pinned", str(watcher.pin))
        connect(dp, 1, 2)
        assert reach(hosts[0], hosts[1])
    assert [kind for kind, _, _ in qdiscs("h1-port")] == ["noqueue"]
    assert [kind for kind, _, _ in qdiscs("h2-port")] == ["noqueue", "clsact"]
    assert len(filters("h2-port", but="none")) >= 1


@pytest.mark.parametrize("how", ["watched", "unwatched"])
def test_program_that_somebody_took_down_is_hung_up_again(
    dp: Datapath, hosts: tuple[Host, Host, Host], how: str
) -> None:
    """By the next process that opens the datapath; the device has been the port all the time."""
    name = dp.name
    dp.close()
    if "tcx" in MECHANISMS:
        pin = ROOT / name / "links" / "1"
        if how == "watched":
            pin.unlink()
        else:
            link = bpf_syscall.obj_get(pin)
            bpf_syscall.link_detach(link)
            os.close(link)
    else:
        command("tc", "qdisc", "delete", "dev", "h1-port", "clsact")
    with Datapath.open(name) as opened:
        assert opened.ports.events() == []
        assert reach(hosts[0], hosts[1])
        require_sound(opened)


# ---- other datapaths


def test_several_datapaths_side_by_side(name: str, lab: Lab) -> None:
    """The same numbers and rules mean something else in each; what removes one leaves the others alone."""
    names = [name + letter for letter in "abc"]
    hosts = [[lab.host(f"{letter}{n}", ip=f"10.0.0.{n}/24") for n in (1, 2)] for letter in "abc"]
    lab.introduce()
    for pair in hosts:  # the same addresses in each: a packet on a wrong datapath would be answered by a wrong host
        pair[0].run(["ip", "neigh", "replace", pair[1].ip, "lladdr", pair[1].mac, "dev", "eth0"])
        pair[1].run(["ip", "neigh", "replace", pair[0].ip, "lladdr", pair[0].mac, "dev", "eth0"])
    with ExitStack() as stack:
        datapaths = [
            stack.enter_context(Datapath.create(each, ports=[host.port for host in pair]))
            for each, pair in zip(names, hosts, strict=True)
        ]
        for dp in datapaths:
            connect(dp, 1, 2)
        assert set(names) <= set(Datapath.list())
        with pytest.raises(ExistsError, match=f"datapath {names[1]} exists already"):
            Datapath.create(names[1])
        for dp, pair in zip(datapaths, hosts, strict=True):
            assert reach(*pair)
            assert dp.ports.stats(1).rx_packets == dp.ports.stats(2).tx_packets == 2
            require_sound(dp)
        objects = kernel_objects(datapaths[1])
        datapaths[1].__exit__(None, None, None)
        assert left_behind(names[1]) == []
        wait_until_gone(objects)
        assert not reach(*hosts[1])
        for number in (0, 2):
            assert reach(*hosts[number])
            require_sound(datapaths[number])
        again = stack.enter_context(Datapath.create(names[1], ports=[host.port for host in hosts[1]]))
        connect(again, 1, 2)
        assert reach(*hosts[1])


def test_datapaths_are_patched_together_by_a_pair_of_devices(name: str, hosts: tuple[Host, Host, Host]) -> None:
    command("ip", "link", "add", "patch-a", "type", "veth", "peer", "name", "patch-b")
    for device in ("patch-a", "patch-b"):
        command("ip", "link", "set", device, "up")
    with (
        Datapath.create(f"{name}a", ports=["h1-port", "patch-a"]) as one,
        Datapath.create(f"{name}b", ports=["patch-b", "h2-port"]) as other,
    ):
        connect(one, 1, 2)
        connect(other, 1, 2)
        assert reach(hosts[0], hosts[1])
        assert one.ports.stats("patch-a").tx_packets == other.ports.stats("patch-b").rx_packets == 2


@pytest.mark.usefixtures("mechanism")
def test_nothing_is_left_of_a_datapath_that_is_deleted(name: str, hosts: tuple[Host, Host, Host]) -> None:
    """No device, qdisc, filter, pin, map or program: whoever deletes it, and whatever became of its devices."""
    links_before = command("ip", "-o", "link", "show", "type", "veth").count("\n")
    before = [qdiscs(host.port) for host in hosts]
    with Datapath.create(name, ports=[host.port for host in hosts]) as dp:
        dp.ports.add("tap0", kind="tap")
        dp.ports.add("lan0", kind="internal")
        dp.flows.add(Match(in_port=1), (Output(2), Output(3)))
        dp.start_upcalls()
        objects = kernel_objects(dp)
        dp.keep()
    command("ip", "link", "delete", "h2-port")
    plug(hosts[1])
    command("ip", "link", "set", "tap0", "down")  # old kernels rename only what is down
    command("ip", "link", "set", "tap0", "name", "tap1")
    Datapath.delete(name)
    assert left_behind(name) == []
    wait_until_gone(objects)
    assert [qdiscs(host.port) for host in hosts] == before
    with Netdev() as devices:
        assert not any(devices.exists(device) for device in ("tap0", "tap1", "lan0", name))
    assert command("ip", "-o", "link", "show", "type", "veth").count("\n") == links_before
    assert [links(host.port) for host in hosts] == [[], [], []]
