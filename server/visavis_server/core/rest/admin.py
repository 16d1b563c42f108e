"""The operator's API without HTTP: requests for paths below `/api/admin/`, JSON in and out.

GET  rooms                                        every room with its members and rules
POST kick       {"room_id", "peer_id", "ban", "reason"}
POST close      {"room_id", "reason"}
POST broadcast  {"message"}
POST drain      {}                                as SIGTERM does
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from visavis_server.core.access.auth import TokenRefused
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.gate import Gate
from visavis_server.core.access.guessing import TooManyGuesses
from visavis_server.core.errors import ServerError
from visavis_server.core.rest.documents import CloseRequest, KickRequest
from visavis_server.core.signaling.effects import Audit, Effect
from visavis_server.core.signaling.governing import ADMIN, Governing
from visavis_server.core.signaling.overview import Overview, RoomRecord
from visavis_shared.messages import NoticePayload

BODY_SIZE: Final = 4096
"""Bytes of a request's body at most."""
COMMANDS: Final = {"rooms": "GET", "kick": "POST", "close": "POST", "broadcast": "POST", "drain": "POST"}
"""The method of each command."""

_M = TypeVar("_M", bound=BaseModel)


class AdminRefused(ServerError):
    """A request of the admin API is refused."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Admin:
    """Answers the operator's requests; every command is audited."""

    def __init__(
        self,
        overview: Overview,
        governing: Governing,
        gate: Gate,
        tokens: Callable[[], Sequence[str]],
        stop: Callable[[], None],
    ) -> None:
        """`tokens` returns those accepted besides JSON Web Tokens with the grant `admin`; `stop` begins the drain."""
        self._overview = overview
        self._governing = governing
        self._gate = gate
        self._tokens = tokens
        self._stop = stop

    def authorize(self, token: str, source: str, now: float, now_ms: int) -> None:
        """Check a bearer token; `source` is what failures are counted under.

        Raises AdminRefused: 401, or 429 after too many failures.
        """
        if not token:
            raise AdminRefused(HTTPStatus.UNAUTHORIZED, "the admin API asks for a token")
        try:
            if not self._gate.authorizer.is_open:
                if self._gate.authorizer.identify(token, now_ms).admin:
                    return
                raise AdminRefused(HTTPStatus.UNAUTHORIZED, "the token does not allow this")
            reason = "the admin API asks for a token"
        except TokenRefused as refused:
            reason = str(refused)
            if refused.genuine:
                raise AdminRefused(HTTPStatus.UNAUTHORIZED, reason) from None
        try:
            self._gate.check_tries(ADMIN, source, now)
        except TooManyGuesses as refused:
            raise AdminRefused(HTTPStatus.TOO_MANY_REQUESTS, refused.message) from None
        shown = token.encode(errors="replace")
        # all are compared, so that the time does not tell which one is like it
        verdicts = [hmac.compare_digest(shown, each.encode()) for each in self._tokens()]
        if not any(verdicts):
            self._gate.fail(ADMIN, Cause.WRONG_TOKEN, source, now)
            raise AdminRefused(HTTPStatus.UNAUTHORIZED, reason)
        self._gate.guard.let_in(ADMIN, source, now)

    def perform(self, command: str, body: bytes, now: float, now_ms: int) -> tuple[bytes, list[Effect]]:
        """Return the answer to a command of COMMANDS (one line of JSON), and what is to be done.

        Raises AdminRefused.
        """
        effects: list[Effect] | None = []
        match command:
            case "rooms":
                return self._rooms(now), []
            case "kick":
                kick = _read(KickRequest, body)
                effects = self._governing.kick(kick.room_id, kick.peer_id, kick, now, now_ms)
            case "close":
                close = _read(CloseRequest, body)
                effects = self._governing.close_room(close.room_id, close.reason, now, now_ms)
            case "broadcast":
                effects = self._governing.broadcast(_read(NoticePayload, body).message, now_ms)
            case "drain":
                self._stop()
                effects = [Audit(ADMIN, "drain", "", "")]
        if effects is None:
            raise AdminRefused(HTTPStatus.NOT_FOUND, "no such room or member")
        return b'{"done":true}', effects

    def _rooms(self, now: float) -> bytes:
        listed = [_shown(room) for room in self._overview.records(now)]
        return json.dumps({"rooms": listed}, ensure_ascii=False, separators=(",", ":")).encode()


def _shown(room: RoomRecord) -> dict[str, Any]:
    rules = None if room.rules is None else room.rules.model_dump(exclude_none=True)
    peers = [json.loads(member.info) | {"away": member.away, "subject": member.subject} for member in room.members]
    head = {"id": room.room_id, "private": room.private, "seq": room.seq}
    return {**head, "owner_id": room.owner_id, "rules": rules, "peers": peers}


def _read(model: type[_M], body: bytes) -> _M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "body"
        raise AdminRefused(HTTPStatus.BAD_REQUEST, f"{name}: {first['msg']}") from None
