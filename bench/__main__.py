"""`python -m bench [CASE...]`: measure vswitch side by side with its peers; see bench/README.md."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import (
    databases,
    forwarding,
    openflow_cases,
    openflow_reactive,
    policies,
    reacting,
    scaling,
    scanning,
    tables,
)
from bench.measure import Figure, Plan, note, print_table, write_figures
from bench.switches import remove_leftovers

__all__ = ["CASES", "Case", "run"]

Case = Callable[[Plan], Iterator[Figure]]

CASES: dict[str, Case] = {
    "tcp": forwarding.tcp,
    "ping": forwarding.ping,
    "udp": forwarding.udp,
    "lookup": forwarding.lookup,
    "upcalls": reacting.upcalls,
    "first": reacting.first,
    "fairness": reacting.fairness,
    "scan": scanning.scan,
    "flows": scaling.flows,
    "transaction": scaling.transaction,
    "policies": policies.policies,
    "tables": tables.tables,
    "openflow-tcp": openflow_cases.tcp,
    "openflow-upcalls": openflow_cases.new_flows,
    "openflow-rules": openflow_cases.flow_mods,
    "openflow-withdrawal": openflow_cases.withdrawal,
    "openflow-reactive": openflow_reactive.reactive,
    "openflow-scan": openflow_reactive.scanned,
    "database": databases.databases,
}


def run(cases: Mapping[str, Case], defaults: Plan, output: Path, program: str) -> int:
    """The command line; the exit status."""
    listed = "\n".join(f"  {name:20}{(case.__doc__ or '').split(':')[0].split('.')[0]}" for name, case in cases.items())
    parser = argparse.ArgumentParser(
        prog=program, description="Measures vswitch beside its peers, interleaved, in network namespaces (root).",
        epilog=f"cases:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("case", nargs="*", metavar="CASE", help="what to measure (default: all)")
    parser.add_argument("-r", "--rounds", type=int, default=defaults.rounds, help="measurements of each (%(default)s)")
    parser.add_argument("-s", "--seconds", type=float, default=defaults.seconds, help="of one (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=output, help="file for the figures")
    options = parser.parse_args()
    wanted = options.case or list(cases)
    unknown = [name for name in wanted if name not in cases]
    if unknown:
        parser.error(f"no case {unknown[0]!r} (known: {', '.join(cases)})")
    if os.geteuid():
        parser.error("it needs root: it loads eBPF and makes network namespaces")
    plan = Plan(max(options.rounds, 1), max(options.seconds, 0.05), defaults.open_vswitch)
    remove_leftovers()
    _go_first()
    figures: list[Figure] = []
    try:
        for name in wanted:
            note(f"{name}: setting up")
            figures += cases[name](plan)
    except KeyboardInterrupt:
        note("interrupted: what there is")
        return 130
    finally:
        if figures:
            print_table(figures)
            write_figures(options.output, figures)
            note(f"written to {options.output}")
    return 0


def _go_first() -> None:
    """Before what else runs on this machine, contestants and all: they inherit it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        os.setsid()  # a session is what the kernel shares the CPUs between
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")


if __name__ == "__main__":
    sys.exit(run(CASES, Plan(), Path("build/bench.json"), "python -m bench"))
