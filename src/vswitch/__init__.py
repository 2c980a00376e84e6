"""vswitch: a programmable virtual switch for Linux, in Python and eBPF.

from vswitch import Datapath, Match, Output

with Datapath.create("dp0", ports=["veth1", "veth2"]) as dp:
    dp.flows.add(Match(tcp_dst=80), Output(2), priority=10)
    dp.run()

The names live in the rooms below and are fetched when they are first used: who wants only the text of flows, or the
help of the command line, does not wait for the datapath to be loaded.
"""

# ruff: noqa: F403, F405 - for mypy all is there at once

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself takes longer to load than vsctl does to answer
if TYPE_CHECKING:
    from vswitch.api import *
    from vswitch.base.errors import *
    from vswitch.bridge import *
    from vswitch.model import *
    from vswitch.policy import *
    from vswitch.text import *

__version__: str  # fetched like the others

_ROOMS = ("vswitch.base.errors", "vswitch.model", "vswitch.text", "vswitch.policy", "vswitch.api", "vswitch.bridge")
"""The cheapest to load first."""

__all__ = [
    "Action",
    "Answer",
    "Bridge",
    "BridgeOptions",
    "BusyError",
    "CheckPacketLength",
    "Clone",
    "ConfigError",
    "ControllerSettings",
    "ControllerState",
    "Datapath",
    "DatapathStats",
    "DecTtl",
    "Decision",
    "Drop",
    "ExistsError",
    "Explanation",
    "FlowStats",
    "Flows",
    "Hash",
    "KernelError",
    "Key",
    "LimitError",
    "LoadError",
    "MachineError",
    "Match",
    "McastSnooping",
    "Megaflow",
    "Meter",
    "MeterInfo",
    "Meters",
    "Mirror",
    "MirrorStats",
    "Miss",
    "MulticastGroup",
    "Networks",
    "NotFoundError",
    "Offload",
    "OpenFlowError",
    "Options",
    "Output",
    "OverlapError",
    "Packet",
    "PacketTrace",
    "Policing",
    "Policy",
    "PolicyAnswer",
    "PolicyTimeoutError",
    "PopMpls",
    "PopVlan",
    "Port",
    "PortChange",
    "PortEvent",
    "PortKind",
    "PortStats",
    "PortVlan",
    "Ports",
    "PrivilegeError",
    "PushMpls",
    "PushVlan",
    "Recirculate",
    "Reply",
    "Rewrite",
    "Rule",
    "Sample",
    "Sent",
    "SetField",
    "Table",
    "TableFullError",
    "TableSettings",
    "TextError",
    "Tls",
    "Transaction",
    "Truncate",
    "UnexpectedUpcallError",
    "UpcallReason",
    "UpcallStats",
    "Userspace",
    "VswitchError",
    "Workers",
    "arp_reply",
    "arp_request",
    "by_port",
    "by_vlan",
    "drop",
    "echo_reply",
    "format_actions",
    "format_match",
    "format_megaflow",
    "in_parallel",
    "in_sequence",
    "megaflow_to_json",
    "now",
    "output",
    "parse_actions",
    "parse_match",
    "parse_rule",
    "pass_on",
    "port_vlan",
    "rewrite",
    "time_exceeded",
]

if not TYPE_CHECKING:  # to mypy this would say that every name exists

    def __getattr__(name):
        from vswitch.base.lazily import fetching
        from vswitch.base.version import VERSION

        return VERSION if name == "__version__" else fetching(globals(), _ROOMS)(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
