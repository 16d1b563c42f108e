"""The signaling server of visavis: rooms, routing, REST and STUN.

`application` makes it a part of an aiohttp application, `Server` is one of its own: docs/library.md has programs, and
lists all that is public here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from visavis_server.core.errors import ServerError, SettingsError
    from visavis_server.mounting import Authorize, application
    from visavis_server.server import Server
    from visavis_server.setup.keys import KeyFileError
    from visavis_server.setup.settings import Settings
    from visavis_server.sockets.listening import CannotListen

    __version__: str

__all__ = [
    "Authorize",
    "CannotListen",
    "KeyFileError",
    "Server",
    "ServerError",
    "Settings",
    "SettingsError",
    "__version__",
    "application",
]

_HOMES: Final = {
    "Authorize": "mounting",
    "CannotListen": "sockets.listening",
    "KeyFileError": "setup.keys",
    "Server": "server",
    "ServerError": "core.errors",
    "Settings": "setup.settings",
    "SettingsError": "core.errors",
    "application": "mounting",
}
"""Modules of what this package exports; the command imports no more than it needs."""


def __getattr__(name: str) -> object:
    if name == "__version__":  # takes long to look up, and is looked up once
        return globals().setdefault(name, import_module("importlib.metadata").version("visavis"))
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
