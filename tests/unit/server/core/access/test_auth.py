"""core.access.auth: tokens made by the library that everybody uses, and by hand."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.access.auth import (
    LEEWAY,
    Authorizer,
    BadKeySet,
    TokenRefused,
    make_room_token,
    read_key_set,
)
from visavis_server.core.access.grants import EVERYTHING, Grants

NOW = 1_795_403_021
NOW_MS = NOW * 1000
SECRET = bytes(range(32))
HMAC_KEY = bytes(reversed(range(32)))
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": list(keys)})


OCT = {"kty": "oct", "kid": "h", "k": b64(HMAC_KEY)}
EC_NUMBERS = EC_KEY.public_key().public_numbers()
P256 = {
    "kty": "EC",
    "kid": "e",
    "crv": "P-256",
    "x": b64(EC_NUMBERS.x.to_bytes(32)),
    "y": b64(EC_NUMBERS.y.to_bytes(32)),
}
ED25519 = {
    "kty": "OKP",
    "kid": "d",
    "crv": "Ed25519",
    "x": b64(ED_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
}
SIGNERS: dict[str, tuple[Any, str]] = {"h": (HMAC_KEY, "HS256"), "e": (EC_KEY, "ES256"), "d": (ED_KEY, "EdDSA")}


def token(kid: str = "e", allowed: Any = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    key, algorithm = SIGNERS[kid]
    allowed = {"rooms": ["team-*"]} if allowed is None else allowed
    content = {"exp": NOW + 60, "visavis": allowed} | claims
    return jwt.encode(content, key, algorithm, {"kid": kid} if headers is None else headers)


@pytest.fixture
def authorizer() -> Authorizer:
    return Authorizer([SECRET], read_key_set(jwks(OCT, P256, ED25519)))


def reason(authorizer: Authorizer, shown: str, room_id: str = "team-1") -> str:
    with pytest.raises(TokenRefused) as refusal:
        authorizer.grants(shown, room_id, NOW_MS)
    for part in shown.split("."):
        assert len(part) < 8 or part not in str(refusal.value), "a refusal repeats nothing of the token"
    return str(refusal.value)


def test_without_keys_everybody_may_join_and_nobody_governs() -> None:
    authorizer = Authorizer()
    assert authorizer.is_open
    assert authorizer.grants("", "r", NOW_MS) is authorizer.grants("nonsense", "r", NOW_MS) is EVERYTHING
    assert EVERYTHING.create
    assert not EVERYTHING.admin


def test_with_keys_a_token_is_asked_for(authorizer: Authorizer) -> None:
    assert not authorizer.is_open
    assert reason(authorizer, "") == "this server asks for a token"


# --- room tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room_id", ["team-1", "a.b", "*", "ключ", " " * 3 + "x"])
def test_a_room_token_opens_its_room_and_no_other(authorizer: Authorizer, room_id: str) -> None:
    shown = make_room_token(SECRET, room_id, NOW + 60)
    assert authorizer.grants(shown, room_id, NOW_MS).create
    assert "not for this room" in reason(authorizer, shown, room_id + "x")


def test_its_form_is_what_openssl_makes() -> None:
    """printf vrt1.1800000000.my-room | openssl dgst -sha256 -mac HMAC -macopt hexkey:0000…"""
    signature = "14f9e5e9d569d7533dee045c98fe7bd780c6995373f0d632d842cd04f464d128"
    assert make_room_token(bytes(32), "my-room", 1_800_000_000) == f"vrt1.1800000000.{signature}"


def test_a_room_token_expires_and_its_expiry_is_signed(authorizer: Authorizer) -> None:
    assert reason(authorizer, make_room_token(SECRET, "team-1", NOW)) == "the token has expired"
    shown = make_room_token(SECRET, "team-1", NOW)
    assert "not signed" in reason(authorizer, shown.replace(str(NOW), str(NOW + 99)))


def test_room_secrets_rotate() -> None:
    shown = make_room_token(SECRET, "r", NOW + 60)
    assert Authorizer([HMAC_KEY, SECRET]).grants(shown, "r", NOW_MS).create
    assert "not signed" in reason(Authorizer([HMAC_KEY]), shown, "r")
    assert "not signed" in reason(Authorizer([], read_key_set(jwks(OCT))), shown, "r")


@pytest.mark.parametrize("shown", ["vrt1.", "vrt1..", "vrt1.x.y", "vrt1.5", "vrt1.é.é", "vrt1.\u0665." + "0" * 64])
def test_malformed_room_tokens(authorizer: Authorizer, shown: str) -> None:
    assert "not signed" in reason(authorizer, shown)


# --- JSON Web Tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kid", ["h", "e", "d"])
def test_each_algorithm_with_and_without_a_kid(authorizer: Authorizer, kid: str) -> None:
    allowed = {"rooms": ["team-*"], "create": True, "admin": True, "later": 1}
    expected = Grants(("team-*",), create=True, admin=True, subject="alice", expires_at=(NOW + 60) * 1000)
    choices: tuple[dict[str, Any] | None, ...] = (None, {})
    for headers in choices:
        assert authorizer.grants(token(kid, allowed, headers, sub="alice"), "team-1", NOW_MS) == expected


def test_rooms_are_named_by_pattern(authorizer: Authorizer) -> None:
    assert reason(authorizer, token(), "other") == "the token is not for this room"
    assert reason(authorizer, token(allowed={}), "team-1") == "the token is not for this room"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW - LEEWAY}, "the token has expired"),
        ({"nbf": NOW + LEEWAY + 1}, "the token is not valid yet"),
        ({"exp": "tomorrow"}, "the token's claim exp is missing or wrong"),
        ({"exp": None}, "the token's claim exp is missing or wrong"),
        ({"exp": True}, "the token's claim exp is missing or wrong"),
        ({"visavis": None}, "the token's claim visavis is missing or wrong"),
        ({"allowed": {"rooms": "team-*"}}, "the token's claim visavis.rooms is missing or wrong"),
        ({"allowed": {"admin": 1}}, "the token's claim visavis.admin is missing or wrong"),
        ({"allowed": {"rooms": ["team-*"] * 65}}, "the token names more than 64 rooms"),
    ],
)
def test_claims_that_do_not_hold(authorizer: Authorizer, claims: dict[str, Any], expected: str) -> None:
    assert reason(authorizer, token(**claims)) == expected


def test_clocks_may_be_off_a_little(authorizer: Authorizer) -> None:
    authorizer.grants(token(exp=NOW - LEEWAY + 1), "team-1", NOW_MS)
    authorizer.grants(token(nbf=NOW + LEEWAY), "team-1", NOW_MS)


def test_the_audience_where_one_is_set() -> None:
    authorizer = Authorizer([], read_key_set(jwks(P256)), audience="here")
    for aud in ("here", ["there", "here"]):
        authorizer.grants(token(aud=aud), "team-1", NOW_MS)
    for shown in (token(aud="there"), token(aud=[]), token()):
        assert reason(authorizer, shown) == "the token is for another audience"


def test_a_public_key_is_never_taken_for_a_secret(authorizer: Authorizer) -> None:
    """The classic confusion: HS256 with the bytes of a public key as its secret."""
    public = ED_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    forged = jwt.encode({"exp": NOW + 60, "visavis": {"rooms": ["*"]}}, public, "HS256", {"kid": "d"})
    assert reason(authorizer, forged) == "no key of this server has signed the token"


def test_unsigned_tokens_are_refused(authorizer: Authorizer) -> None:
    unsigned = jwt.encode({"exp": NOW + 60, "visavis": {"rooms": ["*"]}}, "", "none")
    assert reason(authorizer, unsigned) == "no key of this server has signed the token"
    header, payload, _ = token().split(".")
    assert reason(authorizer, f"{header}.{payload}.") == "no key of this server has signed the token"


def test_a_key_that_is_withdrawn_opens_nothing() -> None:
    assert "no key" in reason(Authorizer([], read_key_set(jwks(OCT, ED25519))), token("e"))


@given(st.text(max_size=200))
def test_any_text_is_refused(shown: str) -> None:
    authorizer = Authorizer([SECRET], read_key_set(jwks(OCT, P256, ED25519)))
    with pytest.raises(TokenRefused):
        authorizer.grants(shown, "r", NOW_MS)


def test_a_token_of_excessive_length_is_not_looked_at(authorizer: Authorizer) -> None:
    assert reason(authorizer, "x" * 5000) == "the token is too long"


# --- key sets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not a key set"),
        ("[]", "not a key set"),
        ('{"keys": 5}', '"keys" must be a list of 1 to 16 keys'),
        ('{"keys": []}', '"keys" must be a list of 1 to 16 keys'),
        ('{"keys": [5]}', "key 1 is no JSON object"),
        (jwks(OCT, {"kty": "RSA", "n": "x", "e": "AQAB"}), "key 2: only oct"),
        (jwks({"kty": ["oct"]}), "key 1: only oct"),
        (jwks(OCT | {"alg": "HS512"}), "key 1: only oct"),
        (jwks(OCT | {"kid": 5}), "key 1: kid must be a string"),
        (jwks(OCT | {"k": b64(b"short")}), "key 1: an HS256 key needs at least 32 bytes"),
        (jwks({"kty": "oct"}), "key 1: its members do not make a key"),
        (jwks(P256 | {"x": "AAAA"}), "key 1: its members do not make a key"),
        (jwks(*[OCT] * 17), '"keys" must be a list of 1 to 16 keys'),
    ],
)
def test_bad_key_sets_are_named(text: str, expected: str) -> None:
    with pytest.raises(BadKeySet) as failure:
        read_key_set(text)
    assert expected in str(failure.value)
    assert b64(b"short") not in str(failure.value)
