"""A hub with clients that are lists: no socket, no clock but the test's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from visavis_server.core.signaling.effects import Close, Effect, Ping, Rebind, Report, Send
from visavis_server.core.signaling.hub import Hub
from visavis_server.core.signaling.resumption import Resumption
from visavis_server.core.signaling.rules import Rules
from visavis_server.core.signaling.tickets import TicketSigner
from visavis_shared.messages import WelcomePayload, decode_server_message

WELCOME: Final = WelcomePayload(message="connected")
DIRECTED: Final = ("OFFER", "ANSWER", "CANDIDATE")
"""What the server forwards without a look at the payload."""
Message = dict[str, Any]


class World:
    """Drives a hub and keeps what every client was sent; what the server writes itself is checked by the models."""

    def __init__(self, *, signer: TicketSigner | None = None, **rules: Any) -> None:
        """Peers may resume where there is a `signer`."""
        self.rules = Rules(**rules)
        self.signer = signer
        self.start()
        self.now = 1000.0
        self.received: dict[str, list[Message]] = {}
        """By peer_id: messages in order, not yet taken."""
        self.closed: dict[str, tuple[int, str]] = {}
        self.pinged: list[str] = []
        self.replaced: list[tuple[str, int, str]] = []
        """Peers that were taken over, with the code and reason for the connection before."""
        self.reports: list[Exception] = []

    def start(self) -> None:
        """Begin, or begin again, with a hub that knows nobody."""
        resumption = None
        if self.signer is not None:
            resumption = Resumption(
                self.signer, self.rules.resume_grace, self.rules.peer_limit, self.rules.address_limit
            )
        self.hub = Hub(self.rules, resumption=resumption)

    @property
    def now_ms(self) -> int:
        """The wall clock, a million seconds ahead of the monotonic one."""
        return round((self.now + 1e6) * 1000)

    def connect(self, peer_id: str, address: str = "") -> str:
        """Connect a client and take its welcome."""
        self.received[peer_id] = []
        self.perform(self.hub.connect(peer_id, WELCOME, self.now, self.now_ms, address=address))
        (welcome,) = self.take(peer_id)
        assert (welcome["type"], welcome["peer_id"]) == ("ACK", peer_id)
        return peer_id

    def joined(self, peer_id: str, room_id: str) -> str:
        """Connect a client, let it join, and take the ACK."""
        self.connect(peer_id)
        assert self.request(peer_id, type="JOIN", room_id=room_id)["type"] == "ACK"
        return peer_id

    def send(self, peer_id: str, **message: Any) -> None:
        self.send_bytes(peer_id, json.dumps(message).encode())

    def send_bytes(self, peer_id: str, data: bytes, *, text: bool = True) -> None:
        self.perform(self.hub.receive(peer_id, data, self.now, self.now_ms, text=text))

    def request(self, peer_id: str, **message: Any) -> Message:
        """Send one message and take the one that comes back."""
        self.send(peer_id, **message)
        (answer,) = self.take(peer_id)
        return answer

    def disconnect(self, peer_id: str) -> None:
        self.perform(self.hub.disconnect(peer_id, self.now, self.now_ms))

    def pass_time(self, seconds: float) -> None:
        """Move the clock on and run the sweep."""
        self.now += seconds
        self.perform(self.hub.handle_timer(self.now, self.now_ms))

    def take(self, peer_id: str) -> list[Message]:
        """Return what a client was sent since it was last asked."""
        messages, self.received[peer_id] = self.received[peer_id], []
        return messages

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to=to, data=data):
                    message = json.loads(data)
                    if message["type"] not in DIRECTED:
                        decode_server_message(data)
                    for peer_id in to:
                        assert peer_id not in self.closed, "nothing is sent to who is closed"
                        self.received[peer_id].append(message)
                case Ping(to=to):
                    self.pinged += to
                case Close(peer_id=peer_id, code=code, reason=reason):
                    assert peer_id not in self.hub.rooms.peers, "who is closed is forgotten"
                    self.closed[peer_id] = (code, reason)
                case Rebind(fresh_id=fresh_id, peer_id=peer_id, code=code, reason=reason):
                    self.replaced.append((peer_id, code, reason))
                    self.received[peer_id] = self.received.pop(fresh_id)
                case Report(error=error):
                    self.reports.append(error)
