"""The public Python interface; `import vswitch` gives the same names."""

from vswitch.api.datapath import Datapath, DatapathStats, UnexpectedUpcallError
from vswitch.api.flows import Flows, Transaction
from vswitch.api.meters import MeterInfo, Meters
from vswitch.api.ports import Ports
from vswitch.api.watchdog import PolicyTimeoutError
from vswitch.datapath.ebpf.state import Options
from vswitch.upcalls.miss import Answer, Miss
from vswitch.upcalls.queue import Workers
from vswitch.upcalls.stats import UpcallStats

__all__ = [
    "Answer",
    "Datapath",
    "DatapathStats",
    "Flows",
    "MeterInfo",
    "Meters",
    "Miss",
    "Options",
    "PolicyTimeoutError",
    "Ports",
    "Transaction",
    "UnexpectedUpcallError",
    "UpcallStats",
    "Workers",
]
