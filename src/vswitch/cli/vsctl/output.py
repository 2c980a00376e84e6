"""Sheets of records, in the forms that ovs-vsctl has: list, table, csv, html, json; and `--oneline`."""

from __future__ import annotations

from vswitch.cli.vsctl.json import dumps, quoted
from vswitch.cli.vsctl.schema import Column, Type
from vswitch.cli.vsctl.values import bare_text, encode, value_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vswitch.cli.vsctl.options import Options
    from vswitch.cli.vsctl.values import Value

__all__ = ["Sheet", "on_one_line"]


class Sheet:
    """A row for each record. `options`: how it is to look."""

    def __init__(self, columns: list[Column], options: Options) -> None:
        self._columns = columns
        self._options = options
        self.rows: list[list[Value]] = []

    def render(self) -> str:
        """With the end of its last line."""
        if self._options.format == "json":
            return self._json()
        return {"list": self._list, "table": self._table, "csv": self._csv, "html": self._html}[self._options.format]()

    def _cell(self, column: Column, value: Value) -> str:
        if self._options.data == "json":
            return dumps(_encoded(column.type, value))
        return (bare_text if self._options.data == "bare" else value_text)(column.type, value)

    def _texts(self) -> list[list[str]]:
        return [
            [self._cell(column, value) for column, value in zip(self._columns, row, strict=True)] for row in self.rows
        ]

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self._columns]

    def _list(self) -> str:
        if self._options.headings:
            blocks = [
                "".join(f"{name:20}: {text}\n" for name, text in zip(self._names, row, strict=True))
                for row in self._texts()
            ]
        else:
            blocks = ["".join(f"{text}\n" for text in row) for row in self._texts()]
        return "\n".join(blocks)

    def _table(self) -> str:
        texts, headings = self._texts(), self._names if self._options.headings else []
        widths = [max([0, *(len(row[at]) for row in texts)]) for at in range(len(self._columns))]
        if most := self._options.max_column_width:
            widths = [min(width, most) for width in widths]
        if headings:
            widths = [max(width, len(name)) for width, name in zip(widths, headings, strict=True)]
            texts = [headings, ["-" * width for width in widths], *texts]
        lines = (
            " ".join(f"{text[:width]:{width}}" for text, width in zip(row, widths, strict=True)).rstrip(" ") + "\n"
            for row in texts
        )
        return "".join(lines)

    def _csv(self) -> str:
        rows = [self._names, *self._texts()] if self._options.headings else self._texts()
        return "".join(",".join(map(_in_csv, row)) + "\n" for row in rows)

    def _html(self) -> str:
        lines = ["<table border=1>"]
        if self._options.headings:
            lines += ["  <tr>", *(f"    <th>{_in_html(name)}</th>" for name in self._names), "  </tr>"]
        for row in self.rows:
            cells = (self._html_cell(column, value) for column, value in zip(self._columns, row, strict=True))
            lines += ["  <tr>", *(f"    <td>{cell}</td>" for cell in cells), "  </tr>"]
        return "\n".join([*lines, "</table>", ""])

    def _html_cell(self, column: Column, value: Value) -> str:
        """UUIDs are short, and lead from those that name a row to the row."""
        kind = column.type
        if self._options.data == "string" and kind.value is None and kind.key.kind == "uuid":
            form = "name" if column.name == "_uuid" else "href"
            mark = "" if column.name == "_uuid" else "#"
            links = ", ".join(f'<a {form}="{mark}{uuid}">{uuid[:8]}</a>' for uuid in value)
            return f"[{links}]" if kind.high > 1 or not value else links
        return _in_html(self._cell(column, value))

    def _json(self) -> str:
        data = [
            [_encoded(column.type, value) for column, value in zip(self._columns, row, strict=True)]
            for row in self.rows
        ]
        found = {"data": data, "headings": self._names}
        return (_pretty(found, 0) if self._options.pretty else dumps(found)) + "\n"


def _encoded(kind: Type, value: Value) -> Any:
    return encode(kind, value, lambda uuid: ["uuid", uuid])


def _in_csv(text: str) -> str:
    if any(each in text for each in '",\r\n') or text[:1] in (" ", "\t") or text[-1:] in (" ", "\t"):
        return '"' + text.replace('"', '""') + '"'
    return text


def _in_html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _pretty(given: Any, depth: int) -> str:
    """JSON of several lines; brackets close where their last element ends."""
    inner = "\n" + "  " * (depth + 1)
    if isinstance(given, dict) and given:
        members = (f"{quoted(name)}: {_pretty(value, depth + 1)}" for name, value in given.items())
        return "{" + inner + f",{inner}".join(members) + "}"
    if isinstance(given, list | tuple) and given:
        return "[" + inner + f",{inner}".join(_pretty(each, depth + 1) for each in given) + "]"
    return dumps(given)


def on_one_line(text: str) -> str:
    """As `--oneline` has it."""
    return text.removesuffix("\n").replace("\\", "\\\\").replace("\n", "\\n") + "\n"
