"""The order of addresses: preference, checks, ejection."""

from __future__ import annotations

from gateway.config.upstream import EjectionConfig, HealthCheckConfig
from gateway.config.values import Address
from gateway.http.addresses import AddressBook

A, B, C = (Address("192.0.2.1", port) for port in (1, 2, 3))
CHECK = HealthCheckConfig()


def make(*addresses: Address) -> AddressBook:
    return AddressBook(addresses or (A, B, C), EjectionConfig())


def check(book: AddressBook, address: Address, times: int, *, passed: bool) -> list[bool]:
    return [book.checked(address, CHECK, passed=passed) for _ in range(times)]


def test_the_first_is_used() -> None:
    assert make().in_order(0) == [A, B, C]


def test_three_failed_checks_put_an_address_last_and_two_passed_bring_it_back() -> None:
    book = make()
    assert check(book, A, 3, passed=False) == [False, False, True]
    assert book.in_order(0) == [B, C, A]
    assert check(book, A, 2, passed=True) == [False, True]
    assert book.in_order(0) == [A, B, C]


def test_checks_count_in_a_row() -> None:
    book = make()
    for _ in range(5):
        check(book, A, 2, passed=False)
        check(book, A, 1, passed=True)
    assert book.in_order(0) == [A, B, C]


def test_when_all_are_down_they_are_tried_all_the_same() -> None:
    book = make()
    for address in (A, B, C):
        check(book, address, 3, passed=False)
    assert book.in_order(0) == [A, B, C]


def test_failing_requests_eject_for_a_while() -> None:
    book = make()
    assert [book.failed(A, 10.0) for _ in range(5)] == [False] * 4 + [True]
    assert book.in_order(39.9) == [B, C, A]
    assert book.in_order(40.0) == [A, B, C]


def test_a_success_in_between_starts_anew() -> None:
    book = make()
    for _ in range(4):
        assert not book.failed(A, 0)
        book.succeeded(A)
    assert book.in_order(0) == [A, B, C]


def test_an_ejected_address_comes_before_one_that_is_down() -> None:
    book = make()
    check(book, A, 3, passed=False)
    for _ in range(5):
        book.failed(B, 0)
    assert book.in_order(0) == [C, B, A]


def test_a_check_that_brings_an_address_up_ends_its_ejection() -> None:
    book = make()
    check(book, A, 3, passed=False)
    for _ in range(5):
        book.failed(A, 0)
    check(book, A, 2, passed=True)
    assert book.in_order(0)[0] == A


def test_the_only_address_is_never_ejected() -> None:
    book = make(A)
    assert not any(book.failed(A, 0) for _ in range(20))


def test_new_answers_of_a_name_server_keep_the_order_and_the_state() -> None:
    book = make(A, B)
    for _ in range(5):
        book.failed(B, 0)
    book.replace([C, B, A, C])
    assert book.addresses == (A, B, C)
    assert book.in_order(0) == [A, C, B]
    book.replace([C])
    assert [*book.addresses] == [C]
    book.succeeded(A)  # an address that is no more is no error
    assert not book.failed(A, 0)
    assert not book.checked(A, CHECK, passed=False)


def test_the_one_that_worked_may_be_put_first() -> None:
    book = make()
    book.prefer(C)
    assert book.addresses == (C, A, B)
