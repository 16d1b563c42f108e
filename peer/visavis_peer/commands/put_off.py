"""What libraries import and an agent that is alone never uses: put off until somebody asks it for something."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Final

UNUSED: Final = frozenset(
    {
        # aioice, for candidates that are names of mDNS, 2 MiB
        *(f"dns.{name}" for name in ("flags", "message", "name", "rdata", "rdataset", "rdatatype", "zone")),
        # aiohttp, for files and for hosts that are not ASCII
        *("mimetypes", "idna"),
    }
)


def put_off_unused() -> None:
    """Have modules of UNUSED run when one of their names is used for the first time; those that are there stay.

    And have pydantic look for no plugins: it reads the metadata of all that is installed to find one.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    sys.meta_path.insert(0, _Later())


class _Later:
    """Finds a module of UNUSED as Python would, and loads it later."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in UNUSED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec
