"""Tables of rows, in the forms that ovsdb-client has: table, list, csv, json."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vswitch.ovsdb.framing import dumps
from vswitch.ovsdb.schema import Column
from vswitch.ovsdb.text import value_text
from vswitch.ovsdb.types import Json
from vswitch.ovsdb.values import parse

__all__ = ["Cell", "render"]


@dataclass(frozen=True, slots=True)
class Cell:
    """`text` for people, `json` for programs."""

    text: str
    json: Json

    @classmethod
    def of(cls, column: Column, given: Json) -> Cell:
        """Of a value as a server sends it."""
        return cls(value_text(column.type, parse(column.type, given)), given)


def render(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[Cell]], form: str, *, has_headings: bool = True
) -> str:
    """One table, with the end of its last line."""
    lines = list(rows)
    if form == "json":
        data = [[cell.json for cell in row] for row in lines]
        return dumps({"caption": caption, "data": data, "headings": list(headings)}) + "\n"
    title = f"{caption}\n" if caption and has_headings else ""
    if form == "list":
        blocks = (
            "".join(f"{name:20}: {cell.text}\n" for name, cell in zip(headings, row, strict=True)) for row in lines
        )
        return title + "\n".join(blocks)
    texts = [[cell.text for cell in row] for row in lines]
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([list(headings), *texts] if has_headings else texts)
        return title + out.getvalue()
    widths = [max([len(name), *(len(row[at]) for row in texts)]) for at, name in enumerate(headings)]
    if has_headings:
        texts = [list(headings), ["-" * width for width in widths], *texts]
    widths[-1:] = [0]  # nothing stands behind the last
    return title + "".join(
        " ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)) + "\n" for row in texts
    )
