"""Which of two agents made the OFFER."""

from __future__ import annotations

from typing import Literal

Role = Literal["offerer", "answerer"]
"""The offerer is the controlling ICE agent (RFC 8445 section 6.1.1)."""
