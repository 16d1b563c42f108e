"""core.discovery: what STUN answers prove, and what they do not."""

from __future__ import annotations

import pytest

from visavis_peer.core.discovery import FilteringProbe, StunAnswer, filtering_of, mapping_of, nat_report
from visavis_shared.nat import Filtering, Mapping

FIRST, SECOND_PORT, SECOND_ADDRESS = ("11.0.0.1", 3478), ("11.0.0.1", 3479), ("11.0.0.2", 3478)
P1, P2, P3 = ("12.0.0.1", 1001), ("12.0.0.1", 1002), ("12.0.0.1", 1003)


def answers(*pairs: tuple[tuple[str, int], tuple[str, int]]) -> list[StunAnswer]:
    return [StunAnswer(server, mapped) for server, mapped in pairs]


@pytest.mark.parametrize(
    ("seen", "mapping"),
    [
        ([], None),
        ([(FIRST, P1)], None),
        ([(FIRST, P1), (SECOND_PORT, P1)], None),
        ([(FIRST, P1), (SECOND_PORT, P1), (SECOND_ADDRESS, P1)], Mapping.ENDPOINT_INDEPENDENT),
        ([(FIRST, P1), (SECOND_ADDRESS, P1)], Mapping.ENDPOINT_INDEPENDENT),
        ([(FIRST, P1), (SECOND_PORT, P1), (SECOND_ADDRESS, P2)], Mapping.ADDRESS_DEPENDENT),
        ([(FIRST, P1), (SECOND_PORT, P2), (SECOND_ADDRESS, P3)], Mapping.ADDRESS_AND_PORT_DEPENDENT),
        ([(FIRST, P1), (SECOND_PORT, P2)], Mapping.ADDRESS_AND_PORT_DEPENDENT),
        ([(FIRST, P1), (SECOND_ADDRESS, P2)], Mapping.ADDRESS_AND_PORT_DEPENDENT),
    ],
)
def test_mapping_is_what_the_answers_prove(
    seen: list[tuple[tuple[str, int], tuple[str, int]]], mapping: Mapping | None
) -> None:
    verdict, reason = mapping_of(answers(*seen))
    assert verdict is mapping
    assert reason


@pytest.mark.parametrize(
    ("probe", "filtering"),
    [
        (None, None),
        (FilteringProbe(other_address=True, other_port=None), Filtering.ENDPOINT_INDEPENDENT),
        (FilteringProbe(other_address=False, other_port=True), Filtering.ADDRESS_DEPENDENT),
        (FilteringProbe(other_address=False, other_port=False), Filtering.ADDRESS_AND_PORT_DEPENDENT),
        (FilteringProbe(other_address=False, other_port=None), None),
        (FilteringProbe(other_address=None, other_port=False), Filtering.ADDRESS_AND_PORT_DEPENDENT),
        (FilteringProbe(other_address=None, other_port=True), None),
        (FilteringProbe(other_address=None, other_port=None), None),
    ],
)
def test_filtering_is_what_the_probe_proves(probe: FilteringProbe | None, filtering: Filtering | None) -> None:
    verdict, reason = filtering_of(probe)
    assert verdict is filtering
    assert reason


def test_no_answer_means_blocked_only_once_every_server_had_its_time() -> None:
    assert nat_report(None, [], None, complete=False).udp is None
    assert nat_report(None, [], None, complete=True).udp is False


def test_a_report_says_what_is_known_and_why_the_rest_is_not() -> None:
    report = nat_report(("10.0.0.1", 1001), answers((FIRST, P1)), None, complete=True)
    assert (report.udp, report.nat, report.port_preserved) == (True, True, True)
    assert [note.split(":")[0] for note in report.notes] == ["mapping", "filtering"]


def test_a_host_without_nat_is_told_by_its_own_address() -> None:
    assert nat_report(P1, answers((FIRST, P1)), None, complete=True).nat is False
    assert nat_report(None, answers((FIRST, P1)), None, complete=True).nat is None


def test_a_full_survey_leaves_no_notes() -> None:
    probe = FilteringProbe(other_address=False, other_port=False)
    report = nat_report(P2, answers((FIRST, P1), (SECOND_PORT, P1), (SECOND_ADDRESS, P1)), probe, complete=True)
    assert (report.mapping, report.notes) == (Mapping.ENDPOINT_INDEPENDENT, ())
    assert report.port_preserved is False
