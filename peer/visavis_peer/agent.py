"""The agent: stays in a room and keeps a link to every peer in it.

    async with Agent(AgentSettings(server="https://host.example", room="r")) as agent:
        async for link in agent.links():
            reader, writer = await link.open_stream("echo")
            writer.write(b"hello")

It connects, discovers, joins, and connects again; `Peering` keeps the links, which outlive a lost server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pydantic import BaseModel, ValidationError

from visavis_peer.broadcast import Broadcast
from visavis_peer.core.counts import PEER_COUNT
from visavis_peer.core.meeting.sealing import RoomSeal, room_password
from visavis_peer.core.nat.addresses import Interface, choose_addresses
from visavis_peer.core.retrying import tried_again
from visavis_peer.core.signaling.backoff import signaling_delay, untimely_delay
from visavis_peer.core.signaling.resume import ResumeState
from visavis_peer.core.signaling.servers_met import ADVICE, ServersMet
from visavis_peer.errors import (
    AgentError,
    AuthenticationFailed,
    Refused,
    ServerBusy,
    SignalingUnreachable,
    TokenUntimely,
    from_server,
    reason_of,
)
from visavis_peer.events import (
    EVENTS_LOST,
    NO_INTERFACE,
    RELAY_NOT_USED,
    SEVERAL,
    SIGNALING_LOST,
    EndpointDiscovered,
    Event,
    Failure,
    Joined,
    Notice,
    Ready,
)
from visavis_peer.host.interfaces import list_interfaces
from visavis_peer.host.network_watch import NetworkWatch
from visavis_peer.host.sleep_watch import SleepWatch
from visavis_peer.nat.study import NatStudy
from visavis_peer.nat.stun_servers import StunServers
from visavis_peer.nat.turn_servers import TurnServers
from visavis_peer.peers.relay_server import RelayNotUsed, RelayServer, offered_relay
from visavis_peer.peers.spare import SessionPool
from visavis_peer.settings import AgentSettings
from visavis_peer.signaling.connection import SignalingClient
from visavis_peer.signaling.ending import ConnectionEnd
from visavis_peer.signaling.outbox import Outbox
from visavis_peer.signaling.reporting import OutcomeReporter
from visavis_peer.signaling.urls import chosen_proxy, websocket_url, without_login
from visavis_shared.closing import CloseCode
from visavis_shared.errors import WRONG_PRIVATE, ErrorCode
from visavis_shared.ids import printable
from visavis_shared.messages import (
    Ack,
    Answer,
    CandidateMessage,
    Discover,
    Endpoint,
    ErrorMessage,
    ErrorPayload,
    GoAway,
    Join,
    JoinPayload,
    Leave,
    MembersPayload,
    Offer,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    PrivateRoom,
    RelayOffer,
    Resume,
    ResumedPayload,
    ResumePayload,
    ResumeRefresh,
    ServerMessage,
)
from visavis_shared.messages import Notice as NoticeMessage
from visavis_shared.nat import NatReport
from visavis_shared.tasks import end, own, sentence
from visavis_shared.threads import call_apart

if TYPE_CHECKING:
    from visavis_peer.ice import IceSession
    from visavis_peer.link.link import Link
    from visavis_peer.peers.links import Links
    from visavis_peer.peers.peering import Peering

logger = logging.getLogger(__name__)

FRESH_SIZE: Final = 16
"""Bytes of the value that a process draws for those who seal for it (docs/link.md)."""
EVENT_COUNT: Final = 16_384
"""Events kept for a subscriber that is busy, 4 MiB: the members of the largest room (mesh.py), and more."""
_M = TypeVar("_M", bound=BaseModel)
_JOIN: Final = "join"
_RESUME: Final = "resume"


class Agent:
    """An agent in one room; use it as an asynchronous context manager.

    Entering it connects and joins. Where the server cannot be reached, is busy, or finds the token's times wrong, it
    tries again until `connect_timeout` of the settings is over, and then raises SignalingUnreachable, ServerBusy or
    TokenUntimely; with None it goes on trying for as long as it takes, and tells each failure as an event. Refused and
    UsageError, which no waiting changes, are raised at once. Once in the room it reconnects by itself without end.
    Leaving it closes all links, with the room and the peers told at once.
    """

    def __init__(self, settings: AgentSettings) -> None:
        """Nothing happens before the agent is entered; iterators may be taken before that."""
        self.settings = settings
        """What it was made with."""
        self._begun: SignalingClient | None = None
        """A connection that has been begun already (`commands.begun`)."""
        self._lean = False
        """Whether what links are made with is left out until there is somebody to link with."""
        self.peer_id = ""
        """Id that the signaling server has given this agent; another one when it had to join anew."""
        self.nat = NatReport()
        """What is known of the NAT before this agent; kept up to date."""
        self._url = websocket_url(settings.server)
        self._proxy = chosen_proxy(settings.proxy)
        self._pool = SessionPool(settings)
        self._study = NatStudy(self._on_endpoint, probing=settings.probing == "auto")
        self._events: Broadcast[Event] = Broadcast(EVENT_COUNT, _lost_events)
        self._links: Broadcast[Link] = Broadcast(PEER_COUNT)
        self._outbox = Outbox()
        self._peering: Peering | None = None
        """None before there was anybody to link with."""
        self._relay_offer: RelayOffer | None = None
        """The relay of the latest signaling connection."""
        self._relay_server: RelayServer | None = None
        """Where it is; None where this agent does not go there."""
        self._relay_told = ""
        """Why that was, when it was last told."""
        self._runner: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()
        self._servers = ServersMet()
        self._resume = ResumeState()
        self._fresh_id = ""
        """Id that the latest connection was given; void once it has resumed."""
        self._fresh = secrets.token_hex(FRESH_SIZE)
        """What the room shows of this process, so that nothing that was sealed for another opens in it."""
        self._endpoint: Endpoint | None = None
        self._turn = TurnServers(self._pool.use_turn, lambda: self._outbox.put(Discover()))
        self._reporter = OutcomeReporter(enabled=settings.report)
        self._network = NetworkWatch(list_interfaces, self._on_network)
        self._sleep = SleepWatch(self._on_wake)
        self._slept = False
        """Whether this machine was asleep since it was last in the room."""
        self._server_address = ""
        """The server's address on the latest signaling connection, empty where that is not known."""
        self._local_address = ""
        """This machine's address on the signaling connection, empty while there is none."""
        self._cut_off = ConnectionEnd()
        """Set when the signaling connection cannot work any longer, or may work again."""
        self._trouble: AgentError | None = None
        """What ended the latest connection in vain."""
        self._attempt = 0
        """Connections in vain since this agent was last in the room."""

    async def __aenter__(self) -> Self:
        if not self._lean:
            self._begin_peering().links.prepare()
        self._runner = asyncio.create_task(self._run())
        self._network.start()
        self._sleep.start()
        joined = asyncio.create_task(self._joined.wait())
        try:
            await asyncio.wait(
                [self._runner, joined], timeout=self.settings.connect_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if self._runner.done():
                self._runner.result()
            if not self._joined.is_set():
                raise self._trouble or self._too_late()
        except BaseException:
            await self.close()
            raise
        finally:
            joined.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- for the user -------------------------------------------------------------------------------------------------

    def events(self) -> AsyncIterator[Event]:
        """Return an iterator over all events from now on, until the agent is closed or ends by itself.

        While EVENT_COUNT of them are unread further ones are lost: a Failure `events_lost` stands in their place.
        """
        return self._events.subscribe()

    def links(self) -> AsyncIterator[Link]:
        """Return an iterator over the links that are up and those that come up later, until the agent is closed."""
        return self._links.subscribe(self._peering.links.up if self._peering else ())

    async def wait_finished(self) -> None:
        """Wait until the agent ends by itself, which it does only by an error.

        Raises that AgentError.
        """
        assert self._runner is not None
        await asyncio.shield(self._runner)

    @property
    def members(self) -> list[PeerInfo]:
        """The other members of the room, in the order in which this agent learnt of them."""
        return list(self._peering.mesh.members.values()) if self._peering else []

    @property
    def linked(self) -> list[Link]:
        """The links that there are."""
        return list(self._peering.links.up) if self._peering else []

    @property
    def has_relay(self) -> bool:
        """Whether links may use the relay of the signaling server, which offers one."""
        return self._relay_server is not None and self.settings.relay != "never"

    def remote_nat(self, peer_id: str) -> NatReport | None:
        """Return what a member of the room has told of its NAT in the latest negotiation."""
        negotiation = self._peering.mesh.negotiations.get(peer_id) if self._peering else None
        return negotiation.remote_nat if negotiation else None

    async def close(self) -> None:
        """Leave the room, close all links and sockets. Idempotent."""
        await self._network.close()
        await self._sleep.close()
        await self._turn.close()
        if self._peering is not None:
            await self._peering.close()
        if self._runner is not None:
            self._runner.cancel()
            # what has ended it has been published
            await asyncio.gather(self._runner, return_exceptions=True)
        await self._pool.close()
        self._end_iterators()

    def _end_iterators(self) -> None:
        self._events.close()
        self._links.close()

    # --- what happens -------------------------------------------------------------------------------------------------

    def _publish(self, event: Event) -> None:
        """Tell the user, and note what the server is to know of links."""
        self._reporter.note(event, self.nat)
        self._events.publish(event)

    def _on_endpoint(self, found: EndpointDiscovered) -> None:
        self.nat = found.nat
        if self._peering is not None:
            self._peering.nat_learnt()
        self._events.publish(found)

    def _on_network(self, interfaces: Sequence[Interface]) -> None:
        """Look for new paths, and connect again, where this machine's addresses make it necessary."""
        usable = choose_addresses(interfaces, self.settings.interfaces).used
        if usable != self._pool.choice.used:
            self._pool.renew()
            if self._peering is not None:
                self._peering.network_changed()
        here = {address for interface in interfaces if interface.up for address in interface.addresses}
        if self._local_address not in here:
            self._cut_off.set("this machine's network has changed")

    def _on_wake(self, reason: str) -> None:
        """Connect again at once: whether the connection has outlived the sleep would show after its timeouts only."""
        logger.info("%s", reason)
        self._slept = True
        if self._peering is not None:
            self._peering.on_woken()
        self._cut_off.set(reason)

    # --- signaling ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, serve, and connect again for as long as the agent lives.

        Raises what makes going on pointless: a refusal, or no first connection in time.
        """
        try:
            await self._keep_connected()
        except AgentError as error:
            self._end_by(error)
            raise
        except Exception as error:
            failure = AgentError(sentence(error))
            self._end_by(failure)
            raise failure from error

    def _too_late(self) -> SignalingUnreachable:
        done = "let this agent into the room" if self._fresh_id else "answer"
        server = without_login(self.settings.server)
        return SignalingUnreachable(f"{server} did not {done} within {self.settings.connect_timeout:g} s")

    def _end_by(self, error: AgentError) -> None:
        self._events.publish(Failure(error.name, str(error)))
        self._end_iterators()

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        timeout = self.settings.connect_timeout
        give_up_at = None if timeout is None else loop.time() + timeout
        while True:
            try:
                await self._connect_once()
            except (SignalingUnreachable, ServerBusy, TokenUntimely) as error:
                delay, promising = self._delay_after(error)
                self._attempt, self._trouble = self._attempt + 1, error
                in_vain = give_up_at is not None and (not promising or loop.time() + delay > give_up_at)
                if in_vain and not self._joined.is_set():
                    raise
                self._events.publish(Failure(SIGNALING_LOST, tried_again(str(error), f" in {delay:.1f} s")))
                if self._resume.token is None:
                    self._leave_room()
                self._local_address = ""
                self._cut_off.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._cut_off.wait()

    async def _connect_once(self) -> None:
        """Connect and serve until the connection has ended.

        Raises SignalingUnreachable also where this machine's network gives no socket, as before it is up again.
        """
        try:
            begun, self._begun = self._begun, None
            async with begun or SignalingClient(self._url, self.settings.token, self._proxy) as client:
                await self._serve(client)
        except OSError as error:
            raise SignalingUnreachable(f"cannot use this machine's network: {reason_of(error)}") from error

    def _delay_after(self, error: AgentError) -> tuple[float, bool]:
        """Return the seconds until the next attempt, and whether a person who waits may hope for it."""
        if isinstance(error, TokenUntimely):
            return untimely_delay(self._attempt, random.random()), False
        told = error.retry_after if isinstance(error, ServerBusy) else 0.0
        return signaling_delay(self._attempt, random.random()) + (told or 0.0), told is not None

    async def _serve(self, client: SignalingClient) -> None:
        """Join over a fresh connection and take messages until it ends; leave the room when cancelled."""
        self._events.publish(Ready(without_login(self.settings.server), client.peer_id))
        if self._servers.meet(client.welcome.instance if client.welcome is not None else None):
            self._events.publish(Failure(SEVERAL, ADVICE))
        self._check_private_rooms(client)
        self._take_relay(client)
        self._fresh_id = client.peer_id
        if self._resume.token is not None:
            await client.send(self._resume_request(self._resume.token))
        self._pool.loopback, self._server_address = client.by_loopback, client.server_address
        chosen = self.settings.stun
        stun = StunServers.chosen(chosen) if chosen else StunServers.offered(client)
        session = await self._pool.start(await stun.addresses())
        if self._pool.choice.missing:
            names = ", ".join(map(printable, self._pool.choice.missing))
            self._events.publish(Failure(NO_INTERFACE, f"this machine has no interface {names} (--interface)"))
        endpoint = await self._study.first_endpoint(session)
        self._endpoint = None if self._pool.relay_only else endpoint  # which is to hide it
        if self._resume.token is None:
            await client.send(self._join_request())
        self._local_address = client.local_address
        self._cut_off.clear()
        reading = asyncio.create_task(self._read(client))
        cut_off = asyncio.create_task(self._cut_off.wait())
        helpers = [
            own(self._outbox.run(client.send_encoded, client.message_rate)),
            own(self._finish_study(session), bears=(OSError,)),
            own(self._reporter.run(self._outbox.put)),
            reading,
            cut_off,
        ]
        try:
            await asyncio.wait([reading, cut_off], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            await client.close(CloseCode.RETURNING)
            raise SignalingUnreachable(self._cut_off.reason)
        except asyncio.CancelledError:
            with contextlib.suppress(SignalingUnreachable):
                for report in self._reporter.take():
                    await client.send(report)
                await client.send(Leave())
            raise
        finally:
            self._cut_off.clear()
            self._outbox.hold()
            await end(*helpers)

    def _check_private_rooms(self, client: SignalingClient) -> None:
        """See that a room with a secret is closed to everybody else.

        Raises Refused, or once this agent was in the room SignalingUnreachable: the server may be replaced again.
        """
        knows = client.welcome is not None and client.welcome.private_rooms
        if self.settings.secret is not None and not knows:
            text = "the signaling server is too old: it has no private rooms, which rooms with a secret need"
            raise SignalingUnreachable(text) if self._joined.is_set() else Refused(text)

    def _fresh_of(self, peer_id: str) -> str | None:
        return self._peering.mesh.fresh_of(peer_id) if self._peering else None

    def _refused(self, refusal: ErrorPayload) -> AgentError:
        """Return the error for the refusal of a JOIN."""
        if refusal.code is not ErrorCode.UNAUTHORIZED or refusal.details != WRONG_PRIVATE:
            return from_server(refusal.code, printable(refusal.message), refusal.details)
        if self._joined.is_set():
            return SignalingUnreachable("another room has taken this room's name, with another secret")
        return AuthenticationFailed("the secret does not match: was the invite copied whole?")

    def _join_request(self) -> Join:
        self.peer_id = self._fresh_id
        self._outbox.clear()  # meant for peers by the ids they had before
        secret = self.settings.secret
        payload = JoinPayload(
            display_name=self.settings.name,
            endpoint=self._endpoint,
            show_seen=self._shows_seen,
            fresh=self._fresh,
            private=None if secret is None else PrivateRoom(password=room_password(secret, self.settings.room)),
            resume=True,
        )
        return Join(room_id=self.settings.room, payload=payload, request_id=_JOIN)

    @property
    def _shows_seen(self) -> bool | None:
        """Whether peers may learn this agent's address from the server, so that they can probe it."""
        return True if self.settings.probing == "auto" and not self._pool.relay_only else None

    def _resume_request(self, token: str) -> Resume:
        payload = ResumePayload(
            token=token,
            received=self._resume.received,
            display_name=self.settings.name,
            endpoint=self._endpoint,
            show_seen=self._shows_seen,
            fresh=self._fresh,
        )
        return Resume(payload=payload, request_id=_RESUME)

    def _leave_room(self) -> None:
        """Forget the room, for nobody there knows this agent any longer by its former id; links stay."""
        self._resume.forget()
        if self._peering is not None:
            self._peering.signaling_lost()

    async def _read(self, client: SignalingClient) -> None:
        while True:
            before = client.received
            message = await client.receive()
            if _shows_company(message):
                await self._prepare()
            self._resume.count(client.received - before)
            if isinstance(message, ErrorMessage) and message.request_id == _RESUME:
                refusal = message.payload
                logger.info("the session cannot be resumed: %s", printable(refusal.details or refusal.message))
                self._leave_room()
                await client.send(self._join_request())
            else:
                self._take(message)
            await asyncio.sleep(0)  # so that those who read events keep up with a server that has much to say

    async def _prepare(self) -> None:
        """Import what links are made with.

        Amid a negotiation that would delay a step, and a check that comes too early to a NAT spoils the mapping.
        """
        if self._peering is None:
            await call_apart(import_module, "visavis_peer.peers.peering")
        await self._begin_peering().links.prepared()

    def _begin_peering(self) -> Peering:
        """Return what deals with the peers, from the first one on."""
        if self._peering is not None:
            return self._peering
        from visavis_peer.peers.peering import Peering

        secret, fresh = self.settings.secret, self._fresh
        self._peering = Peering(
            self._pool,
            self._outbox.put,
            self._publish,
            self._links.publish,
            self._study.report,
            lambda: self.nat,
            None
            if secret is None
            else RoomSeal(secret, self.settings.room, secrets.token_bytes, fresh, self._fresh_of),
            fresh,
            self.settings.name,
            self.settings.relay,
            self.settings.patience,
        )
        self._offer_relay(self._peering.links)
        if self._joined.is_set():
            self._peering.joined(self.peer_id, ())
        return self._peering

    def _take(self, message: ServerMessage) -> None:
        """Do what a message asks for; what a server or peer has made up ends nothing."""
        try:
            self._on_message(message)
        except AgentError:
            raise
        except Exception:
            logger.exception("a message of the server was not understood")

    async def _finish_study(self, session: IceSession) -> None:
        await self._study.complete(session)
        await self._study.hear_gateway(session)

    def _take_relay(self, client: SignalingClient) -> None:
        """Let links use the relay that this connection's welcome offers.

        Raises Refused when the server wants nothing else and this agent nothing like it.
        """
        self._relay_offer = offer = client.welcome.relay if client.welcome is not None else None
        self._relay_server = None
        if offer is not None:
            only = offer.mode == "only"
            if only and self.settings.relay == "never":
                raise Refused(
                    "the server allows no links but through its relay, and this agent none through a relay"
                    " (--relay never)"
                )
            self._pool.relay_only = only or self.settings.relay == "only"
            self._relay_server = self._where(offer, client)
        if self._peering is not None:
            self._offer_relay(self._peering.links)

    def _offer_relay(self, links: Links) -> None:
        from visavis_peer.peers.relay_connection import RelayClient

        offer, server = self._relay_offer, self._relay_server
        only = offer is not None and offer.mode == "only"
        if offer is None or server is None:
            links.offer_relay(None, only=only)
            return
        links.offer_relay(
            lambda: RelayClient(
                server.url,
                offer.token,
                offer.message_size,
                links.on_relayed,
                links.on_relay_state,
                self._proxy,
                server.may_be_at,
            ),
            only=only,
        )

    def _where(self, offer: RelayOffer, client: SignalingClient) -> RelayServer | None:
        """Return where the relay is; None for a place to which this agent does not go, which is told once."""
        try:
            return offered_relay(self._url, offer.url, client.server_address, proxied=self._proxy is not None)
        except RelayNotUsed as error:
            if self.settings.relay != "never" and str(error) != self._relay_told:
                self._relay_told = str(error)
                self._events.publish(Failure(RELAY_NOT_USED, str(error)))
            return None

    def _use_turn(self, listed: MembersPayload) -> None:
        """Let sessions use the TURN servers that come with a member list."""
        if self.settings.relay != "never":
            self._turn.put(listed.ice_servers, self._server_address)

    def _on_message(self, message: ServerMessage) -> None:
        peering = self._peering
        match message:
            case Ack(request_id=request_id, payload=payload) if request_id == _JOIN:
                # an ACK has a payload by what it answers, so that it is understood here and not by the reader
                listed = _understood(MembersPayload, payload or {})
                members = listed.peers
                self._resume.begin(listed.resume)
                self._outbox.joined()
                self._use_turn(listed)
                self._events.publish(Joined(self.settings.room, self.peer_id, len(members) - 1))
                self._joined.set()
                self._attempt, self._slept = 0, False
                if peering is not None:
                    peering.joined(self.peer_id, members)
            case Ack(request_id=request_id, payload=payload, peer_id=peer_id) if request_id == _RESUME:
                self._on_resumed(_understood(ResumedPayload, payload or {}), peer_id)
            case ResumeRefresh(payload=offer):
                self._resume.refresh(offer)
            # asked for anew before TURN credentials expire; members come and go by messages of their own
            case PeerList(room_id=room, payload=listed) if room == self.settings.room:
                self._use_turn(listed)
            # one does not link with oneself, whomever the server tells
            case PeerJoined(payload=info) if peering is not None and info.peer_id != self.peer_id:
                peering.peer_joined(info)
            # to be told of one's own leaving is to have been put out: to join again would be to ignore it
            case PeerLeft(peer_id=peer_id, payload=expelled) if peer_id == self.peer_id:
                raise Refused(f"removed from the room: {printable(expelled.reason) if expelled else 'no reason given'}")
            case PeerLeft(peer_id=peer_id, cause=cause) if peering is not None:
                peering.peer_left(peer_id, cause)
            case Offer() | Answer() | CandidateMessage() if peering is not None:
                peering.receive(message)
            case ErrorMessage(request_id=request_id, payload=refusal):
                if request_id == _JOIN:  # without a room there is nothing to do here
                    raise self._refused(refusal)
                # any other message is missed by one negotiation at most, which tries again; only the pace can be mended
                if refusal.code is ErrorCode.RATE_LIMITED:
                    self._outbox.pause()
                logger.info("the server refused a message: %s", printable(refusal.message))
            case NoticeMessage(payload=notice):
                self._events.publish(Notice(notice.message))
            case GoAway(payload=notice):
                self._outbox.hold()
                self._cut_off.announce(notice.reconnect_after_ms)
            case _:  # of another room, or of a later protocol: docs/protocol.md wants it ignored
                pass

    def _on_resumed(self, resumed: ResumedPayload, peer_id: str) -> None:
        """Go on as the peer that this agent was."""
        self.peer_id = peer_id
        slept, self._attempt, self._slept = self._slept, 0, False
        self._resume.begin(resumed.resume)
        self._outbox.resumed(resumed.received)
        self._events.publish(Joined(self.settings.room, peer_id, len(resumed.peers) - 1))
        if self._peering is not None:
            self._peering.resumed(resumed.peers, gap=resumed.gap or slept)


def _lost_events(count: int) -> Event:
    """Return what a subscriber gets in the place of events for which it had no space."""
    return Failure(EVENTS_LOST, f"{count} events were not read in time and are lost")


def _shows_company(message: ServerMessage) -> bool:
    """Whether a message may begin a negotiation."""
    if isinstance(message, Ack):
        listed = (message.payload or {}).get("peers")
        return isinstance(listed, list) and len(listed) > 1
    return isinstance(message, PeerJoined | Offer)


def _understood(model: type[_M], payload: dict[str, Any]) -> _M:
    """Return what an ACK of the server says.

    Raises SignalingUnreachable, for a server that cannot be understood is none.
    """
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "payload"
        raise SignalingUnreachable(f"cannot understand the server's answer: {printable(field)}") from None
