"""The silences by which it is measured how long a NAT keeps a mapping."""

from __future__ import annotations

from typing import Final

SILENCES: Final = (10.0, 25.0, 35.0, 55.0, 65.0, 90.0, 115.0, 125.0)
"""Seconds that are tried, all at a time: on either side of 30, 60 and 120, which are what NATs are set to. RFC 4787
section 4.3 demands two minutes."""
LIFETIME_MAX: Final = 3600
"""Seconds of silence that can be tried: no NAT keeps UDP mappings for longer by default."""
