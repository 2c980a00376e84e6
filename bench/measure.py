"""From measurements to figures: rounds in which every contestant has its turn, medians, the table, the file.

A machine that others use is never equally fast twice. So nothing is measured alone: each round measures all
contestants one right after another, the first one in each round another, and a ratio is the median of the ratios
within rounds. The figures themselves are good for this machine at this time; the ratios last.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["SUBJECT", "Figure", "Plan", "compare", "interleave", "note", "print_table", "write_figures"]

SUBJECT = "vswitch"
"""The contestant that all this is about; labels of its flavours begin so."""

Sample = TypeVar("Sample")


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is. `rounds`: measurements of each contestant. `seconds`: of one measurement. `open_vswitch`:
    its datapath that is the peer, "netdev" (user space) or "system" (its kernel module)."""

    rounds: int = 9
    seconds: float = 0.5
    open_vswitch: str = "netdev"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured of vswitch, and of one peer in the same run. `ratio` is that of value to peer value,
    None where the peer has no value or it is 0."""

    case: str
    value: float | None
    unit: str
    peer: str
    peer_value: float | None
    ratio: float | None


def note(text: str) -> None:
    """Say how far it is; results go to standard output."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def interleave(
    case: str,
    rounds: int,
    contestants: Mapping[str, Callable[[], Sample]],
    show: Callable[[Sample], str] = "{:.4g}".format,
) -> dict[str, list[Sample]]:
    """Measure each contestant once a round; what came out, by contestant, in the order of rounds."""
    samples: dict[str, list[Sample]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            samples[name].append(contestants[name]())
        said = "; ".join(f"{name} {show(values[-1])}" for name, values in samples.items())
        note(f"{case}, {turn + 1}/{rounds}: {said}")
    return samples


def compare(
    case: str, unit: str, samples: Mapping[str, Sequence[float]], subject: str = SUBJECT, own_kind: bool = True
) -> Iterator[Figure]:
    """`subject` beside each of the others, or, unless `own_kind`, those that are not other flavours of vswitch."""
    own = samples[subject]
    for peer, values in samples.items():
        if peer != subject and (own_kind or not peer.startswith(SUBJECT)):
            ratios = [a / b for a, b in zip(own, values, strict=True) if b]
            ratio = statistics.median(ratios) if ratios else None
            yield Figure(case, statistics.median(own), unit, peer, statistics.median(values), ratio)


def write_figures(path: Path, figures: Iterable[Figure]) -> None:
    """As JSON: a list of objects. The file belongs to whom the folder belongs, not to root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{name: _short(value) for name, value in asdict(figure).items()} for figure in figures]
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def _short(value: object) -> object:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def print_table(figures: Sequence[Figure]) -> None:
    """On a terminal in colour, else as plain columns."""
    titles = ("case", "vswitch", "unit", "peer", "its", "ratio")
    rows = [(f.case, _number(f.value), f.unit, f.peer, _number(f.peer_value), _number(f.ratio)) for f in figures]
    if sys.stdout.isatty():
        _print_rich(titles, rows)
        return
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        cells = (
            text.rjust(width) if column in (1, 4, 5) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )  # fmt: skip
        print("  ".join(cells).rstrip())


def _print_rich(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column, title in enumerate(titles):
        table.add_column(title, justify="right" if column in (1, 4, 5) else "left")
    case = ""
    for row in rows:
        table.add_row(*(("", "", "", *row[3:]) if row[0] == case else row))
        case = row[0]
    Console().print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
