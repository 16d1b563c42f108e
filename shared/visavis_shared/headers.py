"""Names of HTTP headers that are ours."""

from __future__ import annotations

from typing import Final

TOKEN: Final = "Visavis-Token"  # noqa: S105 -- a name
"""Has a client's token where Authorization has its login to a proxy in front of the server (docs/protocol.md)."""
