"""How the demonstration shows itself: colours and tables on a terminal, plain lines anywhere else.

Invariant: nothing is wrapped or cut where it is no terminal, so that what is piped can be searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

__all__ = ["Show"]

Row = Sequence[object]


class Show:
    """What is being done, line by line, and what came out of it, in tables."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def title(self, text: str) -> None:
        """A part of the story begins."""
        self._console.print()
        self._console.print(Text(text, "bold"))

    def say(self, text: str) -> None:
        """What is so, or what is being done."""
        self._console.print(Text(text))

    def result(self, what: str, outcome: str) -> None:
        """`ping h1 to h2      3 of 3 answered`"""
        self._console.print(Text(f"  {what:36}"), Text(outcome, "green"), sep="")

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """On a terminal, something moves meanwhile."""
        if self._console.is_terminal:
            with self._console.status(escape(what)):
                yield
        else:
            yield

    def code(self, source: str) -> None:
        """A piece of a Python program."""
        from rich.syntax import Syntax  # here, as it is slow to load and half of the users pipe

        if self._console.is_terminal:
            self._console.print(Syntax(source, "python", background_color="default", code_width=110))
        else:
            self.say("\n".join(f"    {line}" if line else "" for line in source.splitlines()))

    def table(self, columns: Row, rows: Sequence[Row]) -> None:
        """A table; columns that hold nothing but numbers are aligned to the right."""
        texts = [[_text(cell) for cell in row] for row in rows]
        right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
        if self._console.is_terminal:
            table = Table(header_style="bold", border_style="dim")
            for column, to_right in zip(columns, right, strict=True):
                table.add_column(Text(str(column)), justify="right" if to_right else "left", overflow="fold")
            for row in texts:
                table.add_row(*map(Text, row))
            self._console.print(table, soft_wrap=False)
            return
        lines = [[str(column) for column in columns], *texts]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        for line in lines:
            cells = zip(line, widths, right, strict=True)
            text = "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in cells)
            self.say(f"  {text}".rstrip())


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)
