"""What is refused, as OpenFlow says so."""

from __future__ import annotations

from vswitch.base.errors import VswitchError

__all__ = ["OpenFlowError"]


class OpenFlowError(VswitchError):
    """A message, or what it asks for, is refused. `error`: "type.code" in the words of OpenFlow 1.5.1 section 7.5.4
    without their prefixes, as "bad_match.bad_prereq" or "flow_mod_failed.overlap"; `openflow.errors` has the numbers of
    each version. `text`: for people; `data`: what the error message carries, if it is not the message itself."""

    def __init__(self, error: str, text: str = "", data: bytes = b"") -> None:
        super().__init__(f"{error}: {text}" if text else error)
        self.error = error
        self.text = text
        self.data = data
