"""Who may: room tokens and JSON Web Tokens, verified without I/O.

A room token is what an operator makes in one line of shell: it lets its holder into one room until it expires.

    vrt1.EXPIRY.HMAC      EXPIRY in seconds since the epoch; HMAC-SHA256 over "vrt1.EXPIRY.ROOM", hexadecimal

A JSON Web Token (RFC 7519) is signed by HS256, ES256 or EdDSA with a key of a key set (RFC 7517), and has `exp` and

    "visavis": {"rooms": ["team-*"], "create": true, "admin": false}
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import jwt
from jwt.types import Options
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visavis_server.core.access.grants import EVERYTHING, PATTERN_COUNT, Grants
from visavis_server.core.errors import ServerError
from visavis_shared import limits
from visavis_shared.errors import TOKEN_EXPIRED, TOKEN_NOT_YET_VALID

LEEWAY: Final = 30.0
"""Seconds by which the clock of who made a token may be off."""
SECRET_SIZE: Final = 32
"""Bytes of a key for HS256 at least (RFC 7518 section 3.2)."""
EXPIRY_MAX: Final = 2**63 - 1
"""Milliseconds since the epoch: tokens that last for longer than anybody counts last as long as this."""
KEY_COUNT: Final = 16
"""Keys in a key set: a token without `kid` is tried against each."""

_ROOM_TOKEN: Final = "vrt1"  # noqa: S105 -- the name of a format
_ALGORITHMS: Final[dict[tuple[Any, Any], str]] = {
    ("oct", None): "HS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""By `kty` and `crv`. Each key has one, so that nobody can have a public key taken for a secret one."""
_UNCHECKED: Final[Options] = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
"""Times are checked here, by the clock that we are given."""


class TokenRefused(ServerError):
    """A token does not allow what it was shown for; the message says why, and repeats nothing of it."""

    def __init__(self, reason: str, *, genuine: bool = False) -> None:
        """`genuine` tells that a key of ours has signed the token: whoever shows it does not guess."""
        super().__init__(reason)
        self.genuine = genuine


class BadKeySet(ServerError):
    """A key set cannot be used; the message names the key at fault, never its material."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key of a key set."""

    key_id: str | None
    algorithm: str
    key: jwt.PyJWK


def read_key_set(text: str) -> tuple[VerificationKey, ...]:
    """Return the keys of a JSON Web Key Set (RFC 7517 section 5).

    Raises BadKeySet.
    """
    try:
        document = json.loads(text)
        listed = document["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadKeySet('not a key set: it must be a JSON object with a list "keys"') from None
    if not isinstance(listed, list) or not 0 < len(listed) <= KEY_COUNT:
        raise BadKeySet(f'"keys" must be a list of 1 to {KEY_COUNT} keys')
    return tuple(_read_key(number, each) for number, each in enumerate(listed, 1))


def make_room_token(secret: bytes, room_id: str, expires_at: int) -> str:
    """Return a room token; `expires_at` in seconds since the epoch."""
    return f"{_ROOM_TOKEN}.{expires_at}.{_room_signature(secret, room_id, str(expires_at))}"


class Authorizer:
    """Says what a token allows."""

    def __init__(
        self, room_secrets: Sequence[bytes] = (), keys: Sequence[VerificationKey] = (), audience: str | None = None
    ) -> None:
        """Any of `room_secrets` and `keys` verifies; with `audience`, that must be in a JWT's `aud`."""
        self._room_secrets = tuple(room_secrets)
        self._keys = tuple(keys)
        self._audience = audience

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything but govern, tokens not being asked for."""
        return not self._room_secrets and not self._keys

    def check(self, token: str, now_ms: int) -> None:
        """Check what can be checked of a token before a room is known.

        Raises TokenRefused.
        """
        if token and not self.is_open and not token.startswith(f"{_ROOM_TOKEN}."):
            self.identify(token, now_ms)

    def grants(self, token: str, room_id: str, now_ms: int) -> Grants:
        """Return what a token allows somebody who wants to join `room_id`; an empty token is none.

        Raises TokenRefused.
        """
        if self.is_open:
            return EVERYTHING
        if not token:
            raise TokenRefused("this server asks for a token")
        if token.startswith(f"{_ROOM_TOKEN}."):
            return Grants((), create=True, expires_at=self._check_room_token(token, room_id, now_ms))
        grants = self.identify(token, now_ms)
        if not grants.allow(room_id):
            raise TokenRefused("the token is not for this room", genuine=True)
        return grants

    def identify(self, token: str, now_ms: int) -> Grants:
        """Return what a JSON Web Token allows, whatever it is wanted for.

        Raises TokenRefused.
        """
        if len(token) > limits.TOKEN_LENGTH:
            raise TokenRefused("the token is too long")
        return _grants_of(self._verified_claims(token), self._audience, now_ms / 1000)

    def _check_room_token(self, token: str, room_id: str, now_ms: int) -> int:
        """Return when a room token expires, in milliseconds since the epoch.

        Raises TokenRefused.
        """
        _, _, rest = token.partition(".")
        expiry, _, signature = rest.partition(".")
        known = [_room_signature(secret, room_id, expiry) for secret in self._room_secrets]
        if not signature.isascii() or not any(hmac.compare_digest(signature, each) for each in known):
            raise TokenRefused("the token is not for this room, or was not signed for this server")
        # what is signed was made by an operator, and may still be no number
        if not expiry.isdecimal() or int(expiry) * 1000 <= now_ms:
            raise TokenRefused(TOKEN_EXPIRED, genuine=True)
        return min(int(expiry) * 1000, EXPIRY_MAX)

    def _verified_claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenRefused("the token is malformed") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        for each in self._keys:
            if each.algorithm != algorithm or (key_id is not None and each.key_id not in (None, key_id)):
                continue
            try:
                claims: dict[str, Any] = jwt.decode(token, each.key, [each.algorithm], options=_UNCHECKED)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, RecursionError):
                raise TokenRefused("the token is malformed") from None
            return claims
        raise TokenRefused("no key of this server has signed the token")


class _Allowed(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    rooms: Annotated[tuple[Annotated[str, Field(max_length=limits.ROOM_ID_LENGTH)], ...], Field(strict=False)] = ()
    create: bool = False
    admin: bool = False


class _Claims(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    exp: float
    nbf: float | None = None
    aud: str | list[str] = ""
    sub: Annotated[str, Field(max_length=256)] = ""
    visavis: _Allowed


def _grants_of(claims: dict[str, Any], audience: str | None, now: float) -> Grants:
    try:
        read = _Claims.model_validate(claims)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise TokenRefused(f"the token's claim {name} is missing or wrong") from None
    if len(read.visavis.rooms) > PATTERN_COUNT:
        raise TokenRefused(f"the token names more than {PATTERN_COUNT} rooms")
    if read.exp + LEEWAY <= now:
        raise TokenRefused(TOKEN_EXPIRED, genuine=True)
    if read.nbf is not None and read.nbf - LEEWAY > now:
        raise TokenRefused(TOKEN_NOT_YET_VALID, genuine=True)
    if audience is not None and audience not in ([read.aud] if isinstance(read.aud, str) else read.aud):
        raise TokenRefused("the token is for another audience", genuine=True)
    allowed = read.visavis
    expires_at = max(1, round(min(read.exp * 1000, EXPIRY_MAX)))
    return Grants(allowed.rooms, create=allowed.create, admin=allowed.admin, subject=read.sub, expires_at=expires_at)


def _read_key(number: int, document: Any) -> VerificationKey:
    if not isinstance(document, dict):
        raise BadKeySet(f"key {number} is no JSON object")
    kind = (document.get("kty"), document.get("crv"))
    algorithm = _ALGORITHMS.get(kind) if all(isinstance(part, str | None) for part in kind) else None
    if algorithm is None or document.get("alg", algorithm) != algorithm:
        raise BadKeySet(f"key {number}: only oct (HS256), EC P-256 (ES256) and OKP Ed25519 (EdDSA) can be used")
    key_id = document.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise BadKeySet(f"key {number}: kid must be a string")
    try:
        key = jwt.PyJWK(document, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        raise BadKeySet(f"key {number}: its members do not make a key") from None
    if algorithm == "HS256" and len(key.key) < SECRET_SIZE:
        raise BadKeySet(f"key {number}: an HS256 key needs at least {SECRET_SIZE} bytes (RFC 7518 section 3.2)")
    return VerificationKey(key_id, algorithm, key)


def _room_signature(secret: bytes, room_id: str, expiry: str) -> str:
    return hmac.new(secret, f"{_ROOM_TOKEN}.{expiry}.{room_id}".encode(), hashlib.sha256).hexdigest()
