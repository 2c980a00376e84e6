"""Every way in which vswitch says no.

    VswitchError
    ├── ConfigError            the caller's words are wrong: bad text, a value out of its bound
    │   ├── TextError          a flow or action text that does not parse; shows where
    │   ├── OverlapError       two megaflows of equal priority take the same packet
    │   └── LimitError         a documented bound would be passed
    ├── NotFoundError          the datapath, port, megaflow or meter named does not exist
    ├── ExistsError            ... exists already
    ├── BusyError              another process controls the datapath
    ├── TableFullError         a table of fixed size has no room left
    ├── UnexpectedUpcallError  a packet missed where none was to (of `vswitch.api`)
    └── MachineError           the machine cannot do it
        ├── PrivilegeError     not root, or without the capabilities needed
        ├── KernelError        the kernel is too old or lacks a part (BTF, a device type)
        └── LoadError          libbpf or the verifier refused the program; keeps the whole log

Invariant: the message of each names the thing, the value and the bound, in one sentence.
"""

from __future__ import annotations

__all__ = [
    "BusyError",
    "ConfigError",
    "ExistsError",
    "KernelError",
    "LimitError",
    "LoadError",
    "MachineError",
    "NotFoundError",
    "OverlapError",
    "PrivilegeError",
    "TableFullError",
    "TextError",
    "VswitchError",
]


class VswitchError(Exception):
    """Base of all errors that vswitch raises on purpose."""


class ConfigError(VswitchError, ValueError):
    """What the caller asked for makes no sense: a value out of its bound, a thing of the wrong kind, a call at the
    wrong time. Nothing was changed."""


class TextError(ConfigError):
    """A text does not parse. `text` is the whole, `position` the offset of the fault in it (characters, from 0),
    `problem` what is wrong there."""

    def __init__(self, problem: str, text: str, position: int) -> None:
        self.problem = problem
        self.text = text
        self.position = position
        start = max(0, position - 20)
        excerpt = text[start : position + 20]
        super().__init__(
            f"{problem} at character {position}: ...{excerpt!r}"
            if start
            else f"{problem} at character {position}: {excerpt!r}"
        )


class OverlapError(ConfigError):
    """Two megaflows of equal priority would take the same packet; the message names both. `new`: what was to be
    installed; `old`: the one that is there, or that comes with it."""

    def __init__(self, new: object, old: object) -> None:
        self.new = new
        self.old = old
        super().__init__(f"megaflow {new} overlaps {old}, which has the same priority")


class LimitError(ConfigError):
    """A fixed bound would be passed; README.md lists them."""


class NotFoundError(VswitchError, LookupError):
    """The datapath, device, port, megaflow or meter that was named does not exist."""


class ExistsError(VswitchError):
    """The datapath, device, port or megaflow that was named exists already."""


class BusyError(VswitchError):
    """It takes control of the datapath, and another process has that, or this one opened it only to read."""


class TableFullError(VswitchError):
    """A table whose size was fixed when the datapath was made (`Options`) has no room left; nothing was changed."""


class MachineError(VswitchError):
    """This machine cannot do what was asked."""


class PrivilegeError(MachineError):
    """Root, or a capability, is missing."""


class KernelError(MachineError):
    """The running kernel is too old (before Linux 6.1), or lacks a part that is needed, such as BTF."""


class LoadError(MachineError):
    """libbpf or the verifier refused the program. `log` keeps everything they said, the message its last lines."""

    def __init__(self, message: str, log: str = "") -> None:
        self.log = log
        tail = "\n".join(log.strip().splitlines()[-8:])
        super().__init__(f"{message}\n{tail}" if tail else message)
