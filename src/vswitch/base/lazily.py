"""Names of a package that are fetched from its modules when they are first used.

`__getattr__ = fetching(globals(), modules)` at the end of a package's `__init__` (PEP 562): `modules` are looked
through in order, those that load fastest first, for a name of the package's `__all__`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["fetching"]


def fetching(package: dict[str, Any], modules: Sequence[str]) -> Callable[[str], Any]:
    """What gives a package with these globals a name that it does not have yet; AttributeError: it is none of its."""

    def fetch(name: str) -> Any:
        if name in package["__all__"]:
            import importlib  # not before it is needed: vsctl never does

            for module in map(importlib.import_module, modules):
                if name in module.__all__:
                    value = package[name] = getattr(module, name)
                    return value
        raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")

    return fetch
