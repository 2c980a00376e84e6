"""What scripts/reference.py shows where: the groups of public names, in the order in which they are read.

Invariant: each name of `vswitch` and `vswitch.testing` is in one group (tests/tidy/test_reference.py).
"""

__all__ = ["ALSO", "GROUPS", "INTERNAL", "INTRODUCTION"]

INTRODUCTION = """\
Every public name, one page for each group. Names are imported from `vswitch`, those of the last group from
`vswitch.testing`. Signatures are shown as the source has them. A `@dataclass` without an `__init__` of its own is made
of the members shown, in this order.

Where nothing else is said, lengths are in bytes, times in seconds, numbers in host byte order, and a frame begins with
its Ethernet header. Each error that is named is on the page [Errors](errors.md).
"""

GROUPS = {
    "datapath": (
        "Datapath",
        "The switch itself: made, found again, run, removed. All else hangs on it.",
        "Datapath Options DatapathStats",
    ),
    "flows": (
        "Flows and transactions",
        "`dp.flows`: what lies in the kernel and decides about packets, and how it is changed in one step.",
        "Flows Transaction Rule Megaflow FlowStats Actions",
    ),
    "ports": (
        "Ports",
        "`dp.ports`: devices on the switch, what they have counted, and what happens to them.",
        "Ports Port PortKind PortStats DROP_REASONS PortEvent PortChange Policing",
    ),
    "upcalls": (
        "Upcalls",
        "Packets that no megaflow takes come up to the program, as those do that a userspace action sends.",
        "Miss Answer UpcallReason Offload UpcallStats Workers",
    ),
    "bridge": (
        "OpenFlow switch",
        """
        `Bridge` is a whole OpenFlow switch on a datapath, in the kernel or simulated: controllers connect to it, or the
        program is one itself.
        """,
        """
        Bridge BridgeOptions ControllerSettings ControllerState TableSettings McastSnooping Mirror MirrorStats
        MulticastGroup PacketTrace PortVlan port_vlan Tls
        """,
    ),
    "policies": (
        "Policies",
        """
        Plain functions over packets. What a policy reads on the way to its answer becomes the mask of a megaflow;
        [programming.md](../programming.md) says how to write one.
        """,
        """
        Policy PolicyAnswer Packet Reading drop output Decision rewrite Rewrite Reply arp_reply arp_request echo_reply
        time_exceeded in_sequence pass_on in_parallel by_port by_vlan Table Networks LockedMapping now Moment
        Explanation
        """,
    ),
    "actions": (
        "Actions",
        """
        What the datapath can do to a packet. Actions are frozen values, executed in order; a rule without actions
        drops.

        Lists inside of an action (`Clone`, `Sample`, `CheckPacketLength`, `DecTtl`) may be given as any iterable, or as
        one action; kept they are as tuples. Each raises ConfigError for a value out of its bound.
        """,
        """
        Action Output Drop SetField PushVlan PopVlan PushMpls PopMpls DecTtl Recirculate Hash Truncate Sample Meter
        Clone CheckPacketLength Userspace
        """,
    ),
    "matches": (
        "Matches, keys and fields",
        "What packets look like, and sets of packets. [fields.md](../fields.md) lists the fields.",
        "Match Key FieldValue",
    ),
    "texts": (
        "Texts",
        "Matches, actions and megaflows as `ovs-dpctl` writes them, and back.",
        """
        parse_match parse_actions parse_rule format_match format_actions format_megaflow megaflow_to_json Numbers Names
        """,
    ),
    "meters": (
        "Meters",
        "`dp.meters`: bounds on rates, which the action `Meter` enforces.",
        "Meters MeterInfo",
    ),
    "errors": (
        "Errors",
        "Every way in which vswitch says no. The message names the thing, the value and the bound, in one sentence.",
        """
        VswitchError ConfigError TextError OverlapError LimitError NotFoundError ExistsError BusyError TableFullError
        UnexpectedUpcallError PolicyTimeoutError OpenFlowError MachineError PrivilegeError KernelError LoadError
        """,
    ),
    "testing": (
        "Testing",
        """
        `vswitch.testing`, for tests without a network: a packet goes into a simulated datapath, and what becomes of it
        is seen. [programming.md](../programming.md) has an example.
        """,
        "send Outcome Sent",
    ),
}
"""Page -> title, introduction, names."""

ALSO = {
    "Actions": "vswitch.api.flows",
    "DROP_REASONS": "vswitch.model.port",
    "FieldValue": "vswitch.model.match",
    "LockedMapping": "vswitch.policy.state",
    "Moment": "vswitch.policy.run",
    "Names": "vswitch.text.values",
    "Numbers": "vswitch.text.values",
    "Reading": "vswitch.policy.packet",
}
"""Names in signatures and docstrings that programs need to know of, but not to import; and where they are."""

INTERNAL = {
    *("Datapath.__init__", "Datapath.backend"),
    *("Flows.__init__", "Flows.at_work", "Flows.on_idle", "Flows.on_removal", "Flows.on_withdrawal"),
    "Flows.remove_slots",
    *("Meters.__init__", "Ports.__init__", "Transaction.__init__", "Packet.__init__"),
    *("Reading.__init__", "Reading.bits", "Reading.peek", "Reading.settle"),
    *("Miss.__init__", "Miss.keep", "Miss.look", "Miss.of_copy", "Miss.rule"),
    *("Moment.__init__", "LoadError.__init__", "OverlapError.__init__", "TextError.__init__"),
    *("Networks.describe", "Networks.stop_waiting", "Networks.wait"),
    *("Table.describe", "Table.stop_waiting", "Table.wait"),
}
"""Members that other rooms of vswitch use, and programs do not."""
