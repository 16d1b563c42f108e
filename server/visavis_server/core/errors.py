"""What can go wrong in the server, each with what comes of it on the type: an exit code, an HTTP status, a close code.

VisavisError
├── ServerError                 exit code 1, as any failure of the program
│   ├── SettingsError           exit code 2: what was asked for cannot be
│   ├── CannotListen            an address or port cannot be used
│   ├── KeyFileError            a file of keys cannot be used
│   ├── BadKeySet               a key set cannot be used: KeyFileError once its file is known
│   ├── ServerFull         503  no more connections
│   │   ├── Draining       503  the server is about to stop
│   │   ├── TooManyConnections  429, from one address
│   │   └── TooManyFailures     429, wrong tokens from one address
│   ├── Unauthorized       401  the upgrade shows no token that is valid
│   ├── AdminRefused       4xx  a request of the admin API; each has its own
│   ├── BadQuery           400  a query that names no page
│   ├── TokenRefused            a room token: Unauthorized in a header, ERROR UNAUTHORIZED in a message
│   ├── TicketRefused           a resume token: ERROR UNAUTHORIZED
│   └── MalformedHeader         a trusted proxy's connection begins with none, and is cut
└── RemoteProtocolError         a client's message, answered by ERROR with its code
    ├── NotUtf8                 close code 1007
    └── TooManyGuesses          close code 4029
"""

from __future__ import annotations

from typing import ClassVar, Final

from visavis_shared.errors import USAGE, VisavisError

OK: Final = 0
"""Exit code: stopped in order."""
FAILED: Final = 1
"""Exit code: it cannot listen, a key file cannot be used, or it has failed."""


class ServerError(VisavisError):
    """Root of the server's own errors; the text is for a person and says what to do."""

    exit_code: ClassVar[int] = FAILED
    """What the program ends with, where it is this that ends it."""


class SettingsError(ServerError):
    """A setting that cannot be, or that needs what is not installed; the message says what and where."""

    exit_code = USAGE

    def __init__(self, reason: str, setting: str = "") -> None:
        """`setting` names the setting that is wrong, if it is one."""
        super().__init__(f"{setting}: {reason}" if setting else reason)
        self.reason = reason
        """What is wrong with it."""
        self.setting = setting
        """Its name, empty where it is none."""
