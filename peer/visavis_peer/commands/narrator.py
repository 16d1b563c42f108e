"""What a person at a terminal is told of an agent's events: each thing once, in plain words; the rest on request."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from visavis_peer.commands.output import peer_label, plainly, qualified_label, sentence
from visavis_peer.commands.printer import Printer
from visavis_peer.core.retrying import reason_alone, tried_again
from visavis_peer.events import (
    NO_INTERFACE,
    RELAY_NOT_USED,
    SEVERAL,
    SIGNALING_LOST,
    Event,
    Failure,
    Joined,
    LinkDown,
    LinkResumed,
    LinkSuspended,
    LinkUp,
    Notice,
    PathChanged,
    PathInfo,
    PeerJoined,
    PeerLeft,
    RelayCause,
)
from visavis_shared.ids import printable

TOLD_COUNT: Final = 1024
"""Things that are remembered as told, several for each of the links that an agent keeps; the oldest make way."""

_ADVISED: Final = (SEVERAL, NO_INTERFACE, RELAY_NOT_USED)
"""What the agent tells of itself where nothing has failed yet, but a person can do something."""
_FALLEN_BACK: Final = "back to the relay"
"""What is remembered of a link that has lost its direct path."""


class Narrator:
    """Tells a person what matters, or with `detailed` every event; who reads JSON gets every event anyway."""

    def __init__(
        self,
        printer: Printer,
        *,
        sealed: bool,
        detailed: bool,
        company: bool,
        record: Printer | None = None,
        opening: tuple[str, ...] = (),
        wanted: str | None = None,
    ) -> None:
        """Begin with nothing told.

        `company` tells of everybody in the room, not just of the one peer that is waited for; `record` gets every event
        as JSON besides; `opening` is told as the room is entered for the first time. With `wanted`, a name, id or key,
        nothing is told of links to anybody else: they are not what was asked for.
        """
        self.printer = printer
        self._sealed = sealed
        self._detailed = detailed
        self._company = company
        self._record = record
        self._opening = opening
        self._wanted = wanted
        self._found = ""
        """Id of the peer that is wanted, once it has shown itself."""
        self._entered = False
        self._back = False
        """Whether the room has been entered again after a loss that was told."""
        self._linked = 0
        """Links that there are."""
        self._told: OrderedDict[str, str] = OrderedDict()
        """What has been said last, by what it is about."""

    @property
    def detailed(self) -> bool:
        """Whether paths are told with their addresses."""
        return self._detailed

    def event(self, event: Event, *, quiet: bool = False) -> None:
        """Tell of an event; with `quiet`, only record it: it is told otherwise, or is nobody's business here."""
        if self._record is not None:
            self._record.event(event)
        if self.printer.as_json:
            self.printer.event(event)
            return
        if isinstance(event, Joined):
            for line in self._opening:
                self.printer.line(line)
            self._opening = ()
            told = self._told.pop("signaling", None) is not None
            self._back, self._entered = told and self._entered, True
        self._linked += isinstance(event, LinkUp) - isinstance(event, LinkDown)
        if self._detailed:
            self.printer.line(sentence(event))
        elif not quiet and self._concerns(event):
            topic, text = self._in_brief(event)
            if text and self._told.get(topic) != text:
                self._remember(topic, text)
                self.printer.line(text)

    def _concerns(self, event: Event) -> bool:
        """Whether an event is of the peer that is wanted, or of no other one."""
        peer_id = getattr(event, "peer_id", None)
        if self._wanted is None or peer_id is None or not hasattr(event, "name"):
            return True
        name = event.name
        if self._wanted in (peer_id, name, getattr(event, "fingerprint", None)):
            self._found = peer_id
        # who has failed may be the one, as long as nobody knows its name
        return peer_id == self._found or (isinstance(event, Failure) and name is None)

    def _remember(self, topic: str, text: str) -> None:
        self._told[topic] = text
        self._told.move_to_end(topic)
        if len(self._told) > TOLD_COUNT:
            self._told.popitem(last=False)

    def _in_brief(self, event: Event) -> tuple[str, str]:
        """Return what an event is about and the line on it, empty where it is nothing to tell of."""
        match event:
            # of one room among many peers, the room itself is the news
            case Joined(room=room) if self._company:
                if self._back:  # the same line again is news this time
                    self._told.pop(f"joined {room}", None)
                return f"joined {room}", sentence(event)
            # with one peer awaited, whoever has read that the server was lost wants to know no more than this
            case Joined() if self._back:
                self._told.pop("back", None)
                return "back", "the signaling server is back"
            # others may be here, so how many says nothing; the one that is meant may still come
            case Joined() if self._wanted is not None and not self._linked:
                return "waiting", f"looking for {printable(self._wanted)} in the room (Ctrl-C to stop)"
            # with somebody there the link is told of in a moment, and a line in between would only flash up
            case Joined(peers=0) if not self._linked:
                return "waiting", "waiting for the other side (Ctrl-C to stop)"
            case PeerJoined(peer_id=peer_id) if self._company:
                # in a room with a secret a peer shows whether it has that by linking, and not before
                return f"here {peer_id}", f"{printable(peer_id)} is here" if self._sealed else sentence(event)
            case PeerLeft(peer_id=peer_id) if self._company:
                self._told.pop(f"here {peer_id}", None)  # who comes again is told of again
                # a name that nobody has proved is no name in a room with a secret
                unproved = self._sealed and not event.authenticated
                return f"left {peer_id}", f"{printable(peer_id)} has left the room" if unproved else sentence(event)
            case LinkUp(peer_id=peer_id, path=path):
                # the line says which way it goes, so that a path change to the same one is none
                self._told.pop(f"path {peer_id}", None)
                self._remember(f"path {peer_id}", _way(path))
                whom = peer_label(peer_id, event.name) if self._company or event.name else "the other side"
                proved = "authenticated" if event.authenticated else "unauthenticated"
                return f"link {peer_id}", f"connected to {whom} {_way(path)}, {proved}"
            case PathChanged(peer_id=peer_id, path=path):
                return self._on_path(event, peer_id, path)
            case LinkSuspended(peer_id=peer_id, patience=patience):
                self._told.pop(f"silence {peer_id}", None)  # each silence is one of its own
                whom = peer_label(peer_id, event.name) if self._company or event.name else "the other side"
                told = f"{whom} is silent, perhaps asleep: waiting for it for up to {_duration(patience)}"
                return f"silence {peer_id}", told
            case LinkResumed(peer_id=peer_id):
                whom = peer_label(peer_id, event.name) if self._company or event.name else "the other side"
                return f"silence {peer_id}", f"{whom} is back, and the link goes on"
            # with one peer the end of its link is the end of the command, which says why
            case LinkDown(peer_id=peer_id) if self._company:
                self._told.pop(f"link {peer_id}", None)
                return f"down {peer_id}", sentence(event)
            case Notice():
                self._told.pop("notice", None)  # the next one is another one, whatever it says
                return "notice", sentence(event)
            case Failure(peer_id=None, error=error, message=message) if error in _ADVISED:
                return error, printable(message)
            case Failure(peer_id=None, error=error):
                # every other failure of the agent itself is its end, and told as such
                return "signaling", _lost(event) if error == SIGNALING_LOST else ""
            case Failure(peer_id=peer_id, name=name):
                # where there is one peer, everybody knows whose failure it is
                whom = f"{qualified_label(peer_id or '', name, True)}: " if self._company else ""
                return f"failure {peer_id} {event.error}", whom + plainly(event)
            case _:  # how it came about is for -v
                return "", ""

    def _on_path(self, event: PathChanged, peer_id: str, path: PathInfo) -> tuple[str, str]:
        way, before = _way(path), self._told.get(f"path {peer_id}")
        if before == way or path.cause is RelayCause.NOT_YET or (before == _FALLEN_BACK and path.path == "relay"):
            return "", ""  # why the next attempt at a direct path has failed is nothing that a person waits for
        fallen = path.cause is RelayCause.PATH_LOST
        self._remember(f"path {peer_id}", _FALLEN_BACK if fallen else way)
        self._told.pop(f"moved {peer_id}", None)
        whom = (
            f"the link to {qualified_label(peer_id, event.name, event.authenticated)}" if self._company else "the link"
        )
        if fallen:
            return (
                f"moved {peer_id}",
                f"{whom} now goes through the relay: there is no answer on the direct path at the moment",
            )
        return f"moved {peer_id}", f"{whom} goes {way} now"


def _lost(failure: Failure) -> str:
    """Return why the server is lost; each attempt in vain is the same to a person, however long the next wait is."""
    message = printable(failure.message)
    reason = reason_alone(message)
    return message if reason == message else tried_again(reason)


def _way(path: PathInfo) -> str:
    """Return how a path goes, in words, for a person."""
    if path.path == "direct":
        return "directly"
    if path.cause is RelayCause.NOT_YET:
        return "through the relay while a direct path is looked for"
    return "through the relay" + (f" ({printable(path.reason)})" if path.reason else "")


def _duration(seconds: float) -> str:
    """Return a duration as people say it, rounded."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def in_short(path: PathInfo) -> str:
    """Return what a path is in words, where its reason has been told before."""
    return "direct" if path.path == "direct" else "through the relay"
