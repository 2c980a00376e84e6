"""Values as words of a command line: `5`, `br0`, `"a b"`, `1,2`, `10-20`, `k=v,l=w`, `@name`; and as output has them.

A value is a tuple, ascending and without duplicates: of atoms, or of pairs if it is a map. So it is in `vswitch.ovsdb`,
whose text form (`vswitch.ovsdb.text`) the plain one here is.
"""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError
from vswitch.cli.vsctl.json import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vswitch.cli.vsctl.schema import Base, Type

    Value = tuple[Any, ...]
    Resolve = Callable[[str, Base], str]

__all__ = [
    "atom_text", "bare_text", "encode", "from_json", "is_uuid", "literal", "parse", "parse_atom", "token", "value_text"
]  # fmt: skip

MAX_RANGE = 4096
"""Integers that one range may stand for."""

_DELIMITERS = frozenset(":=, []{}!<>")
_HEX = frozenset("0123456789abcdefABCDEF")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
_MIN, _MAX = -(1 << 63), (1 << 63) - 1


def is_uuid(text: str) -> bool:
    """Whether it is a whole UUID."""
    if len(text) != 36 or text[8] != "-" or text[13] != "-" or text[18] != "-" or text[23] != "-":
        return False
    return _HEX.issuperset(text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:])


# ---- from words


def token(text: str, at: int) -> tuple[str, int]:
    """The word that begins there, and where it ends. Quotes stay, a backslash outside of them goes. CommandError: it
    does not end."""
    start = at
    found: list[str] = []
    in_quotes = False
    while at < len(text):
        character = text[at]
        if character == "\\":
            if at + 1 == len(text):
                raise CommandError(f"{text[start:]}: backslash at end of argument")
            found.append(text[at : at + 2] if in_quotes else text[at + 1])
            at += 2
            continue
        if character == '"':
            in_quotes = not in_quotes
        elif not in_quotes and character in _DELIMITERS:
            break
        found.append(character)
        at += 1
    if in_quotes:
        raise CommandError(f"{text[start:]}: quoted string extends past end of argument")
    return "".join(found), at


def parse(kind: Type, text: str, resolve: Resolve) -> Value:
    """A whole value. `resolve`: what UUID an @name stands for. CommandError says what is wrong with it."""
    return _Reader(kind, text, resolve).value()


class _Reader:
    def __init__(self, kind: Type, text: str, resolve: Resolve) -> None:
        self.kind = kind
        self.text = text
        self.resolve = resolve
        self.at = 0

    def value(self) -> Value:
        kind, text = self.kind, self.text
        opening, closing = "[]" if kind.value is None else "{}"
        self._skip_spaces()
        is_bracketed = text[self.at : self.at + 1] == opening
        if is_bracketed:
            self.at += 1
        elif self.at == len(text):
            what = "set" if kind.value is None else "map"
            raise CommandError(f'use "{opening}{closing}" to specify the empty {what}')
        found: list[Any] = []
        self._skip_spaces()
        while self.at < len(text) and not (is_bracketed and text[self.at] == closing):
            if text[self.at] in _DELIMITERS:
                raise CommandError(f'{text}: unexpected "{text[self.at]}" parsing {kind}')
            found += self._elements()
            self._skip_spaces()
            if text[self.at : self.at + 1] == ",":
                self.at += 1
                self._skip_spaces()
        if is_bracketed:
            if self.at == len(text):
                raise CommandError(f'{text}: missing "{closing}" at end of data')
            self.at += 1
            self._skip_spaces()
            if self.at < len(text):
                raise CommandError(f'{text}: trailing garbage after "{closing}"')
        return self._checked(found)

    def _checked(self, found: list[Any]) -> Value:
        kind = self.kind
        what = "value(s)" if kind.value is None else "pair(s)"
        if len(found) < kind.low:
            raise CommandError(f"{self.text}: {len(found)} {what} specified but the minimum number is {kind.low}")
        if len(found) > kind.high:
            raise CommandError(f"{self.text}: {len(found)} {what} specified but the maximum number is {kind.high}")
        found.sort()
        keys = found if kind.value is None else [key for key, _ in found]
        if any(key == keys[at] for at, key in enumerate(keys[1:])):
            what = "set contains duplicate value" if kind.value is None else "map contains duplicate key"
            raise CommandError(f"{self.text}: {what}")
        return tuple(found)

    def _elements(self) -> list[Any]:
        kind, start = self.kind, self.at
        word, self.at = token(self.text, self.at)
        if kind.value is None:
            return atoms(kind.key, word, self.resolve)
        keys = atoms(kind.key, word, self.resolve)
        self._skip_spaces()
        follows = self.text[self.at : self.at + 1]
        if follows != "=":
            # theirs prints a NUL where the text ends, and so nothing behind it
            tail = f'{follows}" expecting "="' if follows else ""
            raise CommandError(f'{self.text[start:]}: syntax error at "{tail}')
        self.at += 1
        self._skip_spaces()
        start = self.at
        word, self.at = token(self.text, self.at)
        if len(keys) > 1:
            raise CommandError(f"{self.text[start:]}: a range of keys cannot have one value")
        return [(keys[0], parse_atom(kind.value, word, self.resolve))]

    def _skip_spaces(self) -> None:
        while self.text[self.at : self.at + 1] == " ":
            self.at += 1


def atoms(base: Base, word: str, resolve: Resolve) -> list[Any]:
    """One, or those of a range of integers."""
    if base.kind == "integer" and (dash := word.find("-", 1)) > 0:
        first, last = _whole(word[:dash]), _whole(word[dash + 1 :])
        if first is not None and last is not None:
            if last < first:
                raise CommandError(f'"{word}" is not a valid range. Range end cannot be before start.')
            for atom in (first, last):
                _check(base, atom)
            if last - first >= MAX_RANGE:
                what = f'Range "{word}" is too big. Maximum allowed size is {MAX_RANGE}.'
                raise CommandError(f"constraint violation: {what}")
            return list(range(first, last + 1))
    return [parse_atom(base, word, resolve)]


def _whole(word: str) -> int | None:
    digits = word[1:] if word[:1] in ("-", "+") else word
    if not digits.isdigit() or not digits.isascii():
        return None
    found = int(word)
    return found if _MIN <= found <= _MAX else None


def _integer(word: str) -> int:
    found = _whole(word)
    if found is None:
        raise CommandError(f'"{word}" is not a valid integer or range')
    return found


def _real(word: str) -> float:
    try:
        found = float(word)
    except ValueError:
        found = float("nan")
    if found != found or found in (float("inf"), float("-inf")) or "_" in word:
        raise CommandError(f'"{word}" is not a valid real number')
    return found


def _boolean(word: str) -> bool:
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise CommandError(f'"{word}" is not a valid boolean (use "true" or "false")')


def literal(word: str) -> str:
    """A string, which may be in quotes as JSON has them. CommandError: it is empty, or the quotes are wrong."""
    if not word:
        raise CommandError('An empty string is not valid as input; use "" to represent the empty string')
    if word[0] != '"':
        return word
    if len(word) < 2 or word[-1] != '"' or _ends_in_escape(word):
        raise CommandError(f"{word}: missing quote at end of quoted string")
    return _unescaped(word, word[1:-1])


def _ends_in_escape(word: str) -> bool:
    body = word[1:-1]
    return (len(body) - len(body.rstrip("\\"))) % 2 == 1


def _unescaped(word: str, body: str) -> str:
    if "\\" not in body:
        return body
    found: list[str] = []
    at = 0
    while at < len(body):
        character = body[at]
        at += 1
        if character != "\\":
            found.append(character)
            continue
        escape = body[at : at + 1]
        at += 1
        if escape == "u":
            digits = body[at : at + 4]
            if len(digits) < 4 or not _HEX.issuperset(digits):
                raise CommandError(
                    f"{word}: quoted string ends within \\u escape"
                    if len(digits) < 4
                    else f"{word}: malformed \\u escape"
                )
            found.append(chr(int(digits, 16)))
            at += 4
        elif escape in _ESCAPES:
            found.append(_ESCAPES[escape])
        else:
            raise CommandError(f"{word}: bad escape \\{escape}")
    text = "".join(found)
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")  # halves of a character become one
    except UnicodeDecodeError:
        raise CommandError(f"{word}: malformed escaped surrogate pair") from None


def parse_atom(base: Base, word: str, resolve: Resolve) -> Any:
    """One atom. CommandError: it is none, or none that is allowed."""
    kind = base.kind
    if kind == "string":
        atom: Any = literal(word)
    elif kind == "integer":
        atom = _integer(word)
    elif kind == "boolean":
        return _boolean(word)
    elif kind == "real":
        atom = _real(word)
    elif word[:1] == "@":
        return resolve(word, base)
    elif is_uuid(word):
        return word.lower()
    else:
        raise CommandError(f'"{word}" is not a valid UUID')
    _check(base, atom)
    return atom


def _check(base: Base, atom: Any) -> None:
    if base.enum:
        if atom not in base.enum:
            allowed = ", ".join(atom_text(each, base.kind) for each in base.enum)
            raise CommandError(
                f"constraint violation: {atom_text(atom, base.kind)} is not one of the allowed values ([{allowed}])"
            )
        return
    measure = len(atom) if base.kind == "string" else atom
    low, high = base.low, base.high
    if (low is None or measure >= low) and (high is None or measure <= high):
        return
    what = f"{atom_text(atom, base.kind)}" if base.kind != "string" else f'"{atom}" length {measure}'
    if low is not None and high is not None:
        raise CommandError(f"constraint violation: {what} is not in the valid range {low} to {high} (inclusive)")
    if low is not None:
        raise CommandError(f"constraint violation: {what} is less than minimum allowed value {low}")
    raise CommandError(f"constraint violation: {what} is greater than maximum allowed value {high}")


# ---- to words


def _is_bare(text: str) -> bool:
    if not text or not text.isascii() or not (text[0].isalpha() or text[0] == "_"):
        return False
    if not text.replace("_", "a").replace("-", "a").replace(".", "a").isalnum():
        return False
    return text not in ("true", "false") and not is_uuid(text[:36])


def atom_text(atom: Any, kind: str) -> str:
    """One atom. Strings that could be taken for something else are in quotes."""
    if kind == "string":
        return str(atom) if _is_bare(atom) else quoted(atom)
    if kind == "boolean":
        return "true" if atom else "false"
    return f"{atom:.15g}" if kind == "real" else str(atom)


def value_text(kind: Type, value: Value) -> str:
    """A whole value."""
    key = kind.key.kind
    if kind.value is not None:
        second = kind.value.kind
        return "{" + ", ".join(f"{atom_text(a, key)}={atom_text(b, second)}" for a, b in value) + "}"
    text = ", ".join(atom_text(atom, key) for atom in value)
    return f"[{text}]" if kind.high > 1 or not value else text


def bare_text(kind: Type, value: Value) -> str:
    """A whole value without brackets and quotes."""

    def plain(atom: Any, base: Base | None) -> str:
        return str(atom) if base is None or base.kind == "string" else atom_text(atom, base.kind)

    if kind.value is not None:
        return " ".join(f"{plain(a, kind.key)}={plain(b, kind.value)}" for a, b in value)
    return " ".join(plain(atom, kind.key) for atom in value)


# ---- as the protocol has them


def from_json(kind: Type, given: Any) -> Value:
    """What a server has sent."""
    if kind.value is not None:
        pairs = ((_atom(kind.key, key), _atom(kind.value, atom)) for key, atom in given[1])
        return tuple(sorted(pairs))
    if isinstance(given, list) and given[0] == "set":
        return tuple(sorted(_atom(kind.key, each) for each in given[1]))
    return (_atom(kind.key, given),)


def _atom(base: Base, given: Any) -> Any:
    return given[1] if base.kind == "uuid" else given


def encode(kind: Type, value: Value, rows: Callable[[str], Any]) -> Any:
    """As it is sent. `rows`: how a UUID is."""
    first = rows if kind.key.kind == "uuid" else _same
    if kind.value is not None:
        second = rows if kind.value.kind == "uuid" else _same
        return ["map", [[first(key), second(atom)] for key, atom in value]]
    atoms = [first(atom) for atom in value]
    return atoms[0] if len(atoms) == 1 else ["set", atoms]


def _same(atom: Any) -> Any:
    return atom
