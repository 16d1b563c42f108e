"""The links of one agent: made when OFFER and ANSWER have crossed, carried on when a peer comes back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal, Protocol

from visavis_peer.core.counts import PEER_COUNT
from visavis_peer.core.meeting.effects import Introduce, SessionKey
from visavis_peer.core.meeting.role import Role
from visavis_peer.errors import AgentError, AuthenticationFailed, Refused
from visavis_peer.events import (
    Event,
    Failure,
    LinkDown,
    LinkResumed,
    LinkSuspended,
    LinkUp,
    PathChanged,
    PathInfo,
    RelayCause,
)
from visavis_peer.link.link import Link
from visavis_peer.peers.relay_connection import RelayClient
from visavis_shared import limits
from visavis_shared.messages import OfferPayload
from visavis_shared.tasks import own
from visavis_shared.threads import call_apart

if TYPE_CHECKING:  # the engine is imported when it is needed
    from visavis_peer.link.association import Association
    from visavis_peer.link.identity import Identity, Meeting
    from visavis_peer.link.routing import DirectPath
    from visavis_peer.peers.sessions import Session

RelayPolicy = Literal["auto", "never", "only"]
REPLACED: Final = "a new link takes its place"
"""Why a link is closed that its peer must have lost."""
CROWDED_OUT: Final = "there are too many links to go on waiting for a silent peer"
"""Why a suspended link is closed for one that is up."""
OFFERER: Final[Role] = "offerer"
ANSWERER: Final[Role] = "answerer"
_IN_WORDS: Final = {
    RelayCause.NOT_YET: "no direct path has been found yet",
    RelayCause.PATH_LOST: "the direct path no longer works",
    RelayCause.RELAY_ONLY: "only the relay is allowed",
}
"""The causes that need no further word."""


class LinkOwner(Protocol):
    """What the links tell the agent's peering."""

    def emit(self, event: Event) -> None:
        """Tell the user."""

    def on_link_up(self, link: Link) -> None:
        """A link is up."""

    def on_link_closed(self, link: Association) -> None:
        """A link is over."""

    def on_link_moved(self, former: str) -> None:
        """The peer of a link goes by another id now than by this one."""

    def on_proven(self, key: SessionKey) -> None:
        """A session leads to the peer of the link that it is to carry on."""


class _RelayWay:
    """The relay to one peer id, as a way that a link may take."""

    def __init__(self, relay: RelayClient, peer_id: str, session: SessionKey) -> None:
        self.relay = relay
        self.peer_id = peer_id
        self.session = session
        """The one that it was made in."""

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send UDP payloads."""
        self.relay.send(self.peer_id, datagrams)


class _Entry:
    """A link and what belongs to it."""

    def __init__(self, link: Association, session: Session, relay: RelayClient | None, cause: RelayCause) -> None:
        self.link = link
        self.shown = Link(link)
        """The same as the application has it."""
        self.made_at = session.started_at
        """When the OFFER in which it was made was sent or received."""
        self.moved_at = session.started_at
        """The same of the latest session."""
        self.relay = relay
        """The relay connection on which the peer's current id is known."""
        self.cause = cause
        """Why the link goes by the relay while it does."""
        self.reason = _IN_WORDS[cause]
        """The same in words."""
        self.relay_ways: dict[str, _RelayWay] = {}
        """By peer id: where the peer may be found by the relay from now on, if it shows that it is there."""

    def explain(self, cause: RelayCause, reason: str | None = None) -> None:
        """Note why the link goes by the relay while it does; `reason` where the cause alone does not say."""
        self.cause, self.reason = cause, reason or _IN_WORDS[cause]


class Links:
    """All links of one agent, by numbers of its own: nothing that a peer says of itself is a key."""

    def __init__(self, owner: LinkOwner, policy: RelayPolicy, patience: float, *, sealed: bool) -> None:
        """`sealed` tells whether the room has a secret, so that whoever gets this far knows it.

        `patience` is for how many seconds this side keeps a link whose peer is silent.
        """
        self._patience = patience
        self._owner = owner
        self._policy: RelayPolicy = policy
        self._sealed = sealed
        self._entries: dict[int, _Entry] = {}
        self._numbers = itertools.count()
        self._relay: RelayClient | None = None
        self._relays: set[RelayClient] = set()
        self._make_relay: Callable[[], RelayClient] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._preparing: asyncio.Task[None] | None = None

    @cached_property
    def identity(self) -> Identity:
        """Key pair and certificate of this agent's process."""
        from visavis_peer.link.identity import Identity

        return Identity()

    def prepare(self) -> None:
        """Import the engine, which takes some time and 20 MiB, and warm it up, beside the event loop. Idempotent."""
        if self._preparing is None:
            self._preparing = own(call_apart(_warm_up))

    async def prepared(self) -> None:
        """Wait until the engine is ready."""
        self.prepare()
        assert self._preparing is not None
        await asyncio.shield(self._preparing)

    @property
    def up(self) -> list[Link]:
        """The links that are up."""
        return [entry.shown for entry in self._entries.values() if entry.link.up]

    @property
    def relay_only(self) -> bool:
        """Whether no direct path may be used."""
        return self._policy == "only"

    def of_peer(self, peer_id: str) -> list[Association]:
        """Return the links to a member of the room: one, but for one whose place another is about to take."""
        return [entry.link for entry in self._entries.values() if entry.link.peer_id == peer_id]

    def claims(self, session: Session) -> tuple[str, ...]:
        """Return the claims to all links: the peer of an OFFER may hold the other end of one, by whatever id."""
        meeting = self._meeting(session, session.nonce)
        links = sorted((entry.link for entry in self._entries.values()), key=lambda link: not link.established)
        return tuple(link.claim(meeting, OFFERER, OFFERER) for link in links[: limits.LINK_COUNT])

    # --- made and carried on ------------------------------------------------------------------------------------------

    def introduce(self, effect: Introduce, session: Session, name: str | None) -> None:
        """Make the link of a session, or let it carry on the one whose other end the peer claims to hold.

        Such a claim moves nothing: the new ways are challenged, and the link stays where it is until one is answered.
        """
        session.link = self._claimed(effect, session)
        if session.link is not None:
            self._carry_on(self._entries[session.link], effect, session, name)
            return
        self._discard_attempts(effect.peer_id)
        session.link = next(self._numbers)
        entry = self._entries[session.link] = self._make(session.link, effect, session, name)
        self._show_relay(entry)
        entry.link.start()

    def _carry_on(self, entry: _Entry, effect: Introduce, session: Session, name: str | None) -> None:
        theirs = effect.description
        if isinstance(theirs, OfferPayload):
            meeting = self._meeting(session, theirs.nonce, session.nonce)
            session.carries = entry.link.claim(meeting, ANSWERER, ANSWERER)
        if not entry.link.established:
            self._move(entry, session, name)  # the handshake itself proves the peer
            return
        session.proven = False
        session.adopt = lambda: self._move(entry, session, name)
        if entry.link.peer_id == effect.peer_id:
            entry.link.peer_is_back()
            if entry.relay is self._relay:
                return
        if self._relay is not None:
            self._challenge_relay(entry, self._relay, session)

    def _claimed(self, effect: Introduce, session: Session) -> int | None:
        """Return the number of the link that the peer claims to hold the other end of."""
        theirs = effect.description
        if not isinstance(theirs, OfferPayload):
            meeting = self._meeting(session, session.nonce, theirs.nonce)
            return self._number_of(meeting, ANSWERER, session, () if theirs.link is None else (theirs.link,))
        number = self._number_of(self._meeting(session, theirs.nonce), OFFERER, session, theirs.links)
        if number is None and not self._sealed:
            session.answerer_fresh = ""  # an older server has not shown it to the offerer
            number = self._number_of(self._meeting(session, theirs.nonce), OFFERER, session, theirs.links)
        return number

    def _number_of(self, meeting: Meeting, claimant: Role, session: Session, claims: Sequence[str]) -> int | None:
        for number, entry in self._entries.items():
            if entry.link.claim(meeting, claimant, session.role) in claims:
                return number
        return None

    def _meeting(self, session: Session, offerer_nonce: str | None, answerer_nonce: str | None = None) -> Meeting:
        own, peer = session.own_id, session.peer_id
        offerer, answerer = (own, peer) if session.role == OFFERER else (peer, own)
        from visavis_peer.link.identity import Meeting

        return Meeting(
            session.session_id, offerer, answerer, offerer_nonce or "", session.answerer_fresh, answerer_nonce or ""
        )

    def _discard_attempts(self, peer_id: str) -> None:
        """Close the links to a peer id that have not come up: there is one at a time, whatever it offers."""
        for number, entry in list(self._entries.items()):
            if entry.link.peer_id == peer_id and not entry.link.established:
                del self._entries[number]
                entry.link.close(REPLACED)

    def _replace(self, link: Association) -> None:
        """Close the links that the peer of a new one must have lost: it has proved to be the same process.

        Nobody else can have them closed, whatever it says of itself; and of other processes that one peer id has stood
        for, the first keeps its link beside the newest.
        """
        others = [(number, each.link) for number, each in self._entries.items() if each.link is not link]
        same = [each for each in others if each[1].remote_fingerprint == link.remote_fingerprint]
        beside = [each for each in others if each not in same and each[1].peer_id == link.peer_id]
        for number, other in (*same, *beside[1:]):
            del self._entries[number]
            other.close(REPLACED)

    def _make_room(self) -> None:
        """Close suspended links, the oldest first, while there are more links than an agent keeps."""
        announced = [entry.link for entry in self._entries.values() if entry.link.announced]
        suspended = [(link.suspended_at, link) for link in announced if link.suspended_at is not None]
        suspended.sort(key=lambda each: each[0])
        for _, link in suspended[: max(0, len(announced) - PEER_COUNT)]:
            link.close(CROWDED_OUT)

    # --- proved -------------------------------------------------------------------------------------------------------

    def challenge(self, session: Session) -> None:
        """Let the peer of the link prove that a session with a valid pair leads to it."""
        entry = self._entry_of(session)
        if entry is not None and session.ice is not None:
            entry.link.challenge(session.ice, lambda: self._on_proven(session))

    def _challenge_relay(self, entry: _Entry, relay: RelayClient, session: Session) -> None:
        self._forget_relay_way(entry, session.peer_id)
        way = entry.relay_ways[session.peer_id] = _RelayWay(relay, session.peer_id, session.key)
        entry.link.challenge(way, lambda: self._on_relay_proven(entry, way, session))

    def _on_proven(self, session: Session) -> None:
        """The peer of the link has answered on the session."""
        if session.link in self._entries and session.adopt is not None:
            session.proven = True
            session.adopt()
            self._owner.on_proven(session.key)

    def _on_relay_proven(self, entry: _Entry, way: _RelayWay, session: Session) -> None:
        """The peer of the link has answered by the relay."""
        if entry.relay_ways.get(way.peer_id) is way and session.adopt is not None:
            del entry.relay_ways[way.peer_id]
            session.adopt()

    def _move(self, entry: _Entry, session: Session, name: str | None) -> None:
        """The peer of a link is the one of this session: it goes by that id and name, by the relay too."""
        link = entry.link
        former = link.peer_id
        link.peer_id, link.name = session.peer_id, name
        entry.relay = self._relay
        entry.moved_at = session.started_at
        link.peer_is_back()
        self._forget_relay_way(entry, session.peer_id)
        self._show_relay(entry)
        if not link.started:
            link.start()
        self._close_unused_relays()
        if former != session.peer_id:
            self._owner.on_link_moved(former)

    def forget(self, session: Session) -> None:
        """A session is over: carry nothing on it, and ask nothing on it."""
        entry = self._entry_of(session)
        if entry is not None:
            if session.ice is not None:
                entry.link.drop_way(session.ice)
            way = entry.relay_ways.get(session.peer_id)
            if way is not None and way.session == session.key:
                self._forget_relay_way(entry, session.peer_id)
        session.adopt = None
        self.lose_direct(session)

    def _forget_relay_way(self, entry: _Entry, peer_id: str) -> None:
        way = entry.relay_ways.pop(peer_id, None)
        if way is not None:
            entry.link.drop_way(way)

    def _entry_of(self, session: Session) -> _Entry | None:
        return None if session.link is None else self._entries.get(session.link)

    def _make(self, key: int, effect: Introduce, session: Session, name: str | None) -> _Entry:
        from visavis_peer.link.association import Association, LinkCallbacks
        from visavis_peer.link.identity import Introduction
        from visavis_peer.link.quic import SecureConnection

        is_offerer = session.role == "offerer"
        theirs, ours = effect.description, self.identity.fingerprint
        assert theirs.fingerprint is not None  # the core refuses a description without
        assert theirs.nonce is not None
        introduction = Introduction(
            link_id=session.session_id,
            offerer_fingerprint=ours if is_offerer else theirs.fingerprint,
            answerer_fingerprint=theirs.fingerprint if is_offerer else ours,
            offerer_nonce=session.nonce if is_offerer else theirs.nonce,
            answerer_nonce=theirs.nonce if is_offerer else session.nonce,
        )
        # one that says nothing of its patience has none
        patience = min(self._patience, theirs.patience or 0.0)
        connection = SecureConnection(self.identity, introduction, is_offerer=is_offerer, patience=patience)
        callbacks = LinkCallbacks(
            up=lambda: self._on_up(key),
            path_changed=lambda: self._on_path(key),
            down=lambda error: self._on_down(key, link, error),
            relay=lambda datagrams: self._send_by_relay(key, datagrams),
            relay_room=lambda: self._relay_room(key),
            suspended=lambda: self._owner.emit(LinkSuspended(link.peer_id, link.name, link.patience)),
            resumed=lambda silence: self._owner.emit(LinkResumed(link.peer_id, link.name, link.path, silence * 1000)),
            narrow=lambda size: self._on_narrow(key, size),
        )
        link = Association(effect.peer_id, name, connection, callbacks, sealed=self._sealed, patience=patience)
        cause = RelayCause.RELAY_ONLY if self._policy == "only" else RelayCause.NOT_YET
        return _Entry(link, session, self._relay, cause)

    # --- paths --------------------------------------------------------------------------------------------------------

    def rides_on(self, session: Session) -> bool:
        """Whether the link of a session is on it already."""
        entry = self._entry_of(session)
        return entry is not None and session.ice is not None and entry.link.direct is session.ice

    def use_direct(self, session: Session) -> DirectPath | None:
        """Carry the session's link on it, for it has a valid pair; return what carried it so far."""
        entry = self._entry_of(session)
        if entry is None or session.ice is None or session.path is None or not session.proven:
            return None
        former = entry.link.direct
        entry.link.use_direct(session.ice, session.path)
        return former

    def lose_direct(self, session: Session) -> None:
        """Carry nothing on a session any longer."""
        for entry in list(self._entries.values()):
            if session.ice is not None and entry.link.direct is session.ice:
                entry.explain(RelayCause.RELAY_ONLY if self._policy == "only" else RelayCause.PATH_LOST)
                self._show_relay(entry)
                entry.link.lose_direct(session.ice)

    def receive(self, session: Session, datagrams: list[bytes]) -> None:
        """Take UDP payloads that came in on a session."""
        entry = self._entry_of(session)
        if entry is None:
            return
        if session.proven:
            entry.link.receive(datagrams, "direct")
        elif session.ice is not None:
            entry.link.receive_on(session.ice, datagrams)

    def explain(self, peer_id: str, reason: str) -> bool:
        """Note why there is no direct path to a peer; return whether there is a link all the same."""
        entries = [entry for entry in self._entries.values() if entry.link.peer_id == peer_id]
        for entry in entries:
            if self._policy != "only":
                entry.explain(RelayCause.NO_PATH, reason)
            self._show_relay(entry)
        return any(entry.link.up for entry in entries)

    def peer_left(self, peer_id: str, *, asleep: bool) -> None:
        """The server no longer lists a peer, which may be `asleep`."""
        for link in self.of_peer(peer_id):
            link.peer_left(asleep=asleep)

    def on_woken(self) -> None:
        """Ask all peers at once whether they still listen: this machine was asleep."""
        for entry in list(self._entries.values()):
            entry.link.on_woken()

    # --- relay --------------------------------------------------------------------------------------------------------

    def offer_relay(self, make: Callable[[], RelayClient] | None, *, only: bool) -> None:
        """Take what connects to the relay of the server; None: there is none. With `only`, use nothing else."""
        if only:
            self._policy = "only"
        self._make_relay = None if self._policy == "never" else make
        self._relay = None

    def want_relay(self) -> None:
        """Connect to the relay, and have the engine ready: there is somebody to link with."""
        self.prepare()
        if self._relay is None and self._make_relay is not None:
            self._relay = self._make_relay()
            self._relays.add(self._relay)

    def renew_relay(self) -> None:
        """Move all links to the relay connection of the new signaling connection: its peer is the same."""
        if not self._entries:
            return
        self.want_relay()
        for entry in self._entries.values():
            entry.relay = self._relay
        self._close_unused_relays()

    def on_relay_state(self) -> None:
        """A relay connection has come up or gone down."""
        for entry in list(self._entries.values()):
            self._show_relay(entry)

    def on_relayed(self, peer_id: str, datagrams: list[bytes]) -> None:
        """Take UDP payloads that came by the relay."""
        for entry in list(self._entries.values()):
            way = entry.relay_ways.get(peer_id)
            if way is not None:
                entry.link.receive_on(way, datagrams)
            elif entry.link.peer_id == peer_id:
                entry.link.receive(datagrams, "relay")

    def _send_by_relay(self, key: int, datagrams: Sequence[bytes]) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.relay is not None:
            entry.relay.send(entry.link.peer_id, datagrams)

    def _relay_room(self, key: int) -> int:
        entry = self._entries.get(key)
        return 0 if entry is None or entry.relay is None else entry.relay.room(entry.link.relay_ready)

    def _show_relay(self, entry: _Entry) -> None:
        relay = entry.relay
        if relay is None or not relay.connected:
            entry.link.set_relay(None)
        else:
            path = PathInfo("relay", "server", "", relay.remote, None, entry.reason, cause=entry.cause)
            entry.link.set_relay(path)

    def _close_unused_relays(self) -> None:
        used = {entry.relay for entry in self._entries.values()} | {self._relay}
        used |= {way.relay for entry in self._entries.values() for way in entry.relay_ways.values()}
        for relay in self._relays - used:
            self._relays.discard(relay)
            self._spawn(relay)

    def _spawn(self, relay: RelayClient) -> None:
        task = own(relay.close(), bears=(OSError,))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # --- what links say -----------------------------------------------------------------------------------------------

    def _on_up(self, key: int) -> None:
        entry = self._entries.get(key)
        if entry is None:
            return
        link = entry.link
        self._replace(link)
        self._make_room()
        elapsed = self._since(entry.made_at)
        self._owner.emit(LinkUp(link.peer_id, link.name, link.path, elapsed, link.authenticated, link.fingerprint))
        self._owner.on_link_up(entry.shown)

    def _on_path(self, key: int) -> None:
        entry = self._entries.get(key)
        if entry is None:
            return
        link = entry.link
        elapsed = self._since(entry.moved_at)
        self._owner.emit(PathChanged(link.peer_id, link.name, link.path, elapsed, link.authenticated))

    def _on_narrow(self, key: int, size: int) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            reason = f"the direct path carries datagrams of {size} bytes at most, and a link needs 1,200"
            entry.explain(RelayCause.NARROW, reason)
            self._show_relay(entry)

    def _on_down(self, key: int, link: Association, error: AgentError) -> None:
        entry = self._entries.get(key)
        current = entry is not None and entry.link is link
        if current:
            del self._entries[key]
        if isinstance(error, AuthenticationFailed):
            message = f"authentication failed: {error}"
            self._owner.emit(Failure(error.name, message, link.peer_id, link.name))
        elif isinstance(error, Refused) and not link.announced:
            message = f"refused: {error}"
            self._owner.emit(Failure(error.name, message, link.peer_id, link.name, authenticated=link.authenticated))
        if link.announced and not self._closed:
            self._owner.emit(LinkDown(link.peer_id, link.name, str(error), link.authenticated))
        if current:  # not one that another has replaced
            self._owner.on_link_closed(link)
        self._close_unused_relays()

    def _since(self, start: float) -> float:
        return (self._loop.time() - start) * 1000

    async def close(self) -> None:
        """Close every link, telling the peers, and every relay connection."""
        self._closed = True
        for entry in list(self._entries.values()):
            entry.link.close("")
        for relay in self._relays:
            self._spawn(relay)
        self._relays.clear()
        if self._preparing is not None:
            self._preparing.cancel()
        waited = [*self._closing, *([] if self._preparing is None else [self._preparing])]
        if waited:
            await asyncio.wait(waited)


def _warm_up() -> None:
    for name in (
        "visavis_peer.peers.sessions",
        "visavis_peer.link.association",
        "cryptography.hazmat.primitives.ciphers.aead",
    ):
        import_module(name)
    import_module("visavis_peer.link.quic").warm_up()
