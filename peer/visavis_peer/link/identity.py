"""An agent's own certificate, and how the offerer proves over the link that it holds the one it announced.

The answerer is the TLS server, so TLS itself proves that it holds the key of the certificate whose fingerprint its
ANSWER named. No QUIC engine asks a client for a certificate; the offerer sends its own, with a signature over what both
sides know of this session, as the first bytes of the control stream.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from visavis_peer.core.meeting.role import Role

VALIDITY: Final = datetime.timedelta(days=3650)
"""How long a certificate claims to be valid: nobody looks, for its fingerprint is what counts, and clocks are wrong."""
CERTIFICATE_SIZE: Final = 2048
"""Bytes of a peer's certificate at most; ours have about 300."""
CLAIM_SIZE: Final = 16
"""Bytes of a claim: 128 bits of HMAC-SHA256."""
_CLAIM: Final = "visavis/1 claim"
_SIGNED: Final = b"visavis/1 offerer\0"
_ALGORITHM: Final = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Meeting:
    """A session as both of its sides know it: what a claim is made for, and good for nothing else."""

    session_id: str
    offerer_id: str
    """Peer id."""
    answerer_id: str
    """Peer id."""
    offerer_nonce: str
    answerer_fresh: str
    """Random value of the answerer's process, as the room shows it; empty where it shows none."""
    answerer_nonce: str = ""
    """For the answerer's claim; the offerer does not know it yet."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """What OFFER and ANSWER have told both sides about each other."""

    link_id: str
    """The session in which the link is made."""
    offerer_fingerprint: str
    answerer_fingerprint: str
    offerer_nonce: str
    answerer_nonce: str

    def signed_bytes(self) -> bytes:
        """Return what the offerer signs."""
        parts = (
            self.link_id,
            self.offerer_fingerprint,
            self.answerer_fingerprint,
            self.offerer_nonce,
            self.answerer_nonce,
        )
        return _SIGNED + "\0".join(parts).encode()

    def claim(self, meeting: Meeting, role: Role, *, turned: bool) -> str:
        """Return the proof that the side with `role` in a later session holds one end of this link.

        `turned` tells whether the offerer of that session is the answerer of this one. The nonces are known to the two
        ends only (and to the server, in a room without a secret).
        """
        key = hashlib.sha256(self.signed_bytes()).digest()
        fingerprints = [self.offerer_fingerprint, self.answerer_fingerprint]
        if turned:
            fingerprints.reverse()
        said = [
            _CLAIM,
            role,
            meeting.session_id,
            meeting.offerer_id,
            meeting.answerer_id,
            *fingerprints,
            meeting.offerer_nonce,
            meeting.answerer_fresh,
            meeting.answerer_nonce if role == "answerer" else "",
        ]
        return hmac.digest(key, json.dumps(said).encode(), "sha256")[:CLAIM_SIZE].hex()


class Identity:
    """A key pair (P-256) and a self-signed certificate; one for each agent's process."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "visavis")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - VALIDITY)
            .not_valid_after(now + VALIDITY)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)
        """DER."""
        self.certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.key_pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.fingerprint = fingerprint_of(self.certificate)

    def sign(self, introduction: Introduction) -> bytes:
        """Return the proof of the offerer."""
        return self._key.sign(introduction.signed_bytes(), _ALGORITHM)


def fingerprint_of(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate (DER) in hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def proves(certificate: bytes, signature: bytes, introduction: Introduction) -> bool:
    """Whether `certificate` is the one that the OFFER named and its holder has signed `introduction`."""
    if len(certificate) > CERTIFICATE_SIZE or fingerprint_of(certificate) != introduction.offerer_fingerprint:
        return False
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, introduction.signed_bytes(), _ALGORITHM)
    except (ValueError, InvalidSignature):
        return False
    return True
