"""What can go wrong for a user of the agent; each error has the exit code that the commands end with.

A command that a signal stops dies by that signal once its links are closed, which a shell shows as 128 and its number:
129 (SIGHUP), 130 (SIGINT), 143 (SIGTERM), and 141 (SIGPIPE) when the reader of standard output has gone. `visavis
agent` runs until it is stopped: it ends with 0 after SIGTERM and SIGHUP.

VisavisError
├── AgentError                 1  internal
│   ├── OutputFailed           1  standard output takes no more
│   │   └── OutputClosed     141  its reader has gone, as SIGPIPE would have it
│   ├── ItemsLost              1  who iterates over events or links was too slow
│   ├── UsageError             2  the command line, a setting or an argument
│   ├── PeerAbsent             4  the peer is not there, or did not come or answer in time
│   ├── LinkClosed             4  the link is gone
│   ├── SignalingUnreachable   5  no connection to the signaling server
│   ├── AuthenticationFailed   6  the peer does not know the room's secret, or somebody interferes
│   ├── NoPath                 7  no direct path to the peer
│   ├── Refused                9  the server or the peer said no
│   │   └── TokenUntimely      9  the token has expired or is not valid yet, by the server's clock
│   ├── StreamReset            9  the peer has given up a stream
│   │   └── KindNotOffered     9  the peer's program does not offer what the stream is for
│   └── ServerBusy            10  the server or the room is full
│
│   what stays inside, each handled where it is told of:
├── InvalidProxy                  a text that names no proxy: UsageError
├── NotAuthentic                  a description that was not sealed with the room's secret: AuthenticationFailed
│   └── Repeated                  a copy of one that was taken: ignored
├── NoFresh                       no id of a session is left: AgentError
├── TooLong                       a description beyond the size of a message: AgentError
├── Overrun, BadFrame             the peer breaks the rules of a link: it is closed
├── BadHeader                     a stream of the peer names no kind: it is reset
├── RelayNotUsed                  the server's relay is where it may send nobody: told, and links do without
├── AddressNotSeen                a plan leads to where nobody has seen the peer: not probed
├── ProxyRefused                  (an OSError, too) SignalingUnreachable
├── RedirectedElsewhere           (an OSError, too) SignalingUnreachable
└── GatewayMisbehaves             (a UpnpError, too) no port is mapped
"""

from __future__ import annotations

from typing import ClassVar, Final

from visavis_peer.core.link import kinds
from visavis_peer.core.signaling.backoff import TOO_MANY_WAIT
from visavis_shared.errors import TOKEN_EXPIRED, TOKEN_NOT_YET_VALID, USAGE, ErrorCode, VisavisError

BY_PEER: Final = "closed by the peer"
"""How the reason of a LinkClosed begins where it was the peer that has closed the link."""


def reason_of(error: Exception) -> str:
    """Return what a person is told of an error from outside: of the system's without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class AgentError(VisavisError):
    """Root of the agent's errors; the text is for a person and says what to do."""

    exit_code: ClassVar[int] = 1
    name: ClassVar[str] = "internal"


class OutputFailed(AgentError):
    """Standard output takes no more."""

    name = "output_failed"

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {reason_of(error)}")


class OutputClosed(OutputFailed):
    """The reader of standard output has gone."""

    exit_code = 141
    name = "output_closed"

    def __init__(self) -> None:
        super().__init__(BrokenPipeError(None, "its reader has gone"))


class UsageError(AgentError):
    """The command line, a setting or an argument is wrong."""

    exit_code = USAGE
    name = "usage"


class PeerAbsent(AgentError):
    """The peer is not there, or did not come or answer in time."""

    exit_code = 4
    name = "peer_absent"


class LinkClosed(AgentError):
    """The link is gone; the text says why."""

    exit_code = 4
    name = "link_closed"


class AuthenticationFailed(AgentError):
    """The peer does not know the room's secret, or somebody in between pretends to be it."""

    exit_code = 6
    name = "authentication_failed"


class SignalingUnreachable(AgentError):
    """No connection to the signaling server."""

    exit_code = 5
    name = "signaling_unreachable"


class NoPath(AgentError):
    """No direct path to the peer was found."""

    exit_code = 7
    name = "no_path"


class Refused(AgentError):
    """The server or the peer refused."""

    exit_code = 9
    name = "refused"


class TokenUntimely(Refused):
    """The token has expired or is not valid yet, by the server's clock; which may be wrong, and be set right."""


_CODES: Final = {
    kinds.NOT_OFFERED: "the other side does not offer what this stream is for",
    kinds.BAD_HEADER: "the other side did not understand what this stream is for",
    kinds.ABANDONED: "the program on the other side that served this stream has failed or was stopped",
}
"""What the link's own codes for the end of a stream mean."""


class StreamReset(AgentError):
    """The peer has given up this stream; `code` is the number that its application has for the reason."""

    exit_code = 9
    name = "stream_reset"

    def __init__(self, code: int, text: str | None = None) -> None:
        given_up = "the other side has given up the transfer" + (f" (code {code})" if code else "")
        super().__init__(text or _CODES.get(code, given_up))
        self.code = code
        """0 to 2**32 - 1, what `stop` or `reset` was called with; above that the link's own (docs/link.md)."""

    def __reduce__(self) -> tuple[type[StreamReset], tuple[int | str]]:
        return type(self), (self.code,)


class KindNotOffered(StreamReset):
    """The program on the other side does not offer streams of this `kind`."""

    name = "kind_not_offered"

    def __init__(self, kind: str) -> None:
        super().__init__(kinds.NOT_OFFERED, f"the other side does not offer {kind}")
        self.kind = kind
        """What `open_stream` was called with."""

    def __reduce__(self) -> tuple[type[StreamReset], tuple[int | str]]:
        return type(self), (self.kind,)


class ServerBusy(AgentError):
    """The server or the room has no place left."""

    exit_code = 10
    name = "server_busy"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """`retry_after` in seconds, where the server has said when it makes sense to come again."""
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds, None where the server has said nothing."""


_PASSING = (ErrorCode.RATE_LIMITED, ErrorCode.INTERNAL_ERROR)
"""Codes that say nothing of the request itself: the same one may be taken later."""


def from_server(code: ErrorCode, message: str, details: str | None) -> AgentError:
    """Return the error for an ERROR message that refuses what this agent cannot do without."""
    text = f"the server refused: {message}" + (f" ({details})" if details else "")
    if code is ErrorCode.ROOM_FULL:
        return ServerBusy(text)
    if code in _PASSING:
        return ServerBusy(text, TOO_MANY_WAIT)
    if details in (TOKEN_EXPIRED, TOKEN_NOT_YET_VALID):
        return TokenUntimely(text)
    return Refused(text)
