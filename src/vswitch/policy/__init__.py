"""Policies: plain functions over packets, and what they read.

A policy is run once on a packet that the datapath does not know. What it reads of the packet on its way to an answer
decides the megaflow; `docs/programming.md` says how.
"""

from vswitch.policy.compose import by_port, by_vlan, in_parallel, in_sequence, pass_on
from vswitch.policy.networks import Networks
from vswitch.policy.packet import Packet
from vswitch.policy.run import Decision, Explanation, Policy, drop, now, output
from vswitch.policy.state import Table

__all__ = [
    "Decision",
    "Explanation",
    "Networks",
    "Packet",
    "Policy",
    "Table",
    "by_port",
    "by_vlan",
    "drop",
    "in_parallel",
    "in_sequence",
    "now",
    "output",
    "pass_on",
]
