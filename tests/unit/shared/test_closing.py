"""One table of close codes: the enum, docs/protocol.md, and the figures that its prose names."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from visavis_server.core import frames
from visavis_server.core.relay import relay
from visavis_server.sockets.outbox import OUTBOX_COUNT, OUTBOX_SIZE
from visavis_shared.closing import LEAVING, CloseCode, markdown
from visavis_shared.limits import MESSAGE_SIZE

ROOT: Final = Path(__file__).parents[3]


def test_the_protocol_document_has_the_table_of_the_enum() -> None:
    assert markdown() in (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_codes_are_in_order_and_each_says_when_it_is_sent() -> None:
    assert list(CloseCode) == sorted(CloseCode)
    assert all(code.by_server or code.by_client for code in CloseCode)
    assert {code for code in CloseCode if "room is told at once" in code.by_client} == LEAVING - {None}


def test_codes_are_those_of_the_registry_or_private_ones() -> None:
    assert all(1000 <= code <= 1013 or 4000 <= code <= 4999 for code in CloseCode)
    assert f"{CloseCode.REPLACED}" == "4009", "logs and metrics show the number"
    assert frames.close_frame(CloseCode.NO_JOIN, "late") == b"\x88\x06\x0f\xa8late"


def test_the_figures_in_the_prose_are_those_of_the_code() -> None:
    assert f"{MESSAGE_SIZE:,} bytes" in CloseCode.TOO_BIG.by_server
    assert f"{frames.EMPTY_COUNT} empty fragments" in CloseCode.POLICY_VIOLATION.by_server
    assert f"{OUTBOX_SIZE >> 20} MiB or {OUTBOX_COUNT:,} messages" in CloseCode.TRY_AGAIN_LATER.by_server
    assert f"for {relay.RELAY_GRACE:g} s" in CloseCode.PEER_GONE.by_server


def test_no_other_module_writes_a_close_code_as_a_number() -> None:
    codes = set(map(int, CloseCode)) - {1000}  # which is a thousand of other things, too
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("server", "peer", "shared")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in codes
    ]
    assert {each.partition(":")[0] for each in found} == {"shared/visavis_shared/closing.py"}, found
