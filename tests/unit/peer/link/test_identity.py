"""link.identity: a proof holds for one certificate, one key and one session."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
from dataclasses import fields, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.support.link_pair import introduce
from visavis_peer.core.meeting.role import Role
from visavis_peer.link.identity import (
    CERTIFICATE_SIZE,
    CLAIM_SIZE,
    Identity,
    Introduction,
    Meeting,
    fingerprint_of,
    proves,
)

OFFERER, ANSWERER = Identity(), Identity()
MEETING = Meeting("s", "a", "b", "0" * 32, "f" * 32, "1" * 32)


@pytest.fixture
def introduction() -> Introduction:
    return introduce(OFFERER, ANSWERER)


def test_the_offerer_proves_itself(introduction: Introduction) -> None:
    assert proves(OFFERER.certificate, OFFERER.sign(introduction), introduction)


def test_a_fingerprint_is_the_sha256_of_the_certificate() -> None:
    certificate = x509.load_der_x509_certificate(OFFERER.certificate)
    assert OFFERER.fingerprint == hashlib.sha256(OFFERER.certificate).hexdigest()
    assert fingerprint_of(OFFERER.certificate) == certificate.fingerprint(hashes.SHA256()).hex()
    assert OFFERER.fingerprint != ANSWERER.fingerprint


def test_a_certificate_says_nothing_of_its_holder_and_outlives_wrong_clocks() -> None:
    certificate = x509.load_der_x509_certificate(OFFERER.certificate)
    assert certificate.subject == certificate.issuer == x509.load_der_x509_certificate(ANSWERER.certificate).subject
    year = datetime.timedelta(days=365)
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now - year
    assert certificate.not_valid_after_utc > now + year
    assert len(OFFERER.certificate) < CERTIFICATE_SIZE


def test_another_certificate_does_not_prove_it_even_with_a_true_signature_of_its_own(
    introduction: Introduction,
) -> None:
    stranger = Identity()
    assert not proves(stranger.certificate, stranger.sign(introduction), introduction)
    assert not proves(ANSWERER.certificate, ANSWERER.sign(introduction), introduction)


def test_another_key_does_not_prove_it(introduction: Introduction) -> None:
    assert not proves(OFFERER.certificate, Identity().sign(introduction), introduction)


@pytest.mark.parametrize("name", [field.name for field in fields(Introduction)])
def test_a_proof_is_void_when_anything_said_was_different(introduction: Introduction, name: str) -> None:
    other = replace(introduction, **{name: "0" * 64})
    assert not proves(OFFERER.certificate, OFFERER.sign(other), introduction)
    assert other.claim(MEETING, "offerer", turned=False) != introduction.claim(MEETING, "offerer", turned=False)


def test_members_do_not_run_into_each_other(introduction: Introduction) -> None:
    moved = replace(introduction, offerer_nonce="ab", answerer_nonce="c")
    assert moved.signed_bytes() != replace(introduction, offerer_nonce="a", answerer_nonce="bc").signed_bytes()


def test_no_flipped_bit_of_a_signature_or_certificate_is_accepted(introduction: Introduction) -> None:
    signature = OFFERER.sign(introduction)
    for bit in range(len(signature) * 8):
        assert not proves(OFFERER.certificate, _flip(signature, bit), introduction)
    for bit in range(0, len(OFFERER.certificate) * 8, 7):
        assert not proves(_flip(OFFERER.certificate, bit), signature, introduction)


@pytest.mark.parametrize("certificate", [b"", b"\x30", b"no certificate", bytes(300), bytes(CERTIFICATE_SIZE + 1)])
def test_what_is_no_certificate_proves_nothing_though_its_fingerprint_was_announced(certificate: bytes) -> None:
    announced = replace(introduce(OFFERER, ANSWERER), offerer_fingerprint=fingerprint_of(certificate))
    assert not proves(certificate, OFFERER.sign(announced), announced)


@pytest.mark.parametrize("signature", [b"", b"\x30\x00", bytes(64), bytes(5000)])
def test_what_is_no_signature_proves_nothing(introduction: Introduction, signature: bytes) -> None:
    assert not proves(OFFERER.certificate, signature, introduction)


def test_a_certificate_with_another_kind_of_key_proves_nothing() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    certificate = _certificate(key)
    announced = replace(introduce(OFFERER, ANSWERER), offerer_fingerprint=fingerprint_of(certificate))
    assert not proves(certificate, key.sign(announced.signed_bytes()), announced)


def test_another_implementation_of_the_documented_proof_is_understood() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    announced = replace(introduce(OFFERER, ANSWERER), offerer_fingerprint=fingerprint_of(certificate))
    said = "\0".join(getattr(announced, field.name) for field in fields(announced))
    signature = key.sign(b"visavis/1 offerer\0" + said.encode(), ec.ECDSA(hashes.SHA256()))
    assert proves(certificate, signature, announced)


@pytest.mark.parametrize("role", ["offerer", "answerer"])
def test_a_claim_holds_for_one_link_and_side_and_for_nothing_that_is_said_otherwise(
    introduction: Introduction, role: Role
) -> None:
    claim = introduction.claim(MEETING, role, turned=False)
    assert len(bytes.fromhex(claim)) == CLAIM_SIZE
    assert claim == replace(introduction).claim(replace(MEETING), role, turned=False)
    others = [
        introduction.claim(MEETING, "answerer" if role == "offerer" else "offerer", turned=False),
        introduction.claim(MEETING, role, turned=True),
        introduce(OFFERER, ANSWERER).claim(MEETING, role, turned=False),
    ]
    said = [member.name for member in fields(MEETING) if (role, member.name) != ("offerer", "answerer_nonce")]
    others += [introduction.claim(replace(MEETING, **{name: "other"}), role, turned=False) for name in said]
    assert claim not in others
    assert len(set(others)) == len(others)


def test_another_implementation_of_the_documented_claim_makes_the_same(introduction: Introduction) -> None:
    fingerprints = [ANSWERER.fingerprint, OFFERER.fingerprint]
    said = ["visavis/1 claim", "answerer", "s", "a", "b", *fingerprints, "0" * 32, "f" * 32, "1" * 32]
    key = hashlib.sha256(introduction.signed_bytes()).digest()
    expected = hmac.new(key, json.dumps(said).encode(), "sha256").hexdigest()[:32]
    assert introduction.claim(MEETING, "answerer", turned=True) == expected


def _flip(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def _certificate(key: ed25519.Ed25519PrivateKey) -> bytes:
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    return builder.sign(key, None).public_bytes(serialization.Encoding.DER)
