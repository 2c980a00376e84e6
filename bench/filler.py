"""Fills a datapath: `python -m bench.filler NAME COUNT`, a process of its own, so that its memory can be told.

Prints {"insert_s", "rss_bytes", "reopen_s"}: the time that adding the megaflows took, without making the rules; what
the process grew by; and the time in which it then finds the datapath again.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path

from bench.rules import exact_rules
from vswitch.api import Datapath

__all__ = ["main"]

BATCH = 10_000


def _rss_bytes() -> int:
    """Of this process, without the memory that it shares with the kernel (that is counted as the kernel's)."""
    gc.collect()
    rows = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(rows["RssAnon"].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.filler", description="Fills a datapath with megaflows.")
    parser.add_argument("name")
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    insert_s = 0.0
    before = _rss_bytes()
    with Datapath.open(options.name) as datapath:
        datapath.flows.flush()
        for first in range(0, options.count, BATCH):
            rules = list(exact_rules(first, min(BATCH, options.count - first)))
            begin = time.perf_counter()
            datapath.flows.add_many(rules)
            insert_s += time.perf_counter() - begin
        del rules
        rss_bytes = _rss_bytes() - before
    begin = time.perf_counter()
    with Datapath.open(options.name):
        reopen_s = time.perf_counter() - begin
    print(json.dumps({"insert_s": insert_s, "rss_bytes": rss_bytes, "reopen_s": reopen_s}))


if __name__ == "__main__":
    main()
