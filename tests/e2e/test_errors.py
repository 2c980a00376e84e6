"""What cannot be is refused with one clear sentence, and changes nothing: on machines that lack something, with full
tables, wrong words, and remains of others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datapaths import (
    ROOT,
    command,
    connect,
    frame,
    is_test,
    left_behind,
    reach,
    require_sound,
    said_by_child,
)
from tests.lab import Host, Lab
from vswitch import (
    Clone,
    ConfigError,
    Datapath,
    ExistsError,
    KernelError,
    LoadError,
    MachineError,
    Match,
    NotFoundError,
    Offload,
    Options,
    Output,
    PrivilegeError,
    PushVlan,
    Rule,
    TableFullError,
    VswitchError,
)
from vswitch.datapath.ebpf import bpf_syscall, libbpf, state
from vswitch.datapath.ebpf.layout import DATAPATH, LAYOUT
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.datapath.ebpf.state import hidden_name

# ---- the machine


def refused(use: Callable[[], object]) -> str:
    try:
        return f"not refused: {use()!r}"
    except PrivilegeError as problem:
        return str(problem)


def test_user_without_privilege_is_told_so(dp: Datapath) -> None:
    """In one sentence, which says what is needed."""
    name = dp.name
    uses = (
        lambda: Datapath.create(f"{name}b"),
        lambda: Datapath.open(name),
        lambda: Datapath.open(name, control=False),
        lambda: Datapath.delete(name),
        Datapath.list,
    )

    def try_all() -> str:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        return "\n".join(refused(use) for use in uses)

    said = said_by_child(try_all).split("\n")
    whats = (
        f"making datapath {name}b",
        f"opening datapath {name}",
        f"opening datapath {name}",
        f"deleting datapath {name}",
    )
    for what, sentence in zip((*whats, "listing datapaths"), said, strict=True):
        assert re.fullmatch(f"{what} needs root: .*: Permission denied", sentence)


def refuses_to_create(name: str, error: type[VswitchError], said: str) -> None:
    devices = command("ip", "-o", "link")
    with pytest.raises(error) as caught:
        Datapath.create(name)
    assert re.search(said, str(caught.value))
    assert "\n" not in str(caught.value) or error is LoadError
    assert left_behind(name) == []
    assert command("ip", "-o", "link").count("\n") == devices.count("\n")


class Uname:
    release = "5.15.0-generic"
    machine = os.uname().machine


def test_kernel_that_is_too_old_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", Uname)
    refuses_to_create(name, KernelError, r"^vswitch needs Linux 6\.1 or newer, this is 5\.15\.0-generic$")


def test_kernel_without_btf_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bpf_syscall, "KERNEL_BTF", tmp_path / "vmlinux")
    refuses_to_create(name, KernelError, r"vmlinux does not exist: kernel .* was built without CONFIG_DEBUG_INFO_BTF$")


def test_machine_without_libbpf_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "_LIBRARY", "libbpf-that-is-absent.so.1")
    libbpf._library.cache_clear()
    try:
        refuses_to_create(name, MachineError, r"libbpf-that-is-absent\.so\.1 cannot be loaded .*: install .* libbpf1$")
    finally:
        libbpf._library.cache_clear()


def test_object_that_is_missing_or_broken_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(state, "OBJECT", tmp_path / "vswitch.bpf.o")
    refuses_to_create(name, NotFoundError, r"object file .* does not exist")
    (tmp_path / "vswitch.bpf.o").write_bytes(b"\x7fELF but no more")
    refuses_to_create(name, LoadError, r"^libbpf cannot read object vswitch")


def test_datapath_of_another_version_is_refused_but_can_be_deleted(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Datapath.create(name, ports=["h1-port"]) as dp:
        dp.ports.add("tap0", kind="tap")
        dp.keep()
        dp._kernel.state.words[DATAPATH.LAYOUT // 4] = LAYOUT + 1
    for control in (True, False):
        with pytest.raises(MachineError) as caught:
            Datapath.open(name, control=control)
        assert str(caught.value) == (
            f"datapath {name} was made by another version of vswitch (layout {LAYOUT + 1}, this is {LAYOUT}): "
            f"delete it and make it anew"
        )
    Datapath.delete(name)
    assert left_behind(name) == []
    with Netdev() as devices:
        assert not devices.exists("tap0")
    Datapath.create(name, ports=["h1-port"]).close()


# ---- words

BAD_NAMES = ["", "sixteen-letters-", "a/b", "a b", "a:b", "..", "tab\t", "percent%d", "größe", 7, None, b"bytes"]


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_bad_name_is_refused(bad: str) -> None:
    for use in (Datapath.create, Datapath.open, Datapath.delete):
        with pytest.raises(ConfigError, match=r"^datapath name .* is not 1\.\.15 letters, digits or signs"):
            use(bad)


@pytest.mark.parametrize("bad", ["all", "default"])
def test_name_that_no_device_can_have_is_refused(bad: str) -> None:
    for use in (Datapath.create, Datapath.open, Datapath.delete):
        with pytest.raises(ConfigError, match=f"^datapath name '{bad}' is reserved"):
            use(bad)


BAD_OPTIONS = [
    ({"max_flows": 0}, r"max_flows 0 is outside 1\.\.16777216"),
    ({"max_flows": 1 << 25}, "max_flows 33554432 is outside"),
    ({"max_flows": "many"}, "max_flows 'many' is outside"),
    ({"max_flows": 10.5}, r"max_flows 10\.5 is outside"),
    ({"max_masks": 1024}, r"max_masks 1024 is outside 1\.\.1023"),
    ({"max_ports": 65536}, r"max_ports 65536 is outside 1\.\.65535"),
    ({"max_ops": 1}, "max_ops 1 is outside"),
    ({"ring_bytes": 3 << 17}, "ring_bytes 393216 is not a power of two"),
    ({"ring_bytes": 4096}, "ring_bytes 4096 is outside"),
    ({"port_quota_bytes": 0}, "port_quota_bytes 0 is outside"),
]


@pytest.mark.parametrize(("sizes", "said"), BAD_OPTIONS)
def test_bad_size_is_refused(sizes: dict[str, int], said: str) -> None:
    for use in (lambda: Options(**sizes), lambda: Datapath.create("never-made", **sizes)):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=said):
            use()


def test_contradictions_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="either options or single sizes"):
        Datapath.create(name, options=Options(), max_flows=5)
    with pytest.raises(ConfigError, match="ports 'h1-port' is one text"):
        Datapath.create(name, ports="h1-port")
    with pytest.raises(TypeError, match="max_flowers"):
        Datapath.create(name, max_flowers=5)
    assert left_behind(name) == []


def test_failed_creation_leaves_nothing(name: str, hosts: tuple[Host, Host, Host]) -> None:
    for ports, error in (
        (["h1-port", "absent"], NotFoundError),
        (["h1-port", "h1-port"], ExistsError),
        (["lo"], ConfigError),
    ):
        with pytest.raises(error):
            Datapath.create(name, ports=ports)
        assert left_behind(name) == []
    command("ip", "link", "add", name, "type", "veth", "peer", "name", "somebody")
    with pytest.raises(ExistsError, match=f"device {name} exists already"):
        Datapath.create(name)
    with Netdev() as devices:
        assert devices.exists(name)
    assert not (ROOT / name).exists()
    with Datapath.create(name, local=False, ports=["h1-port"]) as dp:
        require_sound(dp)


def test_remains_of_a_creation_are_cleared_away(name: str) -> None:
    """As somebody leaves them who is killed: a folder, with or without maps, the devices."""
    (ROOT / name / "maps").mkdir(parents=True)
    with pytest.raises(NotFoundError, match=f"datapath {name} is not whole, .*: delete it, or make it anew"):
        Datapath.open(name)
    assert name not in Datapath.list()
    with Netdev() as devices:
        devices.create_veth(hidden_name("vsi", name), hidden_name("vsj", name))
        devices.create_veth(name, hidden_name("vsp", name, 0))
    Datapath.delete(name)
    assert left_behind(name) == []
    (ROOT / name / "links").mkdir(parents=True)
    with Netdev() as devices:
        devices.create_veth(hidden_name("vsi", name), hidden_name("vsj", name))
    with Datapath.create(name) as dp:
        require_sound(dp)


# ---- full tables


def test_full_flow_table_refuses_and_goes_on(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Datapath.create(name, ports=["h1-port", "h2-port"], local=False, max_flows=10, max_masks=3) as dp:
        connect(dp, 1, 2)
        dp.flows.add_many(Rule(Match(eth_type=n), (Output(1),), 1) for n in range(1, 9))
        with pytest.raises(TableFullError, match=r"no room for 1 megaflows: 10 of max_flows 10 are in use"):
            dp.flows.add(Match(in_port=9), Output(1))
        with pytest.raises(TableFullError, match=r"no room for 3 megaflows"):
            dp.flows.add_many(Rule(Match(in_port=n), (Output(1),)) for n in (7, 8, 9))
        require_sound(dp)
        assert len(dp.flows) == 10
        dp.flows.delete(Match(eth_type=1), 1)
        dp.flows.add(Match(eth_src=5), Output(1), priority=2)
        dp.flows.delete(Match(eth_type=2), 1)
        with pytest.raises(TableFullError, match="no room for another mask: the datapath has all 3 of max_masks"):
            dp.flows.add(Match(eth_dst=5), Output(1), priority=3)
        require_sound(dp)
        assert reach(hosts[0], hosts[1])


def fill(dp: Datapath) -> None:
    for number in range(100):
        dp.flows.add(Match(in_port=3 + number), (PushVlan(number), Output(2)))


def test_full_room_for_actions_refuses_and_goes_on(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Datapath.create(name, ports=["h1-port", "h2-port"], local=False, max_ops=64) as dp:
        connect(dp, 1, 2)
        with pytest.raises(TableFullError, match=r"no room for \d+ steps of actions: \d+ lists fill max_ops 64"):
            fill(dp)
        assert 8 < len(dp.flows) < 30
        require_sound(dp)
        with pytest.raises(TableFullError):
            dp.execute(frame(), (PushVlan(77), Output(2)))
        with pytest.raises(TableFullError):
            dp.flows.modify(Match(in_port=1), (PushVlan(77), Output(2)))
        with pytest.raises(TableFullError):
            dp.flows.add_many(Rule(Match(in_port=1000 + n), (PushVlan(100 + n), Output(2))) for n in range(3))
        with pytest.raises(TableFullError):
            dp.flows.replace([*dp.flows, Rule(Match(in_port=1000), (PushVlan(99), Output(1)))])
        assert dp.flows.get(Match(in_port=1)).actions == (Output(2),)
        require_sound(dp)
        assert reach(hosts[0], hosts[1])
        dp.flows.delete(Match(in_port=3))
        dp.execute(frame(), (PushVlan(77), Output(2)))
        require_sound(dp)


def test_more_looks_of_packets_than_are_kept_push_out_the_oldest(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    """A packet sent down says what it looks like by one of 1024 entries."""
    with hosts[1].capturing(is_test) as received:
        for number in range(2100):
            dp.execute(frame(60, number), Output(2) if number % 3 else (Clone((Output(2),)), Output(9)), in_port=number)
        received.wait_for(2100)
    assert [int.from_bytes(each[14:18], "big") for each in received] == list(range(2100))
    require_sound(dp)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((256, 100), r"meter 256 is outside 0\.\.255 \(max_meters\)"),
        ((-1, 100), "meter -1 is outside"),
        (("1", 100), "meter '1' is outside"),
        ((1, 0), "rate 0 is outside"),
        ((1, 1.5), r"rate 1\.5 is outside"),
        ((1, 100, "mbps"), "unit 'mbps' is neither"),
        ((1, 100, "kbps", 0), r"burst 0 is outside"),
        ((1, 1, "kbps", 10**9), r"burst 1000000000 is outside 0\.\.4503599 \(of rate 1 kbps\)"),
        ((1, 10**6, "pktps", 10**9 + 1), r"burst 1000000001 is outside 0\.\.1000000000 "),
        ((1, 100, "kbps", "1"), r"burst '1' is outside"),
    ],
)
def test_meter_that_cannot_be_is_refused(dp: Datapath, arguments: tuple[int, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dp.meters.set(*arguments)
    assert dp.meters.list() == []
    with pytest.raises(NotFoundError, match="meter 1 does not exist"):
        dp.meters.delete(1)


# ---- packets

BAD_PACKETS: list[tuple[Callable[[Datapath], object], type[Exception], str]] = [
    (lambda dp: dp.execute(b""), ConfigError, r"a packet of 0 bytes is outside 14\.\.65549"),
    (lambda dp: dp.execute(bytes(13)), ConfigError, "a packet of 13 bytes is outside"),
    (lambda dp: dp.execute(bytes(65550)), ConfigError, "a packet of 65550 bytes is outside"),
    (lambda dp: dp.execute(bytes(20), in_port=65535), ConfigError, r"in_port 65535 is outside 0\.\.65534"),
    (lambda dp: dp.execute(bytes(20), in_port=-1), ConfigError, "in_port -1 is outside"),
    (lambda dp: dp.execute("text" * 10), ConfigError, "is no bytes"),  # type: ignore[arg-type]
    (lambda dp: dp.execute(bytes(20), offload=Offload(bytes(4))), ConfigError, "offload of 4 bytes, not 10"),
    (lambda dp: dp.execute(bytes(20), offload=bytes(10)), ConfigError, "offload .* is no Offload"),  # type: ignore[arg-type]
    (
        lambda dp: dp.execute(bytes(20), offload=Offload(b"\1" + bytes(5) + b"\xff\xff\xff\xff")),
        VswitchError,
        "the kernel refuses a packet of 20 bytes: Invalid argument",
    ),
]


def test_packets_that_cannot_be_are_refused(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    for use, error, said in BAD_PACKETS:
        with pytest.raises(error, match=said):
            use(dp)
    require_sound(dp)
    with hosts[1].capturing(is_test) as received:
        for packet in (frame(18), bytearray(frame(60)), memoryview(frame(1514))):
            dp.execute(packet, Output(2))
        received.wait_for(3)
    assert [len(each) for each in received] == [18, 60, 1514]


def test_datapath_whose_way_in_was_deleted_says_so(dp: Datapath, lab: Lab, hosts: tuple[Host, Host, Host]) -> None:
    command("ip", "link", "delete", hidden_name("vsi", dp.name))
    for use in (lambda: dp.execute(frame(), Output(1)), dp.start_upcalls):
        with pytest.raises(NotFoundError, match=f"by which packets enter datapath {dp.name}, is gone .*make it anew"):
            use()
    assert reach(hosts[0], hosts[1])


def test_interpreter_that_ends_in_the_middle_says_nothing(name: str, lab: Lab) -> None:
    """No complaint of destructors, whatever is still open."""
    code = f"from vswitch import Datapath\ndp = Datapath.create({name!r})\ndp.start_upcalls()\nraise SystemExit(3)\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (3, "")
    assert "Traceback" not in result.stderr
    Datapath.delete(name)
