"""Numbers of the absent: whose they are, how long, and how many of them count."""

from __future__ import annotations

from gateway.runtime.expected import RESERVED, Expected

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def drawn(*sites: str, now: float = 0.0) -> Expected:
    expected = Expected()
    for number, site in enumerate(sites):
        expected.add(number, site, now)
    return expected


def test_the_oldest_of_a_site_is_taken() -> None:
    expected = drawn(A, B, A)
    assert (expected.count, expected.held_by(A), expected.held_by(C)) == (3, 2, 0)
    assert [expected.claim(site, 1.0) for site in (A, C, A, A)] == [0, None, 2, None]
    assert (expected.count, expected.held_by(A)) == (1, 0)
    assert [expected.claim_any(1.0) for _ in range(2)] == [1, None]
    assert expected.count == 0


def test_a_number_is_kept_for_a_while() -> None:
    expected = drawn(A)
    expected.forget(RESERVED - 0.1)
    assert expected.count == expected.held_by(A) == 1
    expected.forget(RESERVED)
    assert expected.count == expected.held_by(A) == 0
    assert expected.claim(A, RESERVED) is None


def test_who_let_numbers_expire_is_not_expected_again_that_often() -> None:
    expected = drawn(*[A] * 10)
    assert expected.count == 10
    now = RESERVED
    expected.forget(now)
    for number in range(10, 32):
        expected.add(number, A, now)
    assert (expected.count, expected.held_by(A)) == (2, 22)
    # Who comes pays back, and is there.
    for _ in range(5):
        expected.claim(A, now)
    assert (expected.count, expected.held_by(A)) == (2, 17)
    # Others are not blamed.
    expected.claim(B, now)
    expected.add(50, B, now)
    assert expected.count == 3


def test_a_debt_fades() -> None:
    expected = drawn(*[A] * 100)
    expected.forget(RESERVED)
    for number in range(100, 104):
        expected.add(number, A, 300.0)
    assert expected.count == 3  # a hundred and fiftieth is left of it
    expected.add(104, A, 600.0)
    assert expected.count == 5


def test_the_unknown_are_like_one_address() -> None:
    """Each of them comes from elsewhere, and never again."""
    expected = drawn(*(f"198.51.100.{i}" for i in range(20)))
    expected.forget(RESERVED)
    for i in range(50):
        expected.add(100 + i, f"203.0.113.{i}", RESERVED)
    assert expected.count == 10
    for i in range(50):
        assert expected.claim(f"203.0.113.{i}", RESERVED) == 100 + i
    assert expected.count == 0
    for i in range(30):
        expected.add(200 + i, f"192.0.2.{i}", RESERVED)
    assert expected.count == 30  # those who came have made up for it


def test_who_comes_has_paid_for_some_that_do_not() -> None:
    expected = drawn(*[A] * 25)
    for _ in range(20):
        expected.claim(A, 1.0)
    expected.forget(RESERVED)  # five have not come
    expected.add(30, A, RESERVED)
    assert expected.count == 1


def test_a_number_that_another_takes_is_nobodys_debt() -> None:
    expected = drawn(A)
    expected.claim_any(1.0)
    expected.add(1, A, 2.0)
    assert expected.count == 1


def test_what_is_remembered_is_bounded() -> None:
    expected = Expected()
    for number in range(20_000):
        expected.add(number, f"2001:db8:0:{number:x}::/64", number / 10_000)
    assert len(expected._absent) == len(expected._by_site) == 4096
    expected.forget(100.0)
    assert expected.count == 0
    assert len(expected._accounts) <= 2048
    assert expected._by_site == {}
    assert expected._unknown.absent == 0
    assert all(account.absent == 0 for account in expected._accounts.values())
