"""The signaling server as a Python program has it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from visavis_server.app import SignalingServer
from visavis_server.setup.settings import Settings


class Server:
    """A signaling server of its own: WebSocket, REST and relay on one TCP port, STUN on UDP.

    `async with` starts and stops it. One that has been closed is not started again.
    """

    __slots__ = ("__weakref__", "_server")

    def __init__(self, settings: Settings | None = None, stop: Callable[[], None] | None = None) -> None:
        """`stop` is called when the operator asks by the admin API to stop; somebody has to call `close` then.

        Without it the log says that this server does not.
        """
        self._server = SignalingServer(settings or Settings(), stop)

    def __repr__(self) -> str:
        return f"Server({self.host}, {self.port})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        return self._server.settings

    @property
    def host(self) -> str:
        """Address or name that it listens on: `Settings.host`, or what there is where this machine has no IPv6."""
        return self._server.host

    @property
    def port(self) -> int:
        """TCP port, known once started; 0 before."""
        return self._server.port

    @property
    def stun_ports(self) -> tuple[int, int] | None:
        """Both UDP ports (RFC 5780), known once started; None without STUN."""
        return self._server.stun_ports

    @property
    def announcement(self) -> str:
        """One line that says where the server listens."""
        return self._server.announcement

    @property
    def instructions(self) -> list[str]:
        """Lines for the operator: what clients run, and what has to be reachable from outside."""
        return self._server.instructions

    async def start(self) -> None:
        """Bind everything and accept connections.

        Raises CannotListen, KeyFileError or SettingsError (a part that is not installed), with nothing left open.
        """
        await self._server.start()

    async def close(self) -> None:
        """Stop what `start` has started.

        Who resumes is let go of within `Settings.drain_time`; the others get close code 1001, and all is over within
        two seconds after that.
        """
        await self._server.close()
