"""The server's password: which ones can be used, and what wrong ones cost."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from acytoo import Acytoo, dialects
from acytoo.dialects import Dialect
from acytoo.errors import AuthenticationError, UsageError
from acytoo.secret import Secret
from acytoo.server.auth import (
    BURST,
    MAX_ADDRESSES,
    MAX_WAITING,
    Failures,
    WrongPasswordError,
    address_of,
    is_among,
)
from acytoo.server.config import ServerConfig
from acytoo.server.request import IncomingRequest
from acytoo.server.run import start
from acytoo.testing import reply
from tests.server.live_server import call, head, live_server, read_response, request

UNUSABLE = {
    "blanks": "   ",
    "a blank at its start": " sesame",
    "a blank at its end": "sesame\u00a0",
    "a line end": "sesame\nopen",
    "a line end at its end": "sesame\n",
    "a NUL": "ses\0ame",
    "a control character": "sesame\x85open",
    "a lone surrogate": "sesame\udcff",
}


@pytest.mark.parametrize("password", UNUSABLE.values(), ids=UNUSABLE)
def test_a_password_that_no_header_can_carry_is_refused_at_the_start(password: str) -> None:
    with pytest.raises(UsageError, match=r"the password .*: (use|remove)") as caught:
        ServerConfig({"backend": Acytoo("http://127.0.0.1:9")}, Secret(password))
    assert password.strip() == "" or password.strip() not in str(caught.value)


@pytest.mark.parametrize("password", ["sesame", "open sesame", "sésame", "\u0416", "a" * 1000, '"{}\\\\', "?"])
async def test_any_other_password_works_in_a_header(password: str) -> None:
    async with live_server(reply("ok"), password=password) as server:
        for header in ("authorization: Bearer ", "x-api-key: "):
            data = head("GET /v1/models HTTP/1.1", f"{header}SECRET\r\n").replace(b"SECRET", password.encode())
            assert (await call(server.port, data)).status == 200


async def test_bytes_that_are_not_utf_8_are_never_the_password() -> None:
    async with live_server(reply("ok"), password="sesame?") as server:
        data = head("GET /v1/models HTTP/1.1", "x-api-key: sesame\xff\r\n")
        assert (await call(server.port, data)).status == 401
        body = b'{"messages": [{"role": "user", "content": "Hi"}], "password": "sesame\\ud800"}'
        assert (await call(server.port, request("acytoo", body=body))).status in (400, 401)


# Guessing


def guess(password: str) -> bytes:
    return head("GET /v1/models HTTP/1.1", f"x-api-key: {password}\r\n")


def in_body(password: str) -> bytes:
    body = '{"messages": [{"role": "user", "content": "Hi"}], "password": "PASSWORD"}'.replace("PASSWORD", password)
    return request("acytoo", body=body.encode())


@pytest.mark.parametrize("attempt", [guess, in_body])
async def test_who_presents_many_wrong_passwords_waits_and_locks_nobody_out(attempt: Callable[[str], bytes]) -> None:
    async with live_server(reply("ok"), password="sesame") as server:
        answers = await asyncio.gather(*[call(server.port, attempt(f"wrong{n}")) for n in range(2 * BURST)])
        assert {answer.status for answer in answers} == {401}
        guesses = [call(server.port, attempt(f"salami{number}")) for number in range(MAX_WAITING + 20)]
        answers = await asyncio.gather(*guesses)
        assert Counter(answer.status for answer in answers) == {401: MAX_WAITING, 429: 20}
        assert {answer.headers["retry-after"] for answer in answers if answer.status == 429} == {"1"}
        for right in (guess("sesame"), in_body("sesame")):
            assert (await call(server.port, right)).status == 200
        assert (await call(server.port, head("GET /healthz HTTP/1.1"))).status == 200
        assert (await call(server.port, head("GET /v1/models HTTP/1.1"))).status == 401


async def test_a_request_with_the_right_password_waits_with_the_guesses() -> None:
    # If it did not, every guess could be compared at once: whoever gets no answer at once has guessed wrong.
    async with live_server(reply("ok"), password="sesame") as server:
        await asyncio.gather(*[call(server.port, guess(f"wrong{number}")) for number in range(2 * BURST)])
        right = asyncio.create_task(call(server.port, guess("sesame")))
        limited = [asyncio.create_task(call(server.port, guess("salami"))) for _ in range(MAX_WAITING + 1)]
        done, _ = await asyncio.wait([right, *limited], return_when=asyncio.FIRST_COMPLETED)
        assert right not in done
        assert [task.result().status for task in done] == [429] * len(done)
        for presented, code in (("", 200), ("x-api-key: salami\r\n", 429)):
            assert (await call(server.port, head("GET /healthz HTTP/1.1", presented))).status == code
        assert (await right).status == 200
        await asyncio.gather(*limited)


async def test_wrong_passwords_are_logged_once_a_minute_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    async with live_server(reply("ok"), password="sesame") as server:
        for attempt in (guess("sesamf"), in_body("sesamf"), guess("sesamf")):
            await call(server.port, attempt)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("acytoo.server", logging.WARNING)
    assert record.getMessage() == "1 wrong password from 127.0.0.1"


@pytest.mark.parametrize(("host", "counted"), [("::1", "::/64"), ("127.0.0.1", "127.0.0.1")])
async def test_an_ipv6_network_counts_as_one_address_and_an_ipv4_address_as_itself(
    host: str, counted: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("the system has no IPv6")
    sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    config = ServerConfig({"backend": Acytoo("http://127.0.0.1:9")}, Secret("sesame"))
    server, _ = await start(config, sockets=[sock])
    reader, writer = await asyncio.open_connection(host, sock.getsockname()[1])
    writer.write(guess("salami"))
    assert (await read_response(reader)).status == 401
    writer.close()
    await server.close()
    assert [record.getMessage() for record in caplog.records] == [f"1 wrong password from {counted}"]


@pytest.mark.parametrize("attempt", [guess, in_body])
async def test_a_client_that_repeats_a_wrong_password_does_not_hold_up_the_others_of_its_address(
    attempt: Callable[[str], bytes],
) -> None:
    async with live_server(reply("ok"), password="sesame") as server:
        for _ in range(2):
            repeated = [call(server.port, attempt("revoked")) for _ in range(2 * (BURST + MAX_WAITING))]
            assert {answer.status for answer in await asyncio.gather(*repeated)} == {401}
        right = [call(server.port, attempt("sesame")) for _ in range(MAX_WAITING + 1)]
        assert {answer.status for answer in await asyncio.gather(*right)} == {200}


async def test_a_request_without_a_password_is_not_a_guess(caplog: pytest.LogCaptureFixture) -> None:
    async with live_server(reply("ok"), password="sesame") as server:
        for _ in range(2 * BURST):
            assert (await call(server.port, head("GET /v1/models HTTP/1.1"))).status == 401
    assert not caplog.records


def test_wrong_passwords_are_forgotten_one_in_a_second() -> None:
    failures = Failures()
    assert [failures.add("a", number, 0.0) for number in range(BURST)] == [1, *[0] * (BURST - 1)]
    assert failures.exceed_limit("a", 0.0)
    assert not failures.exceed_limit("a", 1.5)
    assert not failures.exceed_limit("b", 0.0)
    assert failures.add("a", -1, 60.0) == BURST
    assert not failures.exceed_limit("a", 130.0)
    assert not failures.addresses


def test_the_memory_for_wrong_passwords_is_limited() -> None:
    failures = Failures()
    for number in range(2 * MAX_ADDRESSES):
        failures.add(str(number), number, 0.0)
        failures.add("always", number, 0.0)
    assert len(failures.addresses) == MAX_ADDRESSES
    assert failures.exceed_limit("always", 0.0)


def test_wrong_passwords_are_reported_with_those_since_the_last_report() -> None:
    failures = Failures()
    assert [failures.add("a", 0, now) for now in (0.0, 1.0, 59.9, 60.0, 60.1, 119.9, 120.0)] == [1, 0, 0, 3, 0, 0, 3]
    assert failures.add("b", 0, 60.0) == 1


def test_at_most_a_minute_of_wrong_passwords_is_counted() -> None:
    failures = Failures()
    for number in range(1000):
        failures.add("a", number, 0.0)
    assert failures.exceed_limit("a", 60 - BURST + 0.5)
    assert not failures.exceed_limit("a", 60 - BURST + 1.5)
    assert failures.addresses
    assert not failures.exceed_limit("a", 60.0)
    assert not failures.addresses


def test_the_ninth_wrong_password_is_within_the_limit_and_the_tenth_is_not() -> None:
    failures = Failures()
    seen = []
    for number in range(BURST + 1):
        failures.add("a", number, 5.0)
        seen.append(failures.exceed_limit("a", 5.0))
    assert seen == [False] * (BURST - 1) + [True, True]


def test_an_address_that_must_still_be_reported_is_not_forgotten() -> None:
    failures = Failures()
    failures.add("a", 0, 0.0)
    assert not failures.exceed_limit("a", 59.0)
    assert failures.addresses
    assert failures.add("a", 1, 59.5) == 0
    assert not failures.exceed_limit("a", 60.0)
    assert failures.add("a", 2, 60.0) == 2


def test_of_the_last_twenty_wrong_passwords_none_counts_again() -> None:
    failures = Failures()
    for number in range(20):
        failures.add("a", number, 0.0)
    for number in range(20):
        failures.add("a", number, 15.0)
    assert not failures.exceed_limit("a", 15.0)
    for number in (20, 0, 1, 2, 3):  # each drops the one that it repeats next
        failures.add("a", number, 15.0)
    assert failures.exceed_limit("a", 15.0)


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        (("127.0.0.1", 5), "127.0.0.1"),
        (("::1", 5, 0, 0), "::/64"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
        (None, "-"),
    ],
    ids=range(6),
)
def test_requests_count_for_the_network_of_their_address(peer: Any, counted: str) -> None:
    asked: list[str] = []

    class Transport:
        def get_extra_info(self, name: str) -> Any:
            asked.append(name)
            return peer

    class Connection:
        address = ""
        transport: Any = Transport()

    request = IncomingRequest(Connection(), "GET", "/", "1.1", {}, True)  # type: ignore[arg-type]
    assert [address_of(request), address_of(request)] == [counted] * 2
    assert asked == ["peername"]


@pytest.mark.parametrize(
    ("expected", "presented", "found"),
    [
        ("a", ["a"], True),
        ("a", ["b", "a"], True),
        ("a", ["A"], False),
        ("a", ["ab"], False),
        ("ab", ["a"], False),
        ("a", [], False),
        ("", [""], False),
        ("\u0416", ["\u0416"], True),
        ("?", ["\ud800"], False),
    ],
)
def test_a_secret_is_among_others_only_if_it_is_equal(expected: str, presented: list[str], found: bool) -> None:
    assert is_among(Secret(expected), [Secret(each) for each in presented]) is found


# Before everything else


ANYWHERE = [
    ("GET /nowhere", ""),
    ("POST /nowhere", "content-length: 0\r\n"),
    ("DELETE /v1/models", ""),
    ("PUT {path}", ""),
]
ON_A_PATH = [
    ("POST {path}", f"content-length: 9{more}\r\n")
    for more in ("", "99999999", "\r\nexpect: a-miracle", "\r\ncontent-encoding: mystery")
]


@pytest.mark.parametrize(
    ("dialect", "first", "more"),
    [
        pytest.param(dialect, first, more, id=f"{dialect.name} {first} {more.strip()}")
        for dialect in dialects.ALL
        for first, more in (*ANYWHERE, *(ON_A_PATH if dialect.can_pass_through else ()))
    ],
)
async def test_without_the_password_in_the_head_every_answer_is_401(dialect: Dialect, first: str, more: str) -> None:
    path = request(dialect).split()[1].decode()
    async with live_server(reply("ok"), password="sesame") as server:
        for presented in ("", "x-api-key: salami\r\n"):
            answer = await call(server.port, head(f"{first.format(path=path)} HTTP/1.1", more + presented))
            assert answer.status == 401


def test_the_error_for_a_wrong_password_knows_the_guess_and_not_the_password() -> None:
    missing, wrong = WrongPasswordError([]), WrongPasswordError([Secret("salami")])
    for error in (missing, wrong):
        assert (error.status, error.code) == (401, "authentication_error")
        assert error.message == "the password or key is missing or wrong"
    assert missing.guess is None
    assert wrong.guess == WrongPasswordError([Secret("salami")]).guess
    assert len({WrongPasswordError([Secret(each) for each in guess]).guess for guess in ("a", "b", "ab")}) == 3


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_a_wrong_password_is_an_error_of_authentication_for_every_client(dialect: Dialect) -> None:
    async with live_server(reply("ok"), password="sesame") as server:
        answer = await call(server.port, request(dialect, headers="x-api-key: salami\r\n"))
        error = dialect.read_error(answer.status, answer.body)
        assert type(error) is AuthenticationError
        assert error.message == "the password or key is missing or wrong"
        assert answer.body == dialect.write_error(WrongPasswordError([])).body
