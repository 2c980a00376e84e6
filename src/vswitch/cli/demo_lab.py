"""Where the demonstration takes place: hosts in network namespaces, and the traffic that they make.

    with Lab() as lab:                          # this thread is now in the namespace of the switch
        h1, h2 = lab.host("h1", 1), lab.host("h2", 2)
        ...                                     # devices h1 and h2 are ports of a switch
        print(h1.ping(h2))

Nothing of the machine's own network is touched. Everything that outlives a process is named `vsdemo-PID`, so
demonstrations run side by side, and what a killed one left is known by a PID that no longer runs.

Invariants: every wait has a bound; what the lab made is gone when it is left, however it is left.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vswitch.api.datapath import Datapath
from vswitch.base.errors import BusyError, KernelError, MachineError, NotFoundError, VswitchError

__all__ = ["DemoError", "Host", "Lab", "Ping", "missing_programs"]

PROGRAMS = {"ip": "iproute2", "ping": "iputils-ping", "curl": "curl", "iperf3": "iperf3"}
"""What the demonstration runs, and the Debian package that has it."""

PATIENCE_S = 30.0
"""Bound of every wait: far more than a slow machine needs."""

_NAMESPACES = Path("/run/netns")
_NAME = re.compile(r"(vsdemo-(\d+))(-\w+)?")
_CLONE_NEWNET = 0x40000000
_HTTP_PROGRAM = (sys.executable, "-m", "http.server", "--bind", "0.0.0.0")

_libc = ctypes.CDLL(None, use_errno=True)


class DemoError(VswitchError):
    """The traffic did not do what it should."""


@dataclass(frozen=True, slots=True)
class Ping:
    """What ping saw: `sent` requests, and the round trip (ms) of each that was answered."""

    sent: int
    rtts_ms: tuple[float, ...]

    def __str__(self) -> str:
        """`3 of 3 answered, the first after 0.61 ms, then 0.07 ms`"""
        if not self.rtts_ms:
            return f"none of {self.sent} answered"
        first, *others = self.rtts_ms
        then = f", then {statistics.median(others):.2f} ms" if others else ""
        return f"{len(self.rtts_ms)} of {self.sent} answered, the first after {first:.2f} ms{then}"


# ---- network namespaces


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    """The calling thread in another network namespace; sockets and processes made there stay there."""
    with _HERE.open("rb") as here:
        with namespace.open("rb") as there:
            _set_namespace(there.fileno())
        try:
            yield
        finally:
            _set_namespace(here.fileno())


_HERE = Path("/proc/thread-self/ns/net")


def _ip(*arguments: str) -> None:
    done = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False, process_group=0
    )
    if done.returncode:
        raise MachineError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _is_running(pid: str) -> bool:
    return Path("/proc", pid).exists()


def _end_processes(namespaces: Iterable[Path]) -> None:
    """Kill, by their ids, the processes in these namespaces; this one aside."""
    places = {(stat.st_dev, stat.st_ino) for stat in map(Path.stat, namespaces)}
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with suppress(OSError):  # it ended by itself
            process = os.pidfd_open(int(folder.name))
            try:
                place = (folder / "ns/net").stat()  # looked up after pidfd_open: it is still that process
                if (place.st_dev, place.st_ino) in places:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    select.select([process], [], [], PATIENCE_S)  # readable when it has ended
            finally:
                os.close(process)


def _remove(namespaces: Iterable[Path]) -> None:
    there = [namespace for namespace in namespaces if namespace.exists()]
    _end_processes(there)
    for namespace in there:
        try:
            _ip("netns", "delete", namespace.name)
        except MachineError:
            if namespace.exists():  # no other run was faster
                raise


def _remove_leftovers() -> None:
    """Datapaths and namespaces of demonstrations whose process was killed."""
    namespaces = list(_NAMESPACES.iterdir()) if _NAMESPACES.is_dir() else []
    names = map(_NAME.fullmatch, [*(path.name for path in namespaces), *Datapath.list()])
    for name in {found[1] for found in names if found and not _is_running(found[2])}:
        switch = _NAMESPACES / f"{name}-switch"  # where the datapath's devices are, if they are anywhere
        with _inside(switch) if switch.exists() else nullcontext(), suppress(NotFoundError, BusyError):
            Datapath.delete(name)
        _remove(path for path in namespaces if path.name.startswith(f"{name}-"))


# ---- hosts


class Host:
    """A namespace with one device, `eth0`, that has the addresses; its other end, called as the host is, is for a
    switch to take."""

    def __init__(self, name: str, number: int, network: str, namespace: Path) -> None:
        self.name = name
        self.number = number
        self.ip = f"{network}.{number}"
        self.mac = f"02:00:00:00:00:{number:02x}"
        self._namespace = namespace
        self._stack = ExitStack()

    def plug_in(self) -> None:
        """Make the cable: a veth pair from the calling thread's namespace to the host."""
        with IPRoute() as route:
            peer = {"ifname": "eth0", "address": self.mac, "net_ns_fd": str(self._namespace)}
            _link(route, "veth", self.name, peer=peer)
        with _inside(self._namespace), IPRoute() as route:
            device = route.link_lookup(ifname="eth0")[0]
            route.addr("add", index=device, address=self.ip, prefixlen=24)
            route.link("set", index=device, state="up")

    def stand_in_for(self, others: Iterable[Host]) -> None:
        """Have their addresses too, in silence: ARP never says so, as with servers behind a load balancer."""
        with _inside(self._namespace), IPRoute() as route:
            _sysctl("ipv4/conf/all/arp_ignore", 1)
            _sysctl("ipv4/conf/all/arp_announce", 2)
            for other in others:
                route.addr("add", index=1, address=other.ip, prefixlen=32)

    # ---- programs

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Run a program until the lab is left."""
        quiet = subprocess.DEVNULL
        with _inside(self._namespace):
            # a process group of its own: Ctrl-C is for the demonstration, which ends its programs itself
            process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, text=True, process_group=0)
        self._stack.callback(_end, process)
        return process

    def run(self, *command: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
        """Run a program that takes some `seconds` to its end."""
        with _inside(self._namespace):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
                env={**os.environ, "LC_ALL": "C"},
            )
        with process:
            try:
                output, errors = process.communicate(timeout=seconds + PATIENCE_S)
            except subprocess.TimeoutExpired:
                raise DemoError(f"{' '.join(command)} on {self.name} did not end") from None
            finally:
                process.kill()
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def ping(self, target: Host, count: int = 3) -> Ping:
        """Send echo requests, five a second. DemoError unless all are answered."""
        done = self.run("ping", "-n", "-c", str(count), "-i", "0.2", "-W", "2", target.ip, seconds=3 * count)
        seen = Ping(count, tuple(float(time) for time in re.findall(r"time=([\d.]+) ms", done.stdout)))
        if len(seen.rtts_ms) < count:
            raise DemoError(f"ping from {self.name} to {target.name}: {seen} {done.stderr.strip()}".strip())
        return seen

    def serve_http(self, port: int) -> None:
        """Serve a page that names the host."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vsdemo-")))
        (folder / "index.html").write_text(f"hello from {self.name}\n")
        self._wait_for(self.start(*_HTTP_PROGRAM, "--directory", str(folder), str(port)), port)

    def get(self, url: str) -> str:
        """The page at `url`, by curl."""
        done = self.run("curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20", url)
        if done.returncode:
            raise DemoError(f"{url} from {self.name}: {done.stderr.strip()}")
        return done.stdout.strip()

    def serve_iperf3(self) -> None:
        """Wait for connections of `iperf3`."""
        self._wait_for(self.start("iperf3", "--server"), 5201)

    def iperf3(self, target: Host, seconds: int) -> float:
        """Send by TCP as fast as it goes; what arrived, in Gbit/s of payload."""
        done = self.run("iperf3", "--client", target.ip, "--time", str(seconds), "--json", seconds=seconds)
        report = json.loads(done.stdout or "{}")
        if done.returncode or "error" in report:
            problem = report.get("error") or done.stderr.strip()
            raise DemoError(f"iperf3 from {self.name} to {target.name}: {problem}")
        return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9

    def _wait_for(self, server: subprocess.Popen[str], port: int) -> None:
        """Return when the server listens on TCP `port`."""
        listening = re.compile(rf"^\s*\d+: \w+:{port:04X} \w+:0000 0A ", re.MULTILINE)
        tables = [Path(f"/proc/{server.pid}/net/{table}") for table in ("tcp", "tcp6")]
        end = time.monotonic() + PATIENCE_S
        while not any(listening.search(table.read_text()) for table in tables if table.exists()):
            if server.poll() is not None or time.monotonic() > end:
                raise DemoError(f"{server.args!r} on {self.name} does not listen on port {port}")
            time.sleep(0.01)

    def close(self) -> None:
        """End the programs."""
        self._stack.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(PATIENCE_S)


# ---- the lab


class Lab:
    """A namespace for switches, in which the thread that enters the lab works, and hosts around it."""

    def __init__(self) -> None:
        self.name = f"vsdemo-{os.getpid()}"
        self._hosts: list[Host] = []
        self._namespaces: list[Path] = []
        self._stack = ExitStack()

    def __enter__(self) -> Lab:
        try:
            self._stack.callback(lambda: _remove(self._namespaces))
            switch = self._make_namespace("switch")
            self._stack.enter_context(_inside(switch))
            _remove_leftovers()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def host(self, name: str, number: int, network: str = "10.0.0") -> Host:
        """A host with address NETWORK.NUMBER and a cable to the switches' namespace, a device called `name`."""
        host = Host(name, number, network, self._make_namespace(name))
        self._stack.callback(host.close)
        host.plug_in()
        return host

    def bridge(self, name: str, *hosts: Host) -> None:
        """A Linux bridge between hosts. KernelError if there is none in this kernel."""
        with IPRoute() as route:
            index = _link(route, "bridge", name)
            for host in hosts:
                route.link("set", index=route.link_lookup(ifname=host.name)[0], master=index)

    def _make_namespace(self, role: str) -> Path:
        path = _NAMESPACES / f"{self.name}-{role}"
        self._namespaces.append(path)
        _ip("netns", "add", path.name)
        with _inside(path), IPRoute() as route:
            route.link("set", index=1, state="up")  # loopback
            _sysctl("ipv6/conf/default/disable_ipv6", 1)  # no packets but those of the story
        return path


def _link(route: Any, kind: str, name: str, **options: Any) -> int:
    """Make a device and set it up; its index. KernelError if the kernel has none of this kind."""
    try:
        route.link("add", ifname=name, kind=kind, **options)
    except NetlinkError as problem:
        raise KernelError(f"this kernel does not make devices of kind {kind}: {problem.args[-1]}") from None
    index: int = route.link_lookup(ifname=name)[0]
    route.link("set", index=index, state="up")
    return index


def _sysctl(name: str, value: int) -> None:
    """Set a variable of the thread's network namespace; one that the kernel does not have is no loss."""
    path = Path("/proc/sys/net", name)
    if path.exists():
        path.write_text(str(value))


def missing_programs() -> dict[str, str]:
    """Those of PROGRAMS that are not installed."""
    return {program: package for program, package in PROGRAMS.items() if shutil.which(program) is None}
