"""`python -m bench.kernel [CASE...]`: the cases in which Open vSwitch's kernel module is the peer.

For a machine whose kernel has openvswitch.ko, such as the virtual one of `make bench-kernel`. That one is emulated and
many times slower, so only the ratios say something; LAB_PATIENCE tells by how much.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench import forwarding, reacting
from bench.__main__ import Case, run
from bench.measure import Plan, note

__all__ = ["CASES"]

CASES: dict[str, Case] = {
    "tcp": forwarding.tcp,
    "ping": forwarding.ping,
    "udp": forwarding.udp,
    "upcalls": reacting.upcalls,
}


def main() -> int:
    loaded = subprocess.run(["modprobe", "openvswitch"], capture_output=True, text=True, timeout=60, check=False)
    if loaded.returncode:
        note(f"this kernel has no openvswitch.ko: {loaded.stderr.strip()}")
        return 1
    return run(CASES, Plan(7, 1.0, "system"), Path("build/bench-kernel.json"), "python -m bench.kernel")


if __name__ == "__main__":
    sys.exit(main())
