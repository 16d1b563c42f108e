"""The list of rooms for many who ask for it: written once a second, not once a request."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Final
from urllib.parse import parse_qsl

from visavis_server.core.errors import ServerError
from visavis_server.core.rest import views
from visavis_server.core.rest.documents import PAGE_LIMIT
from visavis_server.core.signaling.overview import Overview

SHARED_TIME: Final = 1.0
"""Seconds for which one list of many rooms is given to all who ask: 10,000 rooms take some 30 ms to write."""
FRESH_COUNT: Final = 100
"""Rooms up to which every list is written anew, so that who has just made one sees it: 0.3 ms."""
_FIELD_COUNT: Final = 16
"""Members of a query that are read."""


class BadQuery(ServerError):
    """A query that names no page."""

    status: ClassVar = HTTPStatus.BAD_REQUEST


@dataclass(frozen=True, slots=True)
class Listed:
    """All rooms."""

    body: bytes
    """One line."""
    tag: str
    """Entity tag (RFC 9110 section 8.8.3), in its quotation marks."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the rooms is wanted, in the order of their names."""

    limit: int = PAGE_LIMIT
    after: str = ""
    """Name of the last room of the page before."""


class Listing:
    """`now` is in seconds, monotonic."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._listed = Listed(b"", "")
        self._listed_at = float("-inf")
        self._names: list[str] = []
        self._named_at = float("-inf")

    def whole(self, now: float) -> Listed:
        """Return all rooms, oldest first; the same bytes to all who ask within SHARED_TIME, if there are many."""
        if self._is_old(self._listed_at, now):
            body = views.rooms(self._overview) + b"\n"
            if body != self._listed.body:
                self._listed = Listed(body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"')
            self._listed_at = now
        return self._listed

    def page(self, page: Page, now: float) -> bytes:
        """Return one page; rooms that come and go between two pages shift none of the others."""
        if self._is_old(self._named_at, now):
            self._names = self._overview.names()
            self._named_at = now
        start = bisect_right(self._names, page.after)
        return views.rooms(self._overview, self._names[start : start + page.limit])

    def _is_old(self, since: float, now: float) -> bool:
        return now - since >= SHARED_TIME or self._overview.open_count <= FRESH_COUNT


def parse_page(query: str) -> Page | None:
    """Return the page that a query asks for, None where it asks for none.

    Raises BadQuery.
    """
    try:
        members = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELD_COUNT))
    except ValueError:
        raise BadQuery(f"more than {_FIELD_COUNT} members of a query") from None
    if members.keys().isdisjoint(("limit", "after")):
        return None
    limit = members.get("limit", str(PAGE_LIMIT))
    if not (
        limit.isascii() and limit.isdigit() and len(limit) <= len(str(PAGE_LIMIT)) and 1 <= int(limit) <= PAGE_LIMIT
    ):
        raise BadQuery(f"limit must be a number from 1 to {PAGE_LIMIT}")
    return Page(int(limit), members.get("after", ""))
