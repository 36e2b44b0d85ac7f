"""The server's password: which ones can be used, and what wrong ones cost."""

from __future__ import annotations

import pytest

from acytoo import Acytoo
from acytoo.errors import UsageError
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.testing import reply
from tests.server.live_server import call, head, live_server, request

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
