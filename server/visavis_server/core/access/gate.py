"""The operator's secrets: what a token allows, and who may show another one after wrong ones."""

from __future__ import annotations

from collections import Counter
from typing import Final

from visavis_server.core.access.auth import Authorizer, TokenRefused
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.grants import Grants
from visavis_server.core.access.guessing import Guard, TooManyGuesses
from visavis_shared.errors import ErrorCode, RemoteProtocolError

TOKENS: Final = "tokens"
"""The scope of the operator's tokens."""


class Gate:
    """Checks tokens; a `source` is what failures are counted under.

    `now` is in seconds on a monotonic clock, `now_ms` in milliseconds since the epoch.
    """

    def __init__(self, refusals: Counter[Cause]) -> None:
        """Anybody may do anything, until there is another `authorizer`."""
        self.authorizer = Authorizer()
        self.guard = Guard()
        self._refusals = refusals

    def check_tries(self, scope: str, source: str, now: float) -> None:
        """To be called before a secret is compared.

        Raises TooManyGuesses.
        """
        if not self.guard.may_try(scope, source, now):
            self._refusals[Cause.GUESSES] += 1
            raise TooManyGuesses

    def fail(self, scope: str, cause: Cause, source: str, now: float) -> None:
        """A secret that was compared after `check_tries` is wrong."""
        self._refusals[cause] += 1
        self.guard.fail(scope, source, now)

    def fail_token(self, source: str, now: float) -> None:
        """A token has been shown that no key of ours has signed; nobody guesses one, so the right one is not kept out.

        Raises TooManyGuesses for one too many.
        """
        self._refusals[Cause.WRONG_TOKEN] += 1
        if not self.guard.may_try(TOKENS, source, now):
            raise TooManyGuesses
        self.guard.fail(TOKENS, source, now)

    def check_header(self, token: str, source: str, now: float, now_ms: int) -> None:
        """Check what an upgrade request shows, before a room is known; an empty token is none.

        Raises TooManyGuesses or TokenRefused.
        """
        try:
            self.authorizer.check(token, now_ms)
        except TokenRefused as refused:
            if not refused.genuine:
                self.fail_token(source, now)
            raise

    def grants(self, token: str, room_id: str, source: str, now: float, now_ms: int) -> Grants:
        """Return what a token, empty for none, allows in a room.

        Raises RemoteProtocolError (UNAUTHORIZED), TooManyGuesses.
        """
        try:
            return self.authorizer.grants(token, room_id, now_ms)
        except TokenRefused as refused:
            if token and not refused.genuine:
                self.fail_token(source, now)
            raise cannot_join(str(refused)) from None


def cannot_join(reason: str) -> RemoteProtocolError:
    """Return the refusal of a JOIN."""
    return RemoteProtocolError(ErrorCode.UNAUTHORIZED, "cannot join this room", reason)
