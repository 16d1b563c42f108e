"""What was most likely meant by a word that stands where an invite belongs, with the line to type instead."""

from __future__ import annotations

import os
import shlex
from typing import Final
from urllib.parse import urlsplit

from visavis_peer.signaling.urls import without_login
from visavis_shared.ids import printable, room_id

SHOWN_LENGTH: Final = 200
"""Characters of the word that are repeated."""
DATA: Final = "a pipe takes its data from standard input"


def what_was_meant(word: str, verb: str, server: str | None) -> str:
    """Return a hint as the end of a sentence, empty where there is none.

    A word with a `#` or an `@` may hold a secret, and is not repeated. `server` is the configured one, if one is.
    """
    word = word.strip()
    if "://" not in word and "/r/" in word and not os.path.exists(word):
        return "https:// is missing in front of it"
    if not word or set("#@") & set(word) or len(word) > SHOWN_LENGTH or verb not in ("pipe", "ping", "agent"):
        return ""
    quoted = shlex.quote(printable(word))
    if _is_server(word):
        if verb == "pipe":
            return f"that is a server; to make an invite there: `visavis pipe --server {quoted}`"
        return f"that is a server; to meet there: `visavis {verb} --server {quoted} --room NAME`"
    there = f"--server {shlex.quote(printable(without_login(server))) if server else 'URL'}"
    if _is_path(word):
        return _of_path(word, quoted, verb, there)
    if not _is_room(word):
        return ""
    hint = f"to meet in a room of that name: `visavis {verb} {there} --room {quoted}`"
    return f"{hint}; {DATA}: `visavis pipe {there} < FILE`" if verb == "pipe" else hint


def _of_path(path: str, quoted: str, verb: str, there: str) -> str:
    if os.path.isdir(path):
        return f"{DATA}: `tar c {quoted} | visavis pipe {there}`" if verb == "pipe" else ""
    if verb == "pipe":
        return f"{DATA}: `visavis pipe {there} < {quoted}`"
    return f"an invite in a file is given by --invite-file {quoted}"


def _is_path(word: str) -> bool:
    return "://" not in word and (os.path.exists(word) or "/" in word or "\\" in word)


def _is_server(word: str) -> bool:
    """Whether a word is the URL of a server, or a name and a port, without the room of an invite."""
    try:
        parts = urlsplit(word if "://" in word else f"//{word}")
        with_port = parts.port is not None
    except ValueError:
        return False
    named = parts.scheme in ("http", "https", "ws", "wss") or ("://" not in word and with_port)
    return bool(named and parts.hostname and "/r/" not in f"{parts.path}/")


def _is_room(word: str) -> bool:
    try:
        return room_id(word) == word
    except ValueError:
        return False
