"""Errors of the wire protocol.

VisavisError
└── ProtocolError            a message that breaks the protocol
    └── RemoteProtocolError  … which the other end sent
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """The codes of an ERROR message."""

    INVALID_MESSAGE = "INVALID_MESSAGE"
    ROOM_NOT_FOUND = "ROOM_NOT_FOUND"
    PEER_NOT_FOUND = "PEER_NOT_FOUND"
    NOT_IN_ROOM = "NOT_IN_ROOM"
    ALREADY_IN_ROOM = "ALREADY_IN_ROOM"
    ROOM_FULL = "ROOM_FULL"
    UNAUTHORIZED = "UNAUTHORIZED"
    RATE_LIMITED = "RATE_LIMITED"
    RELAY_LIMIT = "RELAY_LIMIT"
    INTERNAL_ERROR = "INTERNAL_ERROR"


TOKEN_EXPIRED = "the token has expired"  # noqa: S105 -- words
TOKEN_NOT_YET_VALID = "the token is not valid yet"  # noqa: S105 -- words
"""The reasons of a refusal that depend on a clock, and may pass by themselves; clients tell them by these words."""


WRONG_PRIVATE: Final = "private: wrong password"
"""`details` of the refusal of a JOIN with `private` of a room that has another password; clients tell it by that."""


USAGE: Final = 2
"""Exit code of a program that was asked for what cannot be, as everywhere."""


class VisavisError(Exception):
    """Root of every error that visavis raises on purpose."""


class ProtocolError(VisavisError):
    """A message that breaks the protocol.

    `code` and `message` are what an ERROR message carries; `details` names the field, or is empty.
    """

    def __init__(self, code: ErrorCode, message: str, details: str = "") -> None:
        super().__init__(f"{code}: {message}" + (f" ({details})" if details else ""))
        self.code = code
        self.message = message
        self.details = details


class RemoteProtocolError(ProtocolError):
    """An invalid message that the other end sent: its fault, answered with a code and never with a traceback."""
