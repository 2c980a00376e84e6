"""How far something long has come, shown on a terminal and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["watched"]

T = TypeVar("T")

FEW = 2000
"""So many are done before anyone could wonder."""

STEP = 500
"""Items between two updates, so that they cost nothing."""


def watched(items: Iterable[T], what: str) -> Iterator[T]:
    """`items`; meanwhile the terminal, if the standard error is one, shows how many there were."""
    items = iter(items)
    yield from islice(items, FEW)
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # takes longer to load than most commands take
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn(what + ": {task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        for count, item in enumerate(items, FEW):
            if count % STEP == 0:
                progress.update(task, completed=count)
            yield item
