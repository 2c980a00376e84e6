"""vswitch: a programmable virtual switch for Linux, in Python and eBPF.

from vswitch import Datapath, Match, Output

with Datapath.create("dp0", ports=["veth1", "veth2"]) as dp:
    dp.flows.add(Match(tcp_dst=80), Output(2), priority=10)
    dp.run()
"""

from vswitch import api, model
from vswitch.api import *  # noqa: F403
from vswitch.base import errors
from vswitch.base.errors import *  # noqa: F403
from vswitch.model import *  # noqa: F403
from vswitch.text import format_actions, format_match, format_megaflow, parse_actions, parse_match, parse_rule

__version__ = "0.1.0"

__all__ = [
    *api.__all__,
    *errors.__all__,
    *model.__all__,
    "format_actions",
    "format_match",
    "format_megaflow",
    "parse_actions",
    "parse_match",
    "parse_rule",
]
