"""Policing of what comes in by an interface, by the numbers of a database: rates and bursts to token buckets.

The buckets are the datapath's own (`dp.ports.set_policing`), not a policer of tc at the device's ingress, as Open
vSwitch has it. With tcx our program runs before all filters of tc and redirects what it forwards, so such a policer
would see nothing of the switch's traffic; with clsact it would be one more filter and action for each packet, and
kernels without act_police and a classifier for it (cls_matchall, cls_basic) could not police at all. In the datapath a
port that is not policed pays for a bit in a word that is read anyhow, what is dropped is counted with its reason
(`policing`), it lasts while no process runs, and hooks and qdiscs of others stay as they are.

Invariant: numbers mean what they mean in Open vSwitch's schema; a burst of 0 is its default.
"""

from __future__ import annotations

from vswitch.model.port import Policing

__all__ = ["policing"]


def policing(rate_kbps: int = 0, burst_kb: int = 0, rate_kpps: int = 0, burst_kpackets: int = 0) -> Policing:
    """Of the columns ingress_policing_rate, _burst, _kpkts_rate and _kpkts_burst of an interface: kbit/s, kbit,
    thousand packets/s, thousand packets. ConfigError for what is out of bounds."""
    default = Policing()
    return Policing(rate_kbps, burst_kb or default.burst_kb, rate_kpps, burst_kpackets or default.burst_kpackets)
