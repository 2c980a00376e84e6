"""The contestants: vswitch, the least there can be (a bare redirect), the Linux bridge, Open vSwitch."""

from __future__ import annotations

import itertools
import os
import re
import socket
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from pyroute2 import IPRoute

from bench.openvswitch import OpenVswitchError, PrivateOpenVswitch
from bench.rules import Flow
from bench.testbed import Program
from tests.lab import is_running, patience
from vswitch.api import Datapath, Options
from vswitch.base.errors import VswitchError
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.model.actions import Output
from vswitch.model.match import Match
from vswitch.model.megaflow import Rule

__all__ = ["Bridge", "OpenVswitch", "OpenVswitchModule", "Redirect", "Vswitch", "new_name", "remove_leftovers"]

_NAME = re.compile(r"bn(\d+)-\d+")
_numbers = itertools.count(1)

_AGEING_TIME = 10**7
"""Hundredths of a second: a bridge must not forget a host between two measurements."""


def new_name() -> str:
    """A name for a datapath or device, by which the next run knows what a killed one left."""
    return f"bn{os.getpid()}-{next(_numbers)}"


def remove_leftovers() -> None:
    """Remove datapaths of runs that were killed; their devices went with the laboratory."""
    for name in Datapath.list():
        known = _NAME.fullmatch(name)
        if known and not is_running(known[1]):
            with suppress(VswitchError):
                Datapath.delete(name)


class Vswitch:
    """vswitch with one rule for each of ports 1 and 2; `sizes` as Datapath.create() has them."""

    label = "vswitch"
    takes_offloads = True

    def __init__(self, *, peer_redirect: bool = False, label: str = "", **sizes: int) -> None:
        self.datapath = Datapath.create(new_name(), local=False, options=Options(**sizes))
        self._peer_redirect = peer_redirect
        self.label = label or self.label

    def connect(self, ports: Sequence[str]) -> None:
        for device in ports:
            self.datapath.ports.add(device, peer_redirect=self._peer_redirect)
        self.datapath.flows.add(Match(in_port=1), Output(2))
        self.datapath.flows.add(Match(in_port=2), Output(1))

    def install(self, flows: Sequence[Flow]) -> None:
        self.datapath.flows.replace([*(flow.rule() for flow in flows), Rule(Match(in_port=2), (Output(1),))])

    def close(self) -> None:
        name = self.datapath.name
        self.datapath.close()
        Datapath.delete(name)


class Redirect:
    """redirect.bpf.c: two ports, one map lookup, bpf_redirect()."""

    label = "bare bpf_redirect"
    takes_offloads = True

    def __init__(self) -> None:
        self._program = Program("redirect")

    def connect(self, ports: Sequence[str]) -> None:
        other = self._program.object.map_fd("other_device")
        for here, there in (ports, reversed(ports)):
            key, value = (struct.pack("=I", socket.if_nametoindex(device)) for device in (here, there))
            bpf_syscall.map_update(other, key, value)
            self._program.attach(here)

    def install(self, flows: Sequence[Flow]) -> None: ...

    @property
    def program_fd(self) -> int:
        """The program, for test runs."""
        return self._program.object.program_fd("redirect")

    def close(self) -> None:
        self._program.close()


class Bridge:
    """The Linux bridge."""

    label = "Linux bridge"
    takes_offloads = True

    def connect(self, ports: Sequence[str]) -> None:
        self._name = new_name()
        with IPRoute() as route:
            route.link("add", ifname=self._name, kind="bridge", br_stp_state=0, br_ageing_time=_AGEING_TIME)
            index = route.link_lookup(ifname=self._name)[0]
            route.link("set", index=index, state="up")
            for port in ports:
                route.link("set", index=route.link_lookup(ifname=port)[0], master=index)

    def install(self, flows: Sequence[Flow]) -> None: ...

    def close(self) -> None:
        """It goes with the laboratory."""


class OpenVswitch:
    """Open vSwitch, with its daemon, on datapath type "netdev" (user space) or "system" (openvswitch.ko).

    `segmentation`: let the userspace datapath pass on what was left to the network card, which is not its default, but
    by far its fastest for TCP.
    """

    label = "Open vSwitch (user space)"

    def __init__(self, datapath_type: str = "netdev", *, segmentation: bool = False) -> None:
        if datapath_type == "system":
            self.label = OpenVswitchModule.label
        elif segmentation:
            self.label = "Open vSwitch (user space, TSO)"
        self.takes_offloads = segmentation or datapath_type == "system"
        settings = {"userspace-tso-enable": "true"} if segmentation else {}
        self.daemon = PrivateOpenVswitch(new_name(), datapath_type, settings)

    def connect(self, ports: Sequence[str]) -> None:
        for number, port in enumerate(ports, 1):
            self.daemon.add_port(port, number)
        self.daemon.set_flows(["in_port=1,actions=output:2", "in_port=2,actions=output:1"])

    def install(self, flows: Sequence[Flow]) -> None:
        self.daemon.set_flows(["in_port=2,actions=output:1", *(flow.openflow() for flow in flows)])

    def close(self) -> None:
        self.daemon.close()


class OpenVswitchModule:
    """openvswitch.ko alone, with megaflows from ovs-dpctl: no daemon that could replace them by its own."""

    label = "Open vSwitch (kernel module)"
    takes_offloads = True

    def __init__(self) -> None:
        self._name = new_name()
        _dpctl("add-dp", self._name)

    def connect(self, ports: Sequence[str]) -> None:
        for number, port in enumerate(ports, 1):
            _dpctl("add-if", self._name, f"{port},port_no={number}")
        for here, there in ((1, 2), (2, 1)):
            _dpctl("add-flow", self._name, f"in_port({here}),eth()", str(there))

    def install(self, flows: Sequence[Flow]) -> None:
        _dpctl("del-flows", self._name)
        with tempfile.NamedTemporaryFile("w", prefix="bench-flows-") as file:
            file.writelines(f"{flow.datapath()} 2\n" for flow in flows)
            file.write("in_port(2),eth() 1\n")
            file.flush()
            _dpctl("add-flows", self._name, file.name)
        present = len(_dpctl("dump-flows", self._name).splitlines())
        if present != len(flows) + 1:  # add-flows ends well whatever happens
            raise OpenVswitchError(f"ovs-dpctl add-flows: {present} of {len(flows) + 1} flows are there")

    def close(self) -> None:
        _dpctl("del-dp", self._name)


def _dpctl(*arguments: str) -> str:
    command = ["ovs-dpctl", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60 * patience(), check=False)
    if result.returncode:
        raise OpenVswitchError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout
