"""Writes docs/reference/ from signatures and docstrings: `python -m scripts.reference`.

One page for each group of names, and one that lists them all. Everything is taken from the text of the sources, nothing
is imported: a signature is shown as it is written there, so no two versions of Python show it differently.

Invariant: the text depends on the sources and on the tables here alone, so a test can compare it with the files.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path

from scripts.reference_groups import ALSO, GROUPS, INTERNAL, INTRODUCTION
from vswitch.fields.generate import write_or_check

__all__ = ["REFERENCE", "Entry", "entries", "pages"]

_ROOT = Path(__file__).parents[1]
REFERENCE = _ROOT / "docs" / "reference"

_PLACES = (
    *("vswitch.base.errors", "vswitch.model", "vswitch.text", "vswitch.policy", "vswitch.api", "vswitch.bridge"),
    "vswitch.testing",
)
_NOTE = "<!-- Generated from docstrings by `make generate`; do not edit. -->"
_SHOWN_DECORATORS = ("classmethod", "dataclass", "property", "staticmethod")
_SPECIAL = ("init", "call", "enter", "iter", "len", "getitem", "setitem", "delitem", "contains", "str", "float", "int")

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Assignment = ast.Assign | ast.AnnAssign


@dataclass(frozen=True, slots=True)
class Entry:
    """A name: how its source writes it, what its docstring says; `parts`: attributes that have docstrings of their own;
    `plain`: words that mean something of its own in that docstring, so not what else has such a name."""

    name: str
    code: str
    doc: str
    parts: tuple[tuple[str, str], ...] = ()
    members: tuple[Entry, ...] = ()
    plain: frozenset[str] = frozenset()


@cache
def _source(module: str) -> tuple[list[str], list[ast.stmt]]:
    path = _ROOT / "src" / module.replace(".", "/")
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    return text.splitlines(), ast.parse(text).body


def _found(name: str, modules: Iterable[str]) -> Entry | None:
    """What is called so in one of these modules, or is imported there from where it is defined."""
    for module in modules:
        lines, body = _source(module)
        for node, doc in _documented(list(_as_typed(body))):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return _of_class(lines, node, doc)
            if isinstance(node, _Function) and node.name == name:
                return _of_function(lines, node, name, doc)
            if isinstance(node, _Assignment) and _target(node) == name:
                return Entry(name, _cut(lines, node, node), doc)
            if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
                return _found(name, [node.module])
    return None


def _as_typed(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements as a type checker sees them: what a package fetches when it is first used is imported there."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "typing.TYPE_CHECKING":
            yield from node.body
        else:
            yield node


def _documented(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with its docstring, or with the one that stands below it."""
    for node, below in zip(body, [*body[1:], None], strict=False):
        doc = ""
        if isinstance(node, ast.ClassDef | _Function):
            doc = ast.get_docstring(node) or ""
        elif isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            doc = cleandoc(str(below.value.value))
        yield node, doc


def _target(node: _Assignment) -> str:
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


def _cut(lines: Sequence[str], begin: ast.stmt, end: ast.stmt | ast.expr) -> str:
    """The source from the line of `begin` to the last character of `end`, without remarks to tools."""
    cut = list(lines[begin.lineno - 1 : end.end_lineno])
    cut[-1] = cut[-1][: end.end_col_offset]
    return textwrap.dedent("\n".join(re.sub(r"  # .*", "", line) for line in cut))


def _decorated(node: ast.ClassDef | _Function, code: str) -> str:
    shown = (ast.unparse(each) for each in node.decorator_list)
    return "\n".join([*(f"@{each}" for each in shown if each.startswith(_SHOWN_DECORATORS)), code])


def _of_function(lines: Sequence[str], node: _Function, name: str, doc: str) -> Entry:
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
    plain = frozenset(argument.arg for argument in arguments if argument)
    return Entry(name, _decorated(node, _cut(lines, node, node.returns or node)), doc, plain=plain)


def _of_class(lines: Sequence[str], node: ast.ClassDef, doc: str) -> Entry:
    shown, parts, members = [], [], []
    for each, its_doc in [*_attributes(node), *_documented(node.body)]:
        name = each.name if isinstance(each, _Function) else _target(each) if isinstance(each, _Assignment) else "_"
        whole = f"{node.name}.{name.removeprefix('self.')}"
        if whole in INTERNAL or (name.startswith("_") and name not in [f"__{special}__" for special in _SPECIAL]):
            continue
        if isinstance(each, _Function):
            entry = _of_function(lines, each, whole, its_doc)
            if name.startswith("_"):
                shown.append(entry.code)
            else:
                members.append(entry)
        elif isinstance(each, _Assignment):
            shown.append(_cut(lines, each, each) if each.lineno else ast.unparse(each))
            if its_doc:
                parts.append((name, its_doc))
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    code = "\n".join([f"class {node.name}{bases}:", *(textwrap.indent(each, "    ") for each in shown)])
    plain = frozenset(re.findall(r"^    (\w+)\b", code, re.MULTILINE))
    return Entry(node.name, _decorated(node, code if shown else code[:-1]), doc, tuple(parts), tuple(members), plain)


def _attributes(node: ast.ClassDef) -> Iterator[tuple[ast.stmt, str]]:
    """What `__init__` sets for others to read, as annotations."""
    init = next((each for each in node.body if isinstance(each, _Function) and each.name == "__init__"), None)
    types = {argument.arg: argument.annotation for argument in init.args.args} if init else {}
    for each, doc in _documented(init.body if init else ()):
        if not isinstance(each, _Assignment) or not re.fullmatch(r"self\.[a-z]\w*", _target(each)):
            continue
        value = each.value
        kind = each.annotation if isinstance(each, ast.AnnAssign) else None
        if kind is None and isinstance(value, ast.Name):
            kind = types.get(value.id)
        elif kind is None and isinstance(value, ast.Call) and ast.unparse(value.func) in _page_of():
            kind = value.func
        if kind is not None:
            name = ast.Name(_target(each).removeprefix("self."))
            yield ast.AnnAssign(name, kind, None, simple=1, lineno=0, col_offset=0), doc


@cache
def _page_of() -> dict[str, str]:
    return {name: page for page, (_, _, names) in GROUPS.items() for name in names.split()}


@cache
def entries() -> dict[str, Entry]:
    """All names of the reference. AssertionError: there is no such name."""
    found = {}
    for name in _page_of():
        entry = _found(name, [ALSO[name]] if name in ALSO else _PLACES)
        assert entry, f"{name} is nowhere"
        found[name] = entry
    return found


@cache
def _links() -> dict[str, tuple[str, str]]:
    """Name -> its page, and its anchor there as GitHub makes it of the heading."""
    links: dict[str, tuple[str, str]] = {}
    for name, page in _page_of().items():
        for each in (name, *(member.name for member in entries()[name].members)):
            anchor = each.lower().replace(".", "")
            again = (page, anchor) in links.values()
            links[each] = page, f"{anchor}-1" if again else anchor
    return links


def _linked(entry: Entry, page: str, text: str | None = None) -> str:
    """Its docstring, or `text` of it, with links where it names something else: in backticks, as an error, a
    document."""

    def link(found: re.Match[str]) -> str:
        name = found["code"] or found[0]
        ours = (f"{entry.name.partition('.')[0]}.{name}", name, f"Datapath.{name}")
        target = next((each for each in ours if each in _links() and each != entry.name), None)
        if found["document"]:
            return f"[{found['document']}](../{found['document']})"
        if target is None or name in entry.plain:
            return found[0]
        where, anchor = _links()[target]
        return f"[{found[0]}]({'' if where == page else f'{where}.md'}#{anchor})"

    names = r"`(?P<code>[\w.]+)(?:\(\))?`|`[^`]*`|\b[A-Z]\w+Error\b|docs/(?P<document>\w+\.md)"
    return re.sub(names, link, entry.doc if text is None else text)


def _shown(entry: Entry, page: str, level: str) -> Iterator[str]:
    yield from (f"{level} {entry.name}", "", "```python", entry.code, "```", "")
    yield from (_linked(entry, page), "")
    if entry.name in ALSO:
        yield from ("Programs meet it in signatures; it is not imported from `vswitch`.", "")
    if entry.parts:
        yield from (f"* `{name}`: {' '.join(_linked(entry, page, doc).split())}" for name, doc in entry.parts)
        yield ""
    for member in entry.members:
        yield from _shown(member, page, f"{level}#")


def pages() -> dict[Path, str]:
    """The text of each file in docs/reference/."""
    texts = {}
    index = ["# Reference", "", _NOTE, "", INTRODUCTION]
    for page, (title, described, names) in GROUPS.items():
        introduction = cleandoc(described)
        lines = [f"# {title}", "", _NOTE, "", _linked(Entry(title, "", introduction), page), ""]
        for name in names.split():
            lines += _shown(entries()[name], page, "##")
        texts[REFERENCE / f"{page}.md"] = "\n".join(lines).rstrip() + "\n"
        listed = ", ".join(f"[`{name}`]({page}.md#{_links()[name][1]})" for name in names.split())
        index += [f"## [{title}]({page}.md)", "", introduction.partition("\n\n")[0], "", listed, ""]
    texts[REFERENCE / "README.md"] = "\n".join(index).rstrip() + "\n"
    return texts


if __name__ == "__main__":
    for _path, _text in pages().items():
        write_or_check(_path, _text, check=False)
