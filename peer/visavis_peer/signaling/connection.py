"""The agent's end of the signaling protocol: one WebSocket, typed messages in and out."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import aiohttp

from visavis_peer.core.signaling.answers import likely_cause
from visavis_peer.core.signaling.backoff import TOO_MANY_WAIT, told_delay
from visavis_peer.core.signaling.proxies import Proxy
from visavis_peer.errors import Refused, ServerBusy, SignalingUnreachable, TokenUntimely, UsageError
from visavis_peer.signaling.http import CONNECT_TIMEOUT, describe, describe_opening, open_http
from visavis_peer.signaling.urls import base_url, token_headers
from visavis_shared.closing import CloseCode
from visavis_shared.errors import TOKEN_EXPIRED, TOKEN_NOT_YET_VALID, RemoteProtocolError
from visavis_shared.ids import printable

if TYPE_CHECKING:
    from visavis_shared.messages import ClientMessage, ServerMessage, WelcomePayload

logger = logging.getLogger(__name__)

HEARTBEAT: Final = 20.0
"""Seconds between this side's pings; a server that is silent for half of it longer is taken for gone."""
CLOSE_TIMEOUT: Final = 0.5
"""Seconds that the server has to answer a close frame: on a dead network it never does."""
MESSAGE_SIZE: Final = 4 << 20
"""Bytes of one message from the server: a member list of 10,000 peers has about 2 MiB."""


class SignalingClient:
    """One connection to the signaling server; a lost one is replaced by another object."""

    def __init__(
        self, url: str, token: str | None = None, proxy: Proxy | None = None, timeout: float = CONNECT_TIMEOUT
    ) -> None:
        """`url` comes from `websocket_url`; `token` is shown to the server, `proxy` leads there if need be.

        `timeout` is for how many seconds `connect` waits, CONNECT_TIMEOUT at most.
        A user name and a password in the URL are shown to a proxy in front of the server (Authorization: Basic).
        """
        self.url = base_url(url)
        """Where the server is; may be printed."""
        self._url = url
        self._token = token
        self._proxy = proxy
        self._timeout = min(timeout, CONNECT_TIMEOUT)
        self.peer_id = ""
        self.welcome: WelcomePayload | None = None
        self.server_address = ""
        """The server's IP address, known once connected; empty where only a proxy knows it."""
        self.received = 0
        """Messages that have come in, those that were not understood too."""
        self.local_address = ""
        """This machine's address on the connection, known once connected."""
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._opening: asyncio.Task[aiohttp.ClientWebSocketResponse] | None = None
        self._sent = asyncio.Event()
        """Set once the request for the WebSocket is sent."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect and wait for the welcome.

        Raises SignalingUnreachable, ServerBusy (503, 429), or Refused (401, 403).
        """
        if self._opening is None:
            self.begin()
        assert self._opening is not None
        try:
            async with asyncio.timeout(self._timeout):
                self._socket = await self._opening
                if self._proxy is None:
                    self.server_address = _address(self._socket.get_extra_info("peername"))
                self.local_address = _address(self._socket.get_extra_info("sockname"))
                await self._receive_welcome()
        except BaseException as error:
            await self.close()
            raise self._translate(error) from error

    def begin(self) -> None:
        """Begin to connect, so that `connect` finds it done, perhaps; `close` gives it up."""
        self._opening = asyncio.create_task(self._open())

    async def requested(self) -> None:
        """Wait until the request that was begun is sent, or has failed."""
        assert self._opening is not None
        sent = asyncio.create_task(self._sent.wait())
        try:
            await asyncio.wait([self._opening, sent], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sent.cancel()

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        self._session = open_http(self._proxy, self._sent.set)
        return await self._session.ws_connect(
            self._url,
            heartbeat=HEARTBEAT,
            headers=token_headers(self._url, self._token),
            max_msg_size=MESSAGE_SIZE,
            compress=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
        )

    async def _receive_welcome(self) -> None:
        # the models take half as long to import as all before, and the answer is on its way
        from visavis_shared.messages import Ack, WelcomePayload

        message = await self.receive()
        if not isinstance(message, Ack):
            raise SignalingUnreachable(f"{self.url} is not a visavis signaling server: it did not send the welcome")
        self.peer_id = message.peer_id
        try:
            self.welcome = WelcomePayload.model_validate(message.payload or {})
        except ValueError:
            # any server of the protocol will do; what ours adds is optional
            self.welcome = WelcomePayload(message="connected")

    @property
    def message_rate(self) -> float:
        """Messages per second that the connected server admits; 0 where it names no limit."""
        told = self.welcome.limits if self.welcome is not None else None
        return 0.0 if told is None or not told.message_rate > 0 else told.message_rate

    @property
    def by_loopback(self) -> bool:
        """Whether the server is reached without leaving this machine; a proxy on it leads elsewhere."""
        return bool(self.server_address) and ipaddress.ip_address(self.server_address).is_loopback

    async def send(self, message: ClientMessage) -> None:
        """Send one message.

        Raises SignalingUnreachable when the connection is gone.
        """
        from visavis_shared.messages import encode

        await self.send_encoded(encode(message))

    async def send_encoded(self, message: bytes) -> None:
        """Send one message that `encode` has written.

        Raises SignalingUnreachable when the connection is gone.
        """
        if self._socket is None or self._socket.closed:
            raise SignalingUnreachable("the connection to the signaling server is closed")
        try:
            await self._socket.send_str(message.decode())
        except (OSError, aiohttp.ClientError, RuntimeError) as error:
            raise self._broken(error) from error

    async def receive(self) -> ServerMessage:
        """Return the next message that this agent understands.

        Raises SignalingUnreachable when the connection has ended, with the server's reason; Refused when another one
        has taken its place; ServerBusy when the server has had too much of this one.
        """
        from visavis_shared.messages import decode_server_message

        assert self._socket is not None
        while True:
            frame = await self._next_frame(self._socket)
            if frame.type is aiohttp.WSMsgType.TEXT:
                self.received += 1
                try:
                    return decode_server_message(frame.data)
                except RemoteProtocolError as error:
                    logger.debug("message from the server ignored: %s", error)
            elif frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                code = self._socket.close_code
                reason = printable(str(frame.extra or "")) if frame.type is aiohttp.WSMsgType.CLOSE else ""
                if code == CloseCode.REPLACED:
                    raise Refused("another connection has resumed this agent's session")
                text = f"the signaling server closed the connection (code {code}) {reason}".strip()
                if code == CloseCode.TOO_MANY:
                    raise ServerBusy(text, TOO_MANY_WAIT)
                raise SignalingUnreachable(text)
            elif frame.type is aiohttp.WSMsgType.ERROR:
                raise SignalingUnreachable(f"the connection to the signaling server broke: {self._socket.exception()}")

    async def _next_frame(self, socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
        """Wait for a frame; answering a ping by itself, the socket may find that the connection is gone.

        Raises SignalingUnreachable.
        """
        try:
            return await socket.receive()
        except (OSError, aiohttp.ClientError, RuntimeError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> SignalingUnreachable:
        return SignalingUnreachable(f"the connection to the signaling server broke: {describe(error)}")

    async def close(self, code: int = CloseCode.NORMAL) -> None:
        """Close the connection; the room sees this peer leave, unless it is RETURNING. Idempotent."""
        opening, self._opening = self._opening, None
        socket, self._socket = self._socket, None
        try:
            if opening is not None:
                opening.cancel()
                (opened,) = await asyncio.gather(opening, return_exceptions=True)
                # a connection that nobody has awaited yet
                socket = opened if socket is None and isinstance(opened, aiohttp.ClientWebSocketResponse) else socket
            if socket is not None:
                await socket.close(code=code)
        finally:  # also where the agent itself is closed amid this
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    @property
    def _way(self) -> str:
        return "" if self._proxy is None else f" through the proxy {self._proxy}"

    def _translate(self, error: BaseException) -> BaseException:
        match error:
            case aiohttp.WSServerHandshakeError(status=status, headers=headers):
                return self._refusal(status, headers or {})
            case TimeoutError():
                return SignalingUnreachable(f"{self.url} did not answer within {self._timeout:g} s{self._way}")
            case aiohttp.InvalidURL() | UnicodeError():
                return UsageError(f"server {self.url!r} is not a usable URL: {printable(str(error))}")
            case aiohttp.ClientError() | OSError() | RuntimeError():
                return SignalingUnreachable(f"cannot reach {self.url}{self._way}: {describe_opening(error)}")
            case _:
                return error

    def _refusal(self, status: int, headers: Mapping[str, str]) -> BaseException:
        """Return the error for an HTTP answer in the place of a WebSocket."""
        text = f"{self.url} answered HTTP {status} instead of opening a WebSocket"
        login = "@" in urlsplit(self._url).netloc
        cause = likely_cause(status, headers, login=login, token=self._token is not None)
        whole = f"{text}: {cause}" if cause else text
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return ServerBusy(whole, told_delay(headers.get("Retry-After")))
        told = headers.get("WWW-Authenticate", "")
        untimely = [reason for reason in (TOKEN_EXPIRED, TOKEN_NOT_YET_VALID) if f'"{reason}"' in told]
        if status == HTTPStatus.UNAUTHORIZED and untimely:
            return TokenUntimely(f"{text}: {untimely[0]}, by the server's clock")
        kind = Refused if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else SignalingUnreachable
        return kind(whole)


def _address(name: tuple[object, ...] | None) -> str:
    """Return the IP address of a socket's name, empty when it cannot be told."""
    try:
        return str(ipaddress.ip_address(str(name[0]).partition("%")[0])) if name else ""
    except ValueError:
        return ""
