"""core.discovery: what STUN answers prove, and what they do not."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from visavis_peer.core.nat.allocation import PortSample
from visavis_peer.core.nat.observations import (
    NOBODY_ASKED,
    FilteringProbe,
    StunAnswer,
    Survey,
    filtering_of,
    lifetime_of,
    mapping_of,
    nat_count_of,
    nat_report,
    poisonable_of,
)
from visavis_shared.nat import Allocation, Filtering, Mapping, NatReport

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


def test_where_nobody_was_asked_nothing_is_known() -> None:
    report = nat_report(None, [], None, complete=True, asked=False)
    assert report.udp is None
    assert report.notes == (NOBODY_ASKED,)


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


SURVEYED = answers((FIRST, P1), (SECOND_PORT, P1), (SECOND_ADDRESS, P1))
STRICT = FilteringProbe(other_address=False, other_port=False, mapped=P1, mapped_after=P1)


def surveyed(seen: list[StunAnswer], survey: Survey, local: tuple[str, int] = ("10.0.0.1", 60001)) -> NatReport:
    return nat_report(local, seen, STRICT, complete=True, survey=survey)


def made(ports: Sequence[int]) -> list[PortSample]:
    return [PortSample(60001 + index, port, index * 0.02) for index, port in enumerate(ports)]


def test_without_a_survey_nothing_is_said_of_what_only_a_survey_tells() -> None:
    report = nat_report(("10.0.0.1", 1001), SURVEYED, STRICT, complete=True)
    assert report.allocation is None
    assert report.notes == ()


def test_a_survey_that_found_nothing_gives_a_reason_for_each_unknown() -> None:
    report = surveyed(SURVEYED, Survey())
    assert [note.split(":")[0] for note in report.notes] == [
        "allocation",
        "hairpinning",
        "lifetime",
        "number of NATs",
    ]


def test_where_there_is_no_nat_no_reason_is_given_for_what_only_a_nat_has() -> None:
    report = surveyed(SURVEYED, Survey(), local=P1)
    assert report.nat is False
    assert report.notes == ()


def test_a_full_report_travels() -> None:
    survey = Survey(
        samples=made([20000, 20001, 20003, 20004]),
        hairpin=False,
        silences=[(10.0, True), (30.0, False)],
        gateway_external="12.0.0.1",
        probing=True,
    )
    report = surveyed(SURVEYED, survey)
    assert report.notes == ()
    assert (report.allocation, report.allocation_step, report.last_port) == (Allocation.SEQUENTIAL, 1, 20004)
    assert report.foreign_rate == pytest.approx(1 / 0.06)
    assert (report.hairpinning, report.lifetime_s, report.nat_count) == (False, 10.0, 1)
    assert (report.poisonable, report.probing) == (False, True)
    assert NatReport.model_validate_json(report.model_dump_json()) == report


def test_a_block_is_reported_with_its_edges() -> None:
    ports = random.Random(1).sample(range(40000, 42048), 16)
    report = surveyed(SURVEYED, Survey(samples=made(ports)))
    assert report.allocation is Allocation.BLOCK
    assert report.port_block is not None
    assert report.port_block[0] <= min(ports) < max(ports) <= report.port_block[1]


def test_without_an_answer_the_users_word_on_probing_still_travels() -> None:
    report = nat_report(None, [], None, complete=True, survey=Survey(probing=False))
    assert (report.udp, report.probing) == (False, False)


@pytest.mark.parametrize(
    ("silences", "lifetime", "words"),
    [
        (None, None, "not measured"),
        ([], None, "RESPONSE-PORT"),
        ([(10.0, True)], 10.0, "longest silence"),
        ([(10.0, True), (30.0, True), (60.0, False)], 30.0, "longest silence"),
        ([(10.0, True), (30.0, False), (60.0, True)], 10.0, "longest silence"),
        ([(10.0, False), (30.0, True)], None, "below 10 s"),
    ],
    ids=["none", "in vain", "one", "a cliff", "contradiction", "shorter than any"],
)
def test_a_lifetime_is_what_no_shorter_silence_disproves(
    silences: list[tuple[float, bool]] | None, lifetime: float | None, words: str
) -> None:
    value, reason = lifetime_of(Survey(silences=silences))
    assert value == lifetime
    assert words in reason


@pytest.mark.parametrize(
    ("local", "gateway_external", "count"),
    [
        (P1, None, 0),
        (("10.0.0.1", 1), "12.0.0.1", 1),
        (("10.0.0.1", 1), "100.64.0.9", 2),
        (("10.0.0.1", 1), None, None),
        (None, None, None),
    ],
)
def test_nats_are_counted_where_they_show(
    local: tuple[str, int] | None, gateway_external: str | None, count: int | None
) -> None:
    value, reason = nat_count_of(local, P1, gateway_external)
    assert value == count
    assert reason


SAME = [(FIRST, P1), (SECOND_PORT, P1)]


@pytest.mark.parametrize(
    ("seen", "probe", "poisonable"),
    [
        (SAME, FilteringProbe(False, False, P1, P2), True),
        (SAME, FilteringProbe(False, False, P1, P1), False),
        (SAME, FilteringProbe(None, False, P1, P2), True),
        (SAME, FilteringProbe(True, True), False),
        (SAME, FilteringProbe(None, True), False),
        (SAME, FilteringProbe(False, False, P1, None), None),
        (SAME, None, None),
        ([(FIRST, P1), (SECOND_PORT, P2)], FilteringProbe(False, False, P1, P2), None),
        ([(FIRST, P1)], FilteringProbe(False, False, P1, P2), None),
    ],
    ids=[
        "poisoned",
        "not poisoned",
        "by another port",
        "let in",
        "port let in",
        "no answer after",
        "nobody sends first",
        "dependent anyway",
        "nothing to compare",
    ],
)
def test_poisoning_is_a_mapping_that_changed_towards_who_sent_first(
    seen: list[tuple[tuple[str, int], tuple[str, int]]], probe: FilteringProbe | None, poisonable: bool | None
) -> None:
    value, reason = poisonable_of(answers(*seen), probe)
    assert value is poisonable
    assert reason


def test_what_is_still_being_measured_says_so() -> None:
    report = nat_report(("10.0.0.1", 1001), answers((FIRST, P1)), None, complete=False, probed=False)
    assert report.notes == ("mapping: not measured yet", "filtering: not measured yet")
