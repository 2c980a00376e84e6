"""A laboratory of network namespaces: hosts on veth pairs around a switch, apart from the machine's network.

    with Lab() as lab:                                  # this thread is now in the namespace of the switch
        h1 = lab.host("h1", ip="10.0.0.1/24")
        h2 = lab.host("h2", ip="10.0.0.2/24")
        ...                                             # add h1.port and h2.port to a switch
        assert h1.ping(h2.ip).received == 3

The switch has a namespace of its own, and the thread that enters the lab is moved into it (setns) until it
leaves; threads and programs started from there begin there too. So whatever the test does to devices
happens in the lab, and labs may run side by side. File systems, bpffs too, stay the machine's: name what
you pin after `lab.name`.

Invariants: every wait has a bound; what the lab made is gone afterwards, also after a failure; what a killed
run left is removed by the next one, known by the name `vs-<pid>-...` of a pid that no longer runs. Nothing
else is touched, and processes are ended by their pid.

Hosts are quiet: they send nothing that a test did not ask for, except ARP and neighbour discovery.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyroute2 import IPRoute

__all__ = [
    "DOWN_DEVICES_COUNT",
    "KERNEL",
    "Frames",
    "Host",
    "Lab",
    "LabError",
    "Ping",
    "inside",
    "is_listening",
    "is_running",
    "patience",
    "remove_leftovers",
    "wait_until",
]

NAMESPACES = Path("/var/run/netns")
"""Where ip(8) keeps namespaces that have a name."""

_NAME = re.compile(r"vs-(\d+)-\d+-\w+")
_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNET = 0x40000000

# linux/if_packet.h, linux/ethtool.h, linux/virtio_net.h, linux/sockios.h
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 6, 8, 15, 23
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
SIOCETHTOOL, ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO = 0x8946, 0x17, 0x1F, 0x24
VNET_HEADER = struct.Struct("<BBHHHH")
VNET_NEEDS_CHECKSUM = 1
AUXDATA = struct.Struct("=IIIHHHH")


KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])
DOWN_DEVICES_COUNT = KERNEL > (6, 1)
"""Whether the kernel counts what is sent to a device that is down: 6.1 does not."""


class LabError(Exception):
    """The laboratory could not do what the test asked for; not the fault of the switch."""


def patience() -> float:
    """By how much this machine is slower than an ordinary one (LAB_PATIENCE): every bound is stretched by it."""
    return float(os.environ.get("LAB_PATIENCE", "1"))


def is_running(pid: int | str) -> bool:
    """Whether there is such a process and it has not ended (it may wait for its parent to notice)."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 5.0) -> None:
    """Returns when `condition()` is true; LabError names `what` when it is not within the bound."""
    end = time.monotonic() + timeout_s * patience()
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {timeout_s * patience():g} s")
        time.sleep(0.005)


def is_listening(port: int) -> bool:
    """Whether somebody listens at this port of TCP (IPv4), in the namespace of the thread."""
    lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@contextmanager
def inside(namespace: Path) -> Iterator[None]:
    """The calling thread in another network namespace. Sockets made there stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _set_namespace(here)
    finally:
        os.close(here)


def _ip_netns(*arguments: str) -> None:
    result = subprocess.run(
        ["ip", "netns", *arguments], capture_output=True, text=True, timeout=20 * patience(), check=False
    )
    if result.returncode:
        raise LabError(f"ip netns {' '.join(arguments)}: {result.stderr.strip()}")


def _end_processes_in(namespaces: Sequence[Path]) -> None:
    """Ends, by pid, every process but this one whose network namespace is one of these."""
    places = set()
    for namespace in namespaces:
        with suppress(OSError):
            places.add((namespace.stat().st_dev, namespace.stat().st_ino))
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):  # it ended by itself
            process = os.pidfd_open(int(folder.name))
            try:
                place = (folder / "ns/net").stat()  # looked up after pidfd_open: the pid is still that process
                if (place.st_dev, place.st_ino) in places:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    select.select([process], [], [], 5)  # readable when it has ended
            finally:
                os.close(process)


def _remove(namespaces: Sequence[Path]) -> None:
    _end_processes_in(namespaces)
    for namespace in namespaces:
        try:
            _ip_netns("delete", namespace.name)
        except LabError:
            if namespace.exists():  # no other run was faster
                raise


def remove_leftovers() -> None:
    """Removes the namespaces, with devices and processes in them, of labs whose process was killed."""
    if NAMESPACES.is_dir():
        names = ((path, _NAME.fullmatch(path.name)) for path in NAMESPACES.iterdir())
        dead = [path for path, name in names if name and not is_running(name[1])]
        if dead:
            _remove(dead)


def _sysctl(name: str, value: int) -> None:
    """Sets a variable of the thread's network namespace; one that the kernel does not have is no loss."""
    path = Path("/proc/sys/net", name)
    if path.exists():
        path.write_text(str(value))


@dataclass(frozen=True, slots=True)
class Ping:
    """What ping saw: requests `sent`, replies `received`, and of each reply the round-trip time and the TTL."""

    sent: int
    received: int
    rtts_ms: tuple[float, ...]
    ttls: tuple[int, ...]


class Frames(list[bytes]):
    """Frames that arrived at a host since the capture began, VLAN tags in place; complete when the capture ends.

    `headers` has the `struct virtio_net_hdr` of each: a GSO packet arrives as one frame with a partial checksum.
    """

    def __init__(self, sock: socket.socket, keep: Callable[[bytes], bool]) -> None:
        super().__init__()
        self.headers: list[bytes] = []
        self._socket = sock
        self._keep = keep

    def wait_for(self, count: int, timeout_s: float = 5.0) -> Self:
        """Returns when there are at least `count` frames, or when the time is over."""
        end = time.monotonic() + timeout_s * patience()
        while len(self) < count and (rest := end - time.monotonic()) > 0:
            self._read(rest)
        return self

    def settle(self, quiet_s: float = 0.05) -> Self:
        """Returns when nothing has come for `quiet_s`."""
        while self._read(quiet_s * patience()):
            pass
        dropped = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        if dropped:
            raise LabError(f"the capture lost {dropped} frames: its buffer was full")
        return self

    def _read(self, timeout_s: float) -> bool:
        """Reads all that is there; waits for the first. Returns whether there was any."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return False
        with suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self._socket.recvmsg(1 << 17, socket.CMSG_SPACE(AUXDATA.size))
                header, frame = _with_tag(data, ancillary)
                if self._keep(frame):
                    self.append(frame)
                    self.headers.append(header)
        return True


def _with_tag(data: bytes, ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[bytes, bytes]:
    """The virtio_net_hdr and the frame with the VLAN tag back that the kernel keeps beside it."""
    header, frame = data[: VNET_HEADER.size], data[VNET_HEADER.size :]
    for level, kind, value in ancillary:
        if (level, kind) != (SOL_PACKET, PACKET_AUXDATA):
            continue
        status, *_, tci, tpid = AUXDATA.unpack(value[: AUXDATA.size])
        if status & TP_STATUS_VLAN_VALID:
            tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
            frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
            flags, gso, length, size, start, offset = VNET_HEADER.unpack(header)
            if flags & VNET_NEEDS_CHECKSUM:
                start += 4
            header = VNET_HEADER.pack(flags, gso, length + 4 if length else 0, size, start, offset)
    return header, frame


class Host:
    """A namespace with one device, `eth0`; `port` is the name of its other end, in the namespace of the switch."""

    device = "eth0"

    def __init__(
        self, name: str, namespace: Path, port: str, mac: str, ip: IPv4Interface | None, ip6: IPv6Interface | None
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.port = port
        self.mac = mac
        self.ip = str(ip.ip) if ip else ""
        self.ip6 = str(ip6.ip) if ip6 else ""
        self._stack = ExitStack()

    def inside(self) -> Any:
        """The calling thread, for the length of a with statement, in this host's namespace."""
        return inside(self.namespace)

    # Programs

    def run(
        self, command: Sequence[str], *, timeout_s: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end. LabError: it took too long or, with `check`, failed."""
        try:
            with self.inside():
                result = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=timeout_s * patience(),
                    check=False,
                    env={**os.environ, "LC_ALL": "C"},
                )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: {' '.join(command)} took longer than {timeout_s * patience():g} s") from None
        if check and result.returncode:
            output = (result.stderr or result.stdout).strip()
            raise LabError(f"{self.name}: {' '.join(command)} ended with {result.returncode}: {output}")
        return result

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a program, which ends with the lab, or with the thread that started it. Its output goes nowhere
        unless `options` (those of subprocess.Popen) say so."""
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        with self.inside():
            process: subprocess.Popen[str] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command], **{**quiet, "text": True, **options}
            )
        self._stack.callback(_end, process)
        return process

    def ping(
        self, ip: str, count: int = 3, interval_s: float = 0.2, *, size: int = 56, options: Sequence[str] = ()
    ) -> Ping:
        """Sends `count` echo requests with `size` bytes of data. LabError: ping itself failed (no route, ...)."""
        wait_s = max(1, round(patience()))
        command = ["ping", "-n", "-c", str(count), "-i", str(interval_s), "-W", str(wait_s), "-s", str(size)]
        result = self.run([*command, *options, ip], timeout_s=count * (interval_s + 1) + 20, check=False)
        counts = re.search(r"(\d+) packets transmitted, (\d+) received", result.stdout)
        if not counts:
            raise LabError(f"{self.name}: ping {ip}: {(result.stderr or result.stdout).strip()}")
        replies = re.findall(r"icmp_seq=\d+ ttl=(\d+) time=([\d.]+) ms", result.stdout)
        rtts, ttls = tuple(float(rtt) for _, rtt in replies), tuple(int(ttl) for ttl, _ in replies)
        return Ping(int(counts[1]), int(counts[2]), rtts, ttls)

    def serve_http(self, port: int = 80, content: str | None = None) -> str:
        """Serves one file at the address returned; `content` is by default a line that names the host."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vs-http-"))
        Path(folder, "index.html").write_text(f"hello from {self.name}\n" if content is None else content)
        command = [sys.executable, "-m", "http.server", str(port), "--directory", folder]
        command += ["--bind", "::"] if self.ip6 else []  # both families
        self._wait_for_server(self.popen(command), port)
        return f"http://{self.ip or f'[{self.ip6}]'}:{port}/"

    def curl(self, url: str, *, timeout_s: float = 5.0, options: Sequence[str] = ()) -> str:
        """The body of the answer. LabError: none came."""
        limit = f"{timeout_s * patience():g}"
        return self.run(["curl", "-gsSf", "--max-time", limit, *options, url], timeout_s=timeout_s + 5).stdout

    def iperf3_server(self, port: int = 5201) -> None:
        """Starts a server for `iperf3`."""
        self._wait_for_server(self.popen(["iperf3", "-s", "-p", str(port)]), port)

    def iperf3(
        self,
        ip: str,
        seconds: int = 1,
        parallel: int = 1,
        *,
        udp: bool = False,
        bitrate: str = "0",
        reverse: bool = False,
        port: int = 5201,
        options: Sequence[str] = (),
    ) -> float:
        """Sends as fast as it can (or at `bitrate`, as `-b` has it); returns what arrived, in Gbit/s of payload."""
        command = ["iperf3", "-c", ip, "-p", str(port), "-t", str(seconds), "-P", str(parallel), "-b", bitrate, "-J"]
        command += [flag for flag, wanted in (("-u", udp), ("-R", reverse)) if wanted]
        command += ["--connect-timeout", str(int(5000 * patience()))]
        result = self.run([*command, *options], timeout_s=seconds + 15, check=False)
        report = json.loads(result.stdout or "{}")
        if result.returncode or "error" in report:
            raise LabError(f"{self.name}: iperf3 {ip}: {report.get('error') or result.stderr.strip()}")
        if udp:
            total = report["end"]["sum"]
            return float(total["bits_per_second"] * (1 - total["lost_percent"] / 100) / 1e9)
        return float(report["end"]["sum_received"]["bits_per_second"] / 1e9)

    def _wait_for_server(self, process: subprocess.Popen[str], port: int) -> None:
        """Waits until something in this host listens on TCP port `port`."""
        listening = re.compile(rf"^\s*\d+: \w+:{port:04X} \w+:0000 0A ", re.MULTILINE)

        def ready() -> bool:
            if process.poll() is not None:
                raise LabError(f"{self.name}: {process.args!r} ended with {process.returncode} at once")
            tables = (Path(f"/proc/{process.pid}/net/{table}") for table in ("tcp", "tcp6"))
            return any(listening.search(table.read_text()) for table in tables if table.exists())

        wait_until(ready, f"{self.name}: a server on port {port}", 10)

    # Raw frames

    def _packet_socket(self, protocol: int) -> socket.socket:
        with self.inside():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            if protocol:
                sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
                sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            sock.bind((self.device, protocol))
        except BaseException:
            sock.close()
            raise
        return sock

    def send(self, frame: bytes, vnet: bytes | None = None, *, times: int = 1) -> None:
        """Sends a frame, Ethernet header first, as it is. `vnet`: a `struct virtio_net_hdr` (10 bytes) for GSO
        or a checksum to be completed."""
        self.send_many([frame] * times, vnet)

    def send_many(self, frames: Iterable[bytes], vnet: bytes | None = None) -> None:
        """Sends frames one after another through one socket; closing one takes the kernel milliseconds."""
        with self._packet_socket(0) as sock:
            for frame in frames:
                sock.send((vnet or bytes(VNET_HEADER.size)) + frame)

    @contextmanager
    def capturing(self, keep: Callable[[bytes], bool] = lambda frame: True) -> Iterator[Frames]:
        """Collects the frames that arrive meanwhile and for which `keep` is true. The kernel holds up to some
        64 MB of them; a loss is a LabError."""
        with self._packet_socket(ETH_P_ALL) as sock:
            sock.setblocking(False)
            frames = Frames(sock, keep)
            yield frames
            frames.settle()

    def capture(
        self, count: int = 1, timeout_s: float = 5.0, keep: Callable[[bytes], bool] = lambda frame: True
    ) -> list[bytes]:
        """The frames that arrive from now on, until there are `count` or the time is over."""
        with self.capturing(keep) as frames:
            frames.wait_for(count, timeout_s)
        return list(frames)

    def close(self) -> None:
        """Ends the programs; the namespace goes with the lab."""
        self._stack.close()


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2 * patience())
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait(10)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


class Lab:
    """A namespace for the switch, in which the thread that enters the lab works, and hosts around it.

    The switch's namespace has loopback up and IPv6 off for new devices, so the ports' own ends are silent. Needs root.
    """

    def __init__(self) -> None:
        self.name = f"vs-{os.getpid()}-{next(_numbers)}"
        self.hosts: dict[str, Host] = {}
        self._namespaces: list[Path] = []
        self._thread = 0
        self._home = -1

    def __enter__(self) -> Self:
        if os.geteuid():
            raise LabError("a lab needs root: it makes network namespaces")
        remove_leftovers()
        self._thread = threading.get_ident()
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            switch = self._make_namespace("switch")
            with switch.open() as there:
                _set_namespace(there.fileno())
            _sysctl("ipv6/conf/all/disable_ipv6", 1)
            _sysctl("ipv6/conf/default/disable_ipv6", 1)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def switch_namespace(self) -> Path:
        """The namespace of the switch, as a path to open."""
        return self._namespaces[0]

    def host(
        self,
        name: str,
        ip: str | None = None,
        ip6: str | None = None,
        *,
        mac: str | None = None,
        mtu: int = 1500,
        offload: bool = True,
    ) -> Host:
        """Makes a host. `ip` and `ip6` with prefix length, usable at once; `mac` is by default 02:00:00:00:00:01 for
        the first host, and so on. Without `offload` it completes checksums and segments itself."""
        if name in self.hosts or not re.fullmatch(r"\w{1,10}", name):
            raise LabError(f"host {name!r}: a name of at most ten letters and digits that no other host has")
        mac = mac or f"02:00:00:00:00:{len(self.hosts) + 1:02x}"
        address, address6 = (ip_interface(text) if text else None for text in (ip, ip6))
        assert address is None or isinstance(address, IPv4Interface)
        assert address6 is None or isinstance(address6, IPv6Interface)
        host = Host(name, self._make_namespace(name), f"{name}-port", mac, address, address6)
        self.hosts[name] = host
        with inside(host.namespace):
            _quiet(ipv6=address6 is not None)
        with IPRoute() as route:
            peer = {"ifname": host.device, "address": mac, "mtu": mtu, "net_ns_fd": str(host.namespace)}
            route.link("add", ifname=host.port, kind="veth", mtu=mtu, peer=peer)
            route.link("set", index=route.link_lookup(ifname=host.port)[0], state="up")
        with inside(host.namespace), IPRoute() as route:
            if not offload:
                _offloads_off(host.device)
            device = route.link_lookup(ifname=host.device)[0]
            for interface in (address, address6):
                if interface:
                    route.addr("add", index=device, address=str(interface.ip), prefixlen=interface.network.prefixlen)
            route.link("set", index=device, state="up")
            wait_until(lambda: _is_up(route, device), f"host {name}: carrier")
            if address6:
                wait_until(lambda: _membership_reports() >= 2, f"host {name}: its multicast membership reports")
        return host

    def introduce(self) -> None:
        """Tells every host the MAC addresses of all others, so that none has to ask (ARP, neighbour discovery)."""
        for host in self.hosts.values():
            with host.inside(), IPRoute() as route:
                device = route.link_lookup(ifname=host.device)[0]
                for other in self.hosts.values():
                    for address in (other.ip if host.ip else "", other.ip6 if host.ip6 else ""):
                        if other is not host and address:
                            route.neigh("replace", dst=address, lladdr=other.mac, ifindex=device, state="permanent")

    def close(self) -> None:
        """Back to the namespace the thread came from; hosts and the switch's namespace are removed."""
        assert self._thread in (0, threading.get_ident()), "a lab is left by the thread that entered it"
        if self._home >= 0:
            _set_namespace(self._home)
            os.close(self._home)
            self._home = -1
        with ExitStack() as stack:  # all of it, also when a part fails
            stack.callback(_remove, [path for path in self._namespaces if path.exists()])
            for host in self.hosts.values():
                stack.callback(host.close)

    def _make_namespace(self, role: str) -> Path:
        path = NAMESPACES / f"{self.name}-{role}"
        self._namespaces.append(path)
        _ip_netns("add", path.name)
        with inside(path), IPRoute() as route:
            route.link("set", index=1, state="up")  # loopback
        return path


def _is_up(route: Any, device: int) -> bool:
    return bool(route.get_links(device)[0].get_attr("IFLA_OPERSTATE") == "UP")


def _quiet(*, ipv6: bool) -> None:
    """No traffic of the kernel's own from devices yet to come in this namespace."""
    for name, value in {
        "disable_ipv6": 0 if ipv6 else 1,
        "accept_dad": 0,
        "dad_transmits": 0,
        "accept_ra": 0,
        "router_solicitations": 0,
        "addr_gen_mode": 1,  # no link-local address
        "mldv2_unsolicited_report_interval": 1,  # ms: membership reports cannot be turned off, but soon over
    }.items():
        _sysctl(f"ipv6/conf/default/{name}", value)


def _membership_reports() -> int:
    """How many membership reports (MLDv2) this namespace has sent; for a new address they are two."""
    sent = re.search(r"^Icmp6OutType143\s+(\d+)", Path("/proc/thread-self/net/snmp6").read_text(), re.MULTILINE)
    return int(sent[1]) if sent else 0


def _offloads_off(device: str) -> None:
    """Has the kernel complete checksums and segment packets before they reach the device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM):
            value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
            request = ctypes.create_string_buffer(struct.pack("16sP16x", device.encode(), ctypes.addressof(value)), 40)
            if _libc.ioctl(sock.fileno(), SIOCETHTOOL, request):
                raise LabError(f"{device}: offloads cannot be turned off: {os.strerror(ctypes.get_errno())}")
