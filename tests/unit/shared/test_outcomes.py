"""outcomes, and the one word for a NAT that stands in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from visavis_shared.messages import KeepAlive, KeepAlivePayload, encode
from visavis_shared.nat import Filtering, Mapping, NatKind, NatReport, nat_kind
from visavis_shared.outcomes import OUTCOME_COUNT, LinkOutcome, OutcomePath, OutcomeReason

EIM, ADM, APDM = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (None, NatKind.UNKNOWN),
        (NatReport(), NatKind.UNKNOWN),
        (NatReport(udp=True, nat=True), NatKind.UNKNOWN),
        (NatReport(udp=False), NatKind.BLOCKED),
        (NatReport(nat=False), NatKind.NONE),
        (NatReport(nat=False, filtering=Filtering.ENDPOINT_INDEPENDENT), NatKind.NONE),
        (NatReport(nat=False, filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT), NatKind.FIREWALL),
        (NatReport(nat=True, mapping=EIM), NatKind.ENDPOINT_INDEPENDENT),
        (NatReport(mapping=EIM, filtering=Filtering.ENDPOINT_INDEPENDENT), NatKind.FULL_CONE),
        (NatReport(mapping=EIM, filtering=Filtering.ADDRESS_DEPENDENT), NatKind.ADDRESS_RESTRICTED),
        (NatReport(mapping=EIM, filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT), NatKind.PORT_RESTRICTED),
        (NatReport(mapping=ADM), NatKind.ADDRESS_DEPENDENT),
        (NatReport(mapping=APDM, filtering=Filtering.ENDPOINT_INDEPENDENT), NatKind.SYMMETRIC),
    ],
)
def test_a_nat_in_one_word(report: NatReport | None, kind: NatKind) -> None:
    assert nat_kind(report) is kind


def test_a_word_of_a_later_version_is_other() -> None:
    text = json.dumps({"path": "tunnel", "reason": "mood", "nat": "nat64", "remote_nat": "none", "more": 1})
    assert LinkOutcome.model_validate_json(text) == LinkOutcome(
        path=OutcomePath.OTHER, reason=OutcomeReason.OTHER, nat=NatKind.OTHER, remote_nat=NatKind.NONE
    )


@given(st.text(max_size=40) | st.integers() | st.none())
def test_no_word_of_a_sender_is_kept(word: str | int | None) -> None:
    try:
        outcome = LinkOutcome.model_validate_json(json.dumps({"path": word, "nat": word}))
    except ValidationError:
        assert not isinstance(word, str) or len(word) > 32
    else:
        assert outcome.path in OutcomePath
        assert outcome.nat in NatKind


def test_a_keep_alive_carries_a_bounded_number_and_comes_back_as_it_was() -> None:
    outcome = LinkOutcome(path=OutcomePath.RELAY, reason=OutcomeReason.NO_PATH, nat=NatKind.SYMMETRIC)
    message = KeepAlive(payload=KeepAlivePayload(outcomes=(outcome,) * OUTCOME_COUNT))
    assert len(encode(message)) < 2048
    assert KeepAlive.model_validate_json(encode(message)) == message
    with pytest.raises(ValidationError):
        KeepAlivePayload(outcomes=(outcome,) * (OUTCOME_COUNT + 1))
