"""What the tests of a datapath's life share: what it holds in the kernel, whether it is sound, and processes that are
killed in the middle of changing it.

Invariant: what is looked at here is looked at from outside, in the kernel and in the memory that is shared with it, not
in the books that the process under test keeps, except where these two are compared.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import vswitch
from tests.lab import Host, LabError, is_running, patience, wait_until
from vswitch import Datapath, Match, Output, PortChange, PortEvent, PortKind, VswitchError
from vswitch.datapath.ebpf import attach, bpf_syscall
from vswitch.datapath.ebpf.layout import PORT_INFO
from vswitch.datapath.ebpf.memory import SharedMap
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.datapath.ebpf.state import is_hidden_name, owner_mark
from vswitch.packet import build

__all__ = [
    "MECHANISMS",
    "Controller",
    "Events",
    "Pinging",
    "command",
    "connect",
    "frame",
    "interrupted_at",
    "is_test",
    "kernel_objects",
    "killed_at",
    "killed_later",
    "left_behind",
    "pinging",
    "plug",
    "reach",
    "remove_all",
    "remove_remains",
    "require_sound",
    "require_sound_masks",
    "said_by_child",
    "steps_of",
    "wait_until_gone",
]

MECHANISMS = ["tcx", "clsact"] if bpf_syscall.has_tcx() else ["clsact"]
"""How programs can hang at devices here."""

TEST_TYPE = 0x88B5
"""IEEE 802 local experimental Ethernet type: nobody answers such a frame."""

ROOT = bpf_syscall.ensure_bpffs() / "vswitch"
SOURCE = str(Path(vswitch.__file__).parent)


def command(*words: str) -> str:
    """Runs a program in the namespace of the thread; its output. LabError if it fails."""
    result = subprocess.run(words, capture_output=True, text=True, timeout=30 * patience(), check=False)
    if result.returncode:
        raise LabError(f"{' '.join(words)}: {result.stderr.strip()}")
    return result.stdout


def frame(length: int = 60, number: int = 0) -> bytes:
    """A test frame of so many bytes, with a number in it."""
    return build.ethernet(0x020000000002, 0x020000000001, TEST_TYPE, number.to_bytes(4, "big") + bytes(length - 18))


def is_test(received: bytes) -> bool:
    """Whether it is a test frame."""
    return received[12:14] == TEST_TYPE.to_bytes(2, "big")


def reach(one: Host, other: Host) -> bool:
    """Whether two hosts reach each other."""
    return one.ping(other.ip, count=2, interval_s=0.05).received == 2


def plug(host: Host) -> None:
    """Gives a host its cable back, whose end in the switch was deleted."""
    inside = ("ip", "-n", host.namespace.name)
    far = ("peer", "name", host.device, "address", host.mac, "netns", host.namespace.name)
    command("ip", "link", "add", host.port, "type", "veth", *far)
    command("ip", "link", "set", host.port, "up")
    command(*inside, "address", "add", f"{host.ip}/24", "dev", host.device)
    command(*inside, "link", "set", host.device, "up")


def connect(dp: Datapath, first: int | str, second: int | str) -> None:
    """What comes in by one of two ports goes out by the other."""
    one, other = dp.ports[first].number, dp.ports[second].number
    dp.flows.add(Match(in_port=one), Output(other))
    dp.flows.add(Match(in_port=other), Output(one))


# ---- what is there


def kernel_objects(dp: Datapath) -> set[tuple[str, int]]:
    """The ids of a datapath's maps and programs."""
    state = dp._kernel.state
    objects = {("map", bpf_syscall.map_info(fd).id) for fd in state.maps.values()}
    objects |= {("program", bpf_syscall.prog_info(fd).id) for fd in state.programs.values()}
    for key in bpf_syscall.map_keys(state.maps["programs"], 4):
        value = bpf_syscall.map_lookup(state.maps["programs"], key, 4)
        if value is not None:
            objects.add(("program", int.from_bytes(value, "little")))
    return objects


def _exists(kind: str, number: int) -> bool:
    """Asked without opening it: a map of programs whose last descriptor is closed twice at short intervals is never
    freed (prog_array_map_clear() takes a reference for work that is queued already)."""
    attr = ctypes.create_string_buffer(128)
    struct.pack_into("=I", attr, 0, number - 1)
    result = bpf_syscall._bpf_raw({"program": 11, "map": 12}[kind], attr)  # BPF_PROG_GET_NEXT_ID, BPF_MAP_GET_NEXT_ID
    following: int = struct.unpack_from("=I", attr, 4)[0]
    return result == 0 and following == number


def wait_until_gone(objects: Iterable[tuple[str, int]]) -> None:
    """Returns when the kernel has freed these, which it does some time after the last user."""
    wait_until(lambda: not any(_exists(*each) for each in objects), "maps and programs are freed", 20)


def left_behind(name: str) -> list[str]:
    """What of a datapath is in this namespace and in the bpf file system, besides its maps and programs."""
    found = [str(path) for path in (ROOT / name, *sorted((ROOT / name).rglob("*"))) if path.exists()]
    with Netdev() as devices:
        for device in devices.devices():
            if device.alias == owner_mark(name) or is_hidden_name(device.name, name) or device.name == name:
                found.append(f"device {device.name}")
            found += [
                f"filter at {device.name} {hook}"
                for hook in ("ingress", "egress")
                if f"vswitch:{name}" in command("tc", "filter", "show", "dev", device.name, hook)
            ]
    return found


def remove_all(prefix: str) -> None:
    """Deletes the datapaths, whole or not, whose names are `prefix` and some letters."""
    for name in _pinned(rf"{prefix}[a-z]*"):
        Datapath.delete(name)


def remove_remains() -> None:
    """Deletes the datapaths, whole or not, of test runs that were killed; their devices went with the laboratory."""
    for name in _pinned(r"[a-z]*vs-\d+-\d+[a-z]*"):
        if not is_running(name.partition("-")[2].partition("-")[0]):
            with suppress(VswitchError):  # another run was faster
                Datapath.delete(name)


def _pinned(pattern: str) -> list[str]:
    """Names of datapaths that are pinned, also of those that somebody was killed while making or deleting."""
    folders = ROOT.iterdir() if ROOT.is_dir() else ()
    return [folder.name for folder in folders if re.fullmatch(pattern, folder.name)]


def require_sound(dp: Datapath) -> None:
    """Whether what is in the kernel holds together, and nothing is there of which nobody knows."""
    _require_sound_flows(dp)
    _require_sound_ports(dp)


def _require_sound_flows(dp: Datapath) -> None:
    table = dp._kernel.flows
    flows = list(dp.flows)
    slots = table.slots()
    assert len(flows) == len(slots) == len(dp.flows) == dp.stats().flows
    assert [table.find(flow.match, flow.priority) for flow in flows] == slots, "a flow that the index does not find"
    assert sorted([*slots, *table._free]) == list(range(1, dp._kernel.state.flow_slots)), "a slot that is lost"
    index = SharedMap(dp._kernel.state.maps["index_buckets"], writable=False)
    ids = index.view.cast("I").tolist()
    indexed = [number for at, number in enumerate(ids) if at % 16 >= 8 and number and at % 16 != 15]
    index.close()
    assert sorted(indexed) == slots, "the index has more or fewer than the flows"
    arena = table.arena
    ranges = sorted([*arena.free, *((held.at, held.ops) for held in arena.held.values())])
    end = 1
    for begin, length in ranges:
        assert begin == end, "action steps that are lost or given out twice"
        end = begin + length
    assert end == dp._kernel.state.memory["ops"].entries
    require_sound_masks(dp)
    users = sum(held.users for held in arena.held.values())
    assert users == sum(table._flow_words[slot * 32] >> 48 & 3 == 2 for slot in slots), "users of action lists"


def require_sound_masks(dp: Datapath) -> None:
    """What Python keeps in mind of masks, priorities and overlaps is what lies in the kernel."""
    table = dp._kernel.flows
    rules = [table.rule(slot) for slot in table.slots()]
    per_mask = Counter((rule.match.mask, rule.priority) for rule in rules)
    assert {key: entry.flows for key, entry in table._masks.items()} == per_mask, "flows of a mask, miscounted"
    assert table._priorities == Counter(priority for _, priority in per_mask), "masks of a priority, miscounted"
    in_use = {entry.id for entry in table._masks.values()}
    assert sorted([*in_use, *table._free_masks]) == list(range(1, table._max_masks + 1)), "a mask that is lost"
    for priority, index in table._overlaps.items():
        for mask, known in index._tables.items():
            there = {rule.match.value for rule in rules if (rule.match.mask, rule.priority) == (mask, priority)}
            assert known.values == there, "overlaps would be looked for among other rules"


def _require_sound_ports(dp: Datapath) -> None:
    name, ports = dp.name, list(dp.ports)
    infos = dp._kernel.state.memory["port_infos"]
    records = [PORT_INFO.unpack_from(infos.view, slot * PORT_INFO.size) for slot in range(infos.entries)]
    assert sorted(number for _, number, kind, _, _ in records if kind) == [port.number for port in ports]
    assert not any(unfinished for *_, unfinished, _ in records)
    there = [port for port in ports if port.ifindex is not None]
    words = dp._kernel.state.memory["ports"].view.cast("Q").tolist()
    assert {n: word & 0xFFFFFFFF for n, word in enumerate(words) if word & 0xFFFFFFFF} == {
        port.number: port.ifindex for port in there
    }
    by_ifindex = dp._kernel.state.maps["ports_by_ifindex"]
    known = {int.from_bytes(key, "little") for key in bpf_syscall.map_keys(by_ifindex, 4)}
    assert known == {port.ifindex for port in there}
    with Netdev() as devices:
        ours = {device.ifindex for device in devices.devices() if device.alias == owner_mark(name)}
        hidden = {device.ifindex for device in devices.devices() if is_hidden_name(device.name, name)}
    made = {port.ifindex for port in there if port.kind is not PortKind.SYSTEM}
    assert len(ours) == len(made) + 2, "the injection pair and the devices that were made for ports"
    assert hidden <= ours
    assert made <= ours
    pins = {pin.name for pin in (ROOT / name / "links").iterdir()}
    if bpf_syscall.has_tcx():
        filtered = [port for port in there if attach.find(port.ifindex or 0, "ingress", owner=name) is not None]
        linked = {"inject", *(str(port.number) for port in there if port not in filtered)}
        assert pins in (linked, set()), "links of nobody"


# ---- what happens


class Events:
    """Port events of a datapath, as they come. `dp` may be changed for another one of that name."""

    def __init__(self, dp: Datapath) -> None:
        self.dp = dp
        self.seen: list[PortEvent] = []

    def wait_for(self, change: PortChange, number: int) -> PortEvent:
        """The next event of that kind for that port; those before it are passed over."""

        def arrived() -> bool:
            self.seen += self.dp.ports.events()
            while self.seen:
                if (self.seen[0].change, self.seen[0].port.number) == (change, number):
                    return True
                del self.seen[0]
            return False

        wait_until(arrived, f"port {number}: {change.value}", 10)
        return self.seen.pop(0)

    def settle(self, quiet_s: float = 0.2) -> list[PortEvent]:
        """All events until none comes for a while."""
        seen, self.seen = self.seen, []
        while True:
            time.sleep(quiet_s)
            more = self.dp.ports.events()
            if not more:
                return seen
            seen += more


class Pinging:
    """A ping that runs; when it has ended, how many requests it sent, and the numbers of those without a reply."""

    sent = 0
    lost: tuple[int, ...] = ()


@contextmanager
def pinging(host: Host, ip: str, *, interval_s: float = 0.001) -> Iterator[Pinging]:
    """Pings while the block runs."""
    result = Pinging()
    words = ["ping", "-n", "-i", f"{interval_s:g}", ip]
    with tempfile.TemporaryFile("w+") as output:
        process = host.popen(words, stdout=output, env={**os.environ, "LC_ALL": "C"})
        try:
            time.sleep(0.2)
            yield result
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            process.wait(20 * patience())
        finally:
            process.kill()
        output.seek(0)
        text = output.read()
    sent = re.search(r"(\d+) packets transmitted", text)
    assert sent, text[-500:]
    replies, last = set(), 0
    for number in map(int, re.findall(r"icmp_seq=(\d+) ttl=", text)):
        last += (number - last + 0x8000 & 0xFFFF) - 0x8000  # ping prints 16 bits of it
        replies.add(last)
    result.sent = int(sent[1])
    result.lost = tuple(
        number for number in range(1, result.sent) if number not in replies
    )  # the last may be under way


# ---- other processes, and how they die


_CONTROLLER = """
import sys
from vswitch import *
def done(what="ready"):
    print(what, flush=True)
    return sys.stdin.readline()
name = sys.argv[1]
"""


class Controller:
    """A Python program in a process of its own, in the namespace of the thread: `code`, with everything of vswitch
    imported, `name` (its argument) and `done(what)`, which reports and waits for `go_on`."""

    def __init__(self, name: str, code: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLER + code, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.pid = self._process.pid

    def wait_for(self, what: str = "ready") -> None:
        """Returns when the program has reported that; LabError with its last words if it ends without."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.strip() != what:
            raise LabError(f"expected {what!r}, got {line!r}: {self._process.communicate(timeout=30)[1]}")

    def go_on(self) -> None:
        """Lets `done` return."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """kill -9; returns when it is dead."""
        self._process.kill()
        self._process.wait(20 * patience())

    def end(self, timeout_s: float = 30) -> tuple[int, str, str]:
        """Lets it run to its end: exit status, what it said, and its complaints."""
        output, errors = self._process.communicate("\n" * 9, timeout=timeout_s * patience())
        return self._process.returncode, output, errors

    def close(self) -> None:
        """Ends it if it runs."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.communicate(timeout=20 * patience())

    def __enter__(self) -> Controller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fork(operation: Callable[[], object], trace: Callable[..., Any] | None = None) -> int:
    """Starts `operation`, with a trace function, in a forked process, whose id is returned."""
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.settrace(trace)
        operation()
        sys.settrace(None)
        status = 0
    except BaseException:  # noqa: BLE001 - what it was is said, and the fork must not become a second test run
        traceback.print_exc()
    finally:
        os._exit(status)


def said_by_child(operation: Callable[[], str]) -> str:
    """What `operation` returns in another process, which may give up its privileges."""
    reader, writer = os.pipe()
    child = _fork(lambda: os.write(writer, operation().encode()))
    os.close(writer)
    with open(reader, encoding="utf-8") as output:  # noqa: PTH123 - a descriptor
        said = output.read()
    assert os.waitpid(child, 0)[1] == 0, "the operation itself failed"
    return said


def _counting(reached: Callable[[int], None]) -> Callable[..., Any]:
    """A trace function that reports each line of vswitch, counted from 1."""
    steps = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal steps
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        if event == "line":
            steps += 1
            reached(steps)
        return trace

    return trace


def steps_of(operation: Callable[[], object]) -> int:
    """How many lines of vswitch an operation runs through; it is done once, in another process."""
    reader, writer = os.pipe()
    last = 0

    def note(step: int) -> None:
        nonlocal last
        last = step

    def counted() -> None:
        operation()
        os.write(writer, str(last).encode())

    try:
        _, status = os.waitpid(_fork(counted, _counting(note)), 0)
        assert status == 0, "the operation itself failed"
        return int(os.read(reader, 20))
    finally:
        os.close(reader)
        os.close(writer)


def killed_at(step: int, operation: Callable[[], object]) -> bool:
    """Does `operation` in another process that is killed (SIGKILL) before the `step`th line of vswitch that it runs
    through. Whether it came so far."""

    def die(reached: int) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(_fork(operation, _counting(die)), 0)
    assert status == 0 or os.WIFSIGNALED(status), "the operation itself failed"
    return status != 0


def interrupted_at(step: int, operation: Callable[[], object]) -> bool:
    """Does `operation` here; Ctrl-C ends it before the `step`th line of vswitch that it runs through. Whether it came
    so far."""

    def interrupt(reached: int) -> None:
        if reached == step:
            sys.settrace(None)
            raise KeyboardInterrupt

    sys.settrace(_counting(interrupt))
    try:
        operation()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def killed_later(seconds: float, operation: Callable[[], object]) -> None:
    """Does `operation` in another process that is killed after so long; it must not have ended by itself."""
    child = _fork(operation)
    time.sleep(seconds * patience())
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the operation itself failed"
