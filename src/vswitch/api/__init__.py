"""The public Python interface; `import vswitch` gives the same names."""

from vswitch.api.datapath import Datapath, DatapathStats, UnexpectedUpcallError
from vswitch.api.flows import Flows, Transaction
from vswitch.api.meters import MeterInfo, Meters
from vswitch.api.ports import Ports
from vswitch.api.upcalls import Answer, Miss, UpcallStats
from vswitch.datapath.ebpf.state import Options

__all__ = [
    "Answer",
    "Datapath",
    "DatapathStats",
    "Flows",
    "MeterInfo",
    "Meters",
    "Miss",
    "Options",
    "Ports",
    "Transaction",
    "UnexpectedUpcallError",
    "UpcallStats",
]
