"""DNS and TCP: does the name exist, and does every address answer?

Owns: the first link of the path. Must not know: what is spoken on it.
"""

from __future__ import annotations

import socket

import trio

from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.client import CONNECT_TIMEOUT, Address, address_of, os_words
from gateway.doctor.findings import Finding, error, warning

# More answers than this are not tried.
_MOST = 16


async def check_addresses(case: Case) -> list[Finding]:
    """Look the name up and connect to each of its addresses, all at once."""
    host, port = address_of(case.question)
    try:
        with trio.fail_after(CONNECT_TIMEOUT * 2):
            answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError, trio.TooSlowError) as problem:
        return [_unknown(case, host, problem)]
    addresses = list(dict.fromkeys((str(each[4][0]), int(each[4][1])) for each in answers))[:_MOST]
    results: dict[Address, str | None] = {}
    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(_try, address, results)
    working = [each for each in addresses if results[each] is None]
    # Java tries IPv4 first, and so do we for all that follows.
    working.sort(key=lambda each: ":" in each[0])
    seen = [f"{_show(each)}: {results[each] or 'connected'}" for each in addresses]
    if not working:
        case.note("; ".join(seen))
        return [_nobody(case, seen, list(results.values()))]
    case.address, case.addresses = working[0], working
    case.note(", ".join(_show(each) for each in working))
    # A machine without IPv6 is nothing unusual, and agents take IPv4 where there is both.
    bad = [each for each in addresses if results[each] is not None and ":" not in each[0]]
    return [_partly(len(addresses), seen)] if bad else []


async def _try(address: Address, results: dict[Address, str | None]) -> None:
    results[address] = "no answer"
    with trio.move_on_after(CONNECT_TIMEOUT):
        try:
            stream = await trio.open_tcp_stream(*address)
        except OSError as problem:
            results[address] = os_words(problem)
        else:
            stream.socket.close()
            results[address] = None


def _unknown(case: Case, host: str, problem: Exception) -> Finding:
    why = "the name servers did not answer"
    if isinstance(problem, socket.gaierror):
        why = problem.strerror or "the name is not known"
    case.note(why.lower())
    return error(
        Cause.NAME_UNKNOWN,
        f"the name {host} leads nowhere from this machine",
        seen=f"{host}: {why}",
        meaning="An agent that uses this resolver does not get as far as a connection.",
        remedy=f"Mend the name in -url, or add {host} to DNS as this machine sees it.",
    )


def _nobody(case: Case, seen: list[str], reasons: list[str | None]) -> Finding:
    _, port = address_of(case.question)
    if "connection refused" in reasons:
        return error(
            Cause.CONNECTION_REFUSED,
            f"nothing listens on port {port}",
            seen=seen,
            meaning="The machine is there and says no: the proxy is not running, or listens on"
            " another port or address.",
            remedy=f"Start the proxy or gateway, or mend the port in -url. On the machine:"
            f" ss -ltnp | grep :{port}",
        )
    return error(
        Cause.CONNECTION_TIMEOUT,
        f"no way through to port {port}",
        seen=seen,
        meaning="Packets are dropped: a firewall or security group, or the machine is down.",
        remedy=f"Allow TCP port {port} from this machine in the firewall or security group.",
    )


def _partly(count: int, seen: list[str]) -> Finding:
    return warning(
        Cause.ADDRESS_DOWN,
        f"not all of the {count} addresses answer",
        seen=seen,
        meaning="An agent that picks the bad one waits and tries again: now and then it takes long"
        " to connect.",
        remedy="Take the address that does not answer out of DNS, or mend the machine behind it.",
    )


def _show(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
