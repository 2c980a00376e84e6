"""Which version of vswitch this is; pyproject.toml says the same."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
