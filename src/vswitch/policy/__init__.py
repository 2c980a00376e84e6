"""Policies: plain functions over packets, and what they read.

A policy is run once on a packet that the datapath does not know. What it reads of the packet on its way to an answer
decides the megaflow; `docs/programming.md` says how.
"""

from vswitch.policy.answers import arp_reply, arp_request, echo_reply, time_exceeded
from vswitch.policy.compose import by_port, by_vlan, in_parallel, in_sequence, pass_on
from vswitch.policy.explanation import Explanation
from vswitch.policy.networks import Networks
from vswitch.policy.packet import Packet
from vswitch.policy.run import Decision, Policy, PolicyAnswer, Reply, Rewrite, drop, now, output, rewrite
from vswitch.policy.state import Table

__all__ = [
    "Decision",
    "Explanation",
    "Networks",
    "Packet",
    "Policy",
    "PolicyAnswer",
    "Reply",
    "Rewrite",
    "Table",
    "arp_reply",
    "arp_request",
    "by_port",
    "by_vlan",
    "drop",
    "echo_reply",
    "in_parallel",
    "in_sequence",
    "now",
    "output",
    "pass_on",
    "rewrite",
    "time_exceeded",
]
