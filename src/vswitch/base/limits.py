"""Every bound of vswitch, with its reason. What passes one is refused or counted, never lost in silence."""

from __future__ import annotations

MAX_PORT = 65534
"""Largest port number: 16 bits, as OpenFlow 1.0 and the datapath text have them; 65535 means none."""

MAX_ACTIONS = 64
"""Actions of one megaflow, nested ones included: bounds the time that one packet may take."""

MAX_ACTION_DEPTH = 3
"""Nesting of clone, sample and the like: each level is a device transmission inside another, of which the kernel
allows 8."""

MAX_USERDATA_BYTES = 64
"""User data of a userspace action: it is copied into each upcall."""

MAX_RECIRCULATIONS = 8
"""Lookups of one packet after the first: each costs two of the 33 tail calls that the kernel allows."""

PARSE_BYTES = 256
"""How far behind the start of the network header the parser looks: IPv6 extension headers beyond are not followed."""

MAX_EXTENSION_HEADERS = 8
"""IPv6 extension headers walked; with a ninth the protocol stays that of the header that was not walked."""

MAX_MPLS_LABELS = 3
"""MPLS entries that the flow key holds."""

MAX_ND_OPTIONS = 4
"""Options of a neighbour discovery message that are searched for a link-layer address."""

MAX_PRIORITY = 65535
"""Priority of a megaflow: 16 bits, as in OpenFlow."""

MAX_TIMEOUT_S = 4_000_000
"""Idle and hard timeouts: milliseconds in 32 bits, some 46 days."""

MAX_METER_RATE = MAX_METER_BURST = 10**9
"""Of a meter, in kbit/s or packets/s, and kbit or packets: the kernel counts what a byte costs in 2^-10 ns, of which
that rate leaves 8."""

MAX_METER_BURST_S = ((1 << 62) - 1) // (10**9 << 10)
"""So many seconds' worth of its rate, 52 days, is the longest burst of a meter: the kernel tells past from future by
the sign of a difference of 64 bits."""

MAX_TEXT_CHARACTERS = 65536
"""Length of a flow or action text: several times what every field and MAX_ACTIONS need; bounds the cost of one line."""

MAX_TEXT_DEPTH = 16
"""Nesting of parentheses in such a text: each is a level of recursion, and MAX_ACTION_DEPTH needs no more than ten."""
