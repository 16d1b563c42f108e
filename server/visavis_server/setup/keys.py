"""Keys in files: read with one clear error, made where that is harmless, and read again when they change.

Everything here touches the disk, so an event loop calls it by way of a thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from visavis_server.core.errors import ServerError
from visavis_server.core.signaling.tickets import KEY_SIZE

logger = logging.getLogger(__name__)

FILE_SIZE: Final = 1 << 20
"""Bytes of a file of keys or certificates at most: no device or log is read into memory by mistake."""

_T = TypeVar("_T")


class KeyFileError(ServerError):
    """A file of keys cannot be used; the message names it and the reason, and repeats nothing of its content."""


def read_keys(path: Path) -> list[bytes]:
    """Return the keys in a file: one a line in hexadecimal, the one that signs first; `#` begins a comment.

    Raises KeyFileError.
    """
    keys: list[bytes] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            key = bytes.fromhex(text)
        except ValueError:
            raise KeyFileError(f"{path}, line {number}: not a key in hexadecimal") from None
        if len(key) < KEY_SIZE:
            raise KeyFileError(f"{path}, line {number}: a key needs at least {KEY_SIZE} bytes ({2 * KEY_SIZE} digits)")
        keys.append(key)
    if not keys:
        raise KeyFileError(f"{path}: no key in it; `openssl rand -hex {KEY_SIZE}` makes one")
    return keys


def read_or_make_keys(path: Path) -> list[bytes]:
    """Return the keys in a file, which is made with one new key when it does not exist, readable by its owner only.

    Raises KeyFileError.
    """
    with contextlib.suppress(FileExistsError):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise
        except OSError as error:
            raise KeyFileError(f"cannot make {path}: {error.strerror}") from None
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_SIZE) + "\n")
    return read_keys(path)


def read_tokens(path: Path) -> list[str]:
    """Return the tokens in a file, one a line; `#` at its beginning makes a line a comment.

    Raises KeyFileError.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens or any(len(token) < KEY_SIZE for token in tokens):
        raise KeyFileError(f"{path}: each token needs at least {KEY_SIZE} characters")
    return tokens


def read_text(path: Path) -> str:
    """Return the content of a file of at most FILE_SIZE bytes.

    Raises KeyFileError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE + 1)
        if len(data) > FILE_SIZE:
            raise KeyFileError(f"{path} is larger than {FILE_SIZE >> 20} MiB")
        return data.decode()
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} is not text") from None


class WatchedFile(Generic[_T]):
    """What a file says, as of its last version that could be read."""

    def __init__(self, path: Path, read: Callable[[Path], _T], *others: Path) -> None:
        """`read` raises KeyFileError; `others` are files that it reads, too.

        Raises KeyFileError.
        """
        self.path = path
        self._read = read
        self._watched = (path, *others)
        self._version = self._look()
        self.content = read(path)

    def reload_if_changed(self) -> bool:
        """Read the file again if it is another one now; returns whether `content` is new.

        A file that cannot be read is reported once, and the content stays as it was.
        """
        version = self._look()
        if version == self._version:
            return False
        self._version = version
        try:
            self.content = self._read(self.path)
        except KeyFileError as error:
            logger.error("the version read before stays in use: %s", error)
            return False
        logger.info("%s has changed and was read again", self.path)
        return True

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_version(path) for path in self._watched]


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
