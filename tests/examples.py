"""How many examples property tests try: few in `make test`, more of them in `make slow`."""

from __future__ import annotations

import os

from hypothesis import settings

__all__ = ["TIMES", "examples"]

TIMES = int(os.environ.get("EXAMPLES", "1"))
"""How many times as many as usual are tried; `make slow` sets it."""


def examples(number: int) -> settings:
    """Settings of a property test that usually tries `number` examples."""
    return settings(max_examples=number * TIMES)
