"""What of aioice is used: its codec, its candidates as lines, and its TURN client; none of its ICE, nothing private."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import visavis_peer
import visavis_shared

USED: Final = {
    ("aioice", "stun"),
    ("aioice", "turn"),
    ("aioice.candidate", "Candidate"),
    ("aioice.candidate", "candidate_foundation"),
    ("aioice.candidate", "candidate_priority"),
}


def test_of_aioice_only_codec_candidates_and_turn_client_are_used() -> None:
    used = set()
    for package in (visavis_peer, visavis_shared):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "aioice":
                    used |= {(node.module, name.name) for name in node.names}
                elif isinstance(node, ast.Import):
                    assert not any(name.name.partition(".")[0] == "aioice" for name in node.names), path
    assert used == USED
