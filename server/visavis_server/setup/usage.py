"""What the operator, or the program that embeds the server, has asked for and cannot have."""

from __future__ import annotations

from typing import Final

OK: Final = 0
"""Exit code: stopped in order."""
FAILED: Final = 1
"""Exit code: it cannot listen, a key file cannot be used, or it has failed."""
USAGE: Final = 2
"""Exit code: UsageError."""


class UsageError(Exception):
    """Something that cannot be was asked for; the message says what and where."""

    def __init__(self, reason: str, setting: str = "") -> None:
        """`setting` names the setting that is wrong, if it is one."""
        super().__init__(f"{setting}: {reason}" if setting else reason)
        self.reason = reason
        """What is wrong with it."""
        self.setting = setting
        """Its name, empty where it is none."""
