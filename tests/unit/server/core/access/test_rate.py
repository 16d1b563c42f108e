"""core.access.rate with a clock of the test's."""

from __future__ import annotations

import pytest

from visavis_server.core.access.rate import RateLimiter, source_of


def allowed(limiter: RateLimiter, ip: str, now: float, tries: int) -> int:
    return sum(limiter.allow(ip, now) for _ in range(tries))


def test_a_burst_passes_and_then_the_rate() -> None:
    limiter = RateLimiter(rate=10, burst=50, capacity=100)
    assert allowed(limiter, "192.0.2.1", 0.0, 80) == 50
    assert allowed(limiter, "192.0.2.1", 1.0, 80) == 10
    assert allowed(limiter, "192.0.2.1", 1.05, 80) == 0
    assert allowed(limiter, "192.0.2.1", 1.1001, 80) == 1


def test_a_bucket_fills_up_to_the_burst_and_no_further() -> None:
    limiter = RateLimiter(rate=10, burst=50, capacity=100)
    allowed(limiter, "192.0.2.1", 0.0, 50)
    assert allowed(limiter, "192.0.2.1", 1000.0, 80) == 50


def test_sources_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(rate=1, burst=5, capacity=100)
    assert allowed(limiter, "192.0.2.1", 0.0, 9) == 5
    assert allowed(limiter, "192.0.2.2", 0.0, 9) == 5


def test_a_site_with_many_ipv6_addresses_has_one_bucket() -> None:
    limiter = RateLimiter(rate=1, burst=5, capacity=100)
    passed = sum(limiter.allow(f"2001:db8:1:2::{host:x}", 0.0) for host in range(100))
    assert passed == 5
    assert limiter.allow("2001:db8:1:3::1", 0.0)
    assert len(limiter) == 2


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "64:ff9b::192.0.2.1", True),
        ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", False),
    ],
)
def test_what_counts_as_one_source(a: str, b: str, same: bool) -> None:
    assert (source_of(a) == source_of(b)) is same


def test_the_table_is_bounded_and_forgets_who_was_silent_longest() -> None:
    limiter = RateLimiter(rate=1, burst=2, capacity=3)
    allowed(limiter, "192.0.2.0", 0.0, 2)
    for host in range(1, 4):
        limiter.allow(f"192.0.2.{host}", 0.0)
        assert len(limiter) <= 3
    assert limiter.allow("192.0.2.0", 0.0), "forgotten, and so with a full bucket"


def test_who_keeps_sending_is_not_pushed_out() -> None:
    limiter = RateLimiter(rate=10, burst=2, capacity=3)
    now = passed = 0.0
    for host in range(1000):
        now += 0.01
        passed += limiter.allow("192.0.2.1", now)
        limiter.allow(f"198.51.100.{host % 250}", now)
    assert passed <= 2 + 10 * now + 1
