"""Which version of vswitch this is; pyproject.toml says the same."""

from __future__ import annotations

__all__ = ["OPEN_VSWITCH_VERSION", "VERSION"]

VERSION = "0.1.0"

OPEN_VSWITCH_VERSION = "3.1.0"
"""The version of Open vSwitch whose database, tools and texts are kept to; clients that ask for one are told it."""
