"""Write docs/limits.md or check it for drift (`--check`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from visavis_peer.commands.limit_table import PEER_LIMITS
from visavis_server.limit_table import OTHER_REFUSALS, SERVER_LIMITS
from visavis_shared.limit_table import markdown

PATH: Final = Path(__file__).parent.parent.parent / "docs" / "limits.md"
HEAD: Final = """# Limits

Made by `scripts/limits` from the tables of both programs (`limit_table.py`), whose figures are those of the code; a
test holds `--help`, the welcome and the metrics against them.

## Server

A limit bounds what one client, one address or one pair can cost the others. What is beyond it is answered as the table
says, counted in `visavis_refusals_total` or, with `relay_` before it, in `visavis_relay_drops_total`, and logged once a
second and cause at most. A default of 0 is no limit, and so is 0 as a value of an option.

"""
OTHERS: Final = """
Refused for other reasons:

| counted as | what the client gets |
|---|---|
"""
PEER: Final = """
## Agent

"""


def document() -> str:
    """Return what docs/limits.md is to be."""
    others = "".join(f"| `{cause}` | {answer} |\n" for cause, answer in OTHER_REFUSALS.items())
    server, peer = markdown(SERVER_LIMITS, counted=True), markdown(PEER_LIMITS, counted=False)
    return HEAD + server + OTHERS + others + PEER + peer


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 when a check finds drift."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/limits [--check]", file=sys.stderr)
        return 2
    if not arguments:
        PATH.write_text(document(), encoding="utf-8")
    elif not PATH.exists() or PATH.read_text(encoding="utf-8") != document():
        print("docs/limits.md is not what the code says: run scripts/limits", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
