"""What says who may connect, and proves who we are: keys for tokens and the TLS certificate, re-read when they change.

Reading touches the disk: an event loop makes it by way of a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

from visavis_server.core.access.auth import Authorizer, BadKeySet, VerificationKey, read_key_set
from visavis_server.setup.keys import KeyFileError, WatchedFile, read_keys, read_text, read_tokens
from visavis_server.setup.settings import Settings
from visavis_shared.tasks import own

logger = logging.getLogger(__name__)

RELOAD_INTERVAL: Final = 1.0
"""Seconds between two looks at the files."""

_T = TypeVar("_T")


class Credentials:
    """The keys and the certificate of one server, as configured."""

    def __init__(self, settings: Settings) -> None:
        """Raises KeyFileError."""
        self._audience = settings.jwt_audience
        self._room_secrets = _watch(settings.room_secret_file, read_keys)
        self._key_set = _watch(settings.jwks_file, _read_key_set)
        self._admin_tokens = _watch(settings.admin_token_file, read_tokens)
        self.tls: ssl.SSLContext | None = None
        """None where the server speaks plain HTTP."""
        self._certificate: WatchedFile[ssl.SSLContext] | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self._certificate = WatchedFile(settings.tls_cert, _loader(settings.tls_key), settings.tls_key)
            self.tls = self._certificate.content
            self.tls.sni_callback = self._show_newest
        self.authorizer = self._new_authorizer()
        self._task: asyncio.Task[None] | None = None

    @property
    def admin_tokens(self) -> Sequence[str]:
        """The tokens that open the admin API, as of the last reading."""
        return () if self._admin_tokens is None else self._admin_tokens.content

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Read everything.

        Raises KeyFileError.
        """
        return await asyncio.to_thread(cls, settings)

    def watch(self, on_change: Callable[[Authorizer], None]) -> None:
        """Re-read what changes; tell of an authorizer with new keys, and use a new certificate for new connections."""
        self._task = own(self._watch(on_change))

    async def close(self) -> None:
        """Stop watching. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self, on_change: Callable[[Authorizer], None]) -> None:
        while True:
            await asyncio.sleep(RELOAD_INTERVAL)
            if await asyncio.to_thread(self._reload):
                self.authorizer = self._new_authorizer()
                on_change(self.authorizer)

    def _reload(self) -> bool:
        for unannounced in (self._certificate, self._admin_tokens):
            if unannounced is not None:
                unannounced.reload_if_changed()
        # no short cut: each file is to be looked at
        changed = [file.reload_if_changed() for file in (self._room_secrets, self._key_set) if file is not None]
        return any(changed)

    def _show_newest(self, connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        """Let a new connection be served with the certificate read last (OpenSSL asks with and without a server name).

        The listener's own context is never loaded again: a pair of which only one file is new yet would break it.
        """
        if self._certificate is not None:
            connection.context = self._certificate.content

    def _new_authorizer(self) -> Authorizer:
        secrets = self._room_secrets.content if self._room_secrets is not None else ()
        keys = self._key_set.content if self._key_set is not None else ()
        return Authorizer(secrets, keys, self._audience)


def _watch(path: Path | None, read: Callable[[Path], _T]) -> WatchedFile[_T] | None:
    return None if path is None else WatchedFile(path, read)


def _read_key_set(path: Path) -> tuple[VerificationKey, ...]:
    try:
        return read_key_set(read_text(path))
    except BadKeySet as error:
        raise KeyFileError(f"{path}: {error}") from None


def _loader(key: Path) -> Callable[[Path], ssl.SSLContext]:
    def load(certificate: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError:
            raise KeyFileError(f"{certificate} and {key} are not a certificate chain and its key in PEM") from None
        except OSError as error:
            raise KeyFileError(f"cannot use {certificate} with {key}: {error.strerror}") from None
        return context

    return load
