"""core.access.buckets with a clock of the test's."""

from __future__ import annotations

import pytest

from visavis_server.core.access.buckets import PATIENCE, Bucket, Buckets, counted_source
from visavis_server.core.access.causes import Cause

UNLIMITED = 0


def passed(buckets: Buckets, bucket: Bucket, now: float, tries: int, source: str = "s") -> int:
    return sum(buckets.admit(bucket, source, now) is None for _ in range(tries))


def test_a_connection_has_a_burst_and_a_rate() -> None:
    buckets = Buckets(5, UNLIMITED, UNLIMITED)
    bucket = Bucket()
    assert passed(buckets, bucket, 100.0, 80) == 50
    assert passed(buckets, bucket, 101.0, 80) == 5
    assert passed(buckets, Bucket(), 101.0, 80) == 50, "another one is not affected"
    assert buckets.refusals == {Cause.CONNECTION_RATE: 135}


def test_connections_of_an_address_share_its_bucket() -> None:
    buckets = Buckets(UNLIMITED, 5, UNLIMITED)
    assert sum(passed(buckets, Bucket(), 100.0, 10) for _ in range(8)) == 50
    assert passed(buckets, Bucket(), 100.0, 10, "other") == 10
    assert passed(buckets, Bucket(), 100.0, 1000, "") == 1000, "this host itself is not counted"
    assert buckets.refusals == {Cause.ADDRESS_RATE: 30}


def test_a_sender_has_a_bucket_for_each_target() -> None:
    buckets = Buckets(UNLIMITED, UNLIMITED, 1)
    refused = [buckets.admit_directed("a", "b", 100.0) for _ in range(12)]
    assert refused == [None] * 10 + [Cause.PAIR_RATE] * 2
    assert buckets.admit_directed("a", "c", 100.0) is None
    assert buckets.admit_directed("b", "a", 100.0) is None


def test_a_rate_of_0_is_unlimited() -> None:
    buckets = Buckets(UNLIMITED, UNLIMITED, UNLIMITED)
    bucket = Bucket()
    assert passed(buckets, bucket, 0.0, 10_000) == 10_000
    assert all(buckets.admit_directed("a", "b", 0.0) is None for _ in range(10_000))
    assert buckets.is_patient(bucket, 0.0)


def test_a_flood_of_refusals_is_told_once_a_second() -> None:
    buckets = Buckets()
    bucket = Bucket()
    assert [buckets.is_told(bucket, now) for now in (5.0, 5.5, 5.99, 6.0, 6.1)] == [True, False, False, True, False]


def test_who_goes_on_is_closed_and_who_stays_near_its_rate_is_not() -> None:
    buckets = Buckets(5, UNLIMITED, UNLIMITED)
    flooding, busy = Bucket(), Bucket()
    assert [buckets.is_patient(flooding, 100.0) for _ in range(51)] == [True] * round(5 * PATIENCE) + [False]
    assert all(buckets.is_patient(busy, 100.0 + step / 5) for step in range(1000))


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("127.0.0.1", ""),
        ("127.9.9.9", ""),
        ("::1", ""),
        ("", ""),
        ("192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80000000000000/64"),
    ],
)
def test_this_host_is_not_counted(ip: str, expected: str) -> None:
    assert counted_source(ip) == expected
