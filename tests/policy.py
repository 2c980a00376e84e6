"""What tests of policies share."""

from __future__ import annotations

from typing import Any

from vswitch import Match
from vswitch.fields import FIELDS

__all__ = ["with_ports"]


def with_ports(**fields: Any) -> Match:
    """The megaflow of a policy that has read these fields, of which some are of L4: that the packet is no later
    fragment, which has none of them, has been read then, too."""
    match = Match(**fields)
    return Match.from_ints(match.value, match.mask | FIELDS["ip_frag"].place(0xFE))
