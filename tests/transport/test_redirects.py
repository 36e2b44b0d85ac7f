"""A redirect never changes the method and never sends key or password to another origin."""

from __future__ import annotations

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import RedirectError
from acytoo.testing import FakeEndpoint, ReceivedRequest, ScriptedResponse, redirect, reply
from tests.helpers import failure, texts


@pytest.mark.parametrize("code", [307, 308])
async def test_a_redirect_that_keeps_the_method_is_followed_within_its_origin(code: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), redirect("/moved?x=1", code), reply("Hi")) as fake:
        assert await texts(Acytoo(fake.url, key="k1", password="p1")) == ["Hi"]
        first, second = fake.requests
        assert (second.method, second.target) == ("POST", "/moved?x=1")
        assert second.body == first.body
        assert second.json["key"] == "k1"


async def test_the_credentials_in_a_redirect_do_not_replace_the_callers() -> None:
    def elsewhere(request: ReceivedRequest) -> ScriptedResponse:
        return redirect(f"http://other:word@{request.headers['host']}/moved", 307)

    async with FakeEndpoint(dialects.Acytoo(), elsewhere, reply("Hi")) as fake:
        assert await texts(Acytoo(fake.url.replace("://", "://me:p@"))) == ["Hi"]
        assert fake.requests[1].target == "/moved"
        assert [request.headers["authorization"] for request in fake.requests] == ["Basic bWU6cA=="] * 2


@pytest.mark.parametrize("code", [301, 302, 303])
async def test_a_redirect_that_would_change_post_to_get_is_an_error(code: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), redirect("/moved", code), reply("a page")) as fake:
        error = await failure(Acytoo(fake.url))
        assert type(error) is RedirectError
        assert error.location == f"{fake.url}/moved"
        assert error.location in str(error)
        assert len(fake.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_origin_sends_nothing(code: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as other:
        async with FakeEndpoint(dialects.Acytoo(), redirect(f"{other.url}/x", code)) as fake:
            error = await failure(Acytoo(fake.url, key="sk-secret", password="hunter22"))
        assert type(error) is RedirectError
        assert error.location == f"{other.url}/x"
        assert "sk-secret" not in str(error)
        assert other.connections == 0


async def test_the_same_host_under_another_name_is_another_origin() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        fake.scripts = (redirect(f"http://localhost:{fake.port}/x"), reply("Hi"))
        assert type(await failure(Acytoo(fake.url))) is RedirectError
        assert len(fake.requests) == 1


async def test_https_to_http_is_another_origin() -> None:
    async with FakeEndpoint(dialects.Acytoo(), redirect("https://127.0.0.1/x")) as fake:
        assert type(await failure(Acytoo(fake.url))) is RedirectError


async def test_a_redirect_loop_ends() -> None:
    async with FakeEndpoint(dialects.Acytoo(), redirect("/again")) as fake:
        error = await failure(Acytoo(fake.url))
        assert type(error) is RedirectError
        assert "more than 5" in str(error)
        assert len(fake.requests) == 6


async def test_a_redirect_without_a_location_is_an_error_with_its_status() -> None:
    async with FakeEndpoint(dialects.Acytoo(), redirect("").header("location", "")) as fake:
        assert "307" in str(await failure(Acytoo(fake.url)))


@pytest.mark.parametrize("location", ["http://[nonsense", "ftp://127.0.0.1/", "//", "http://"])
async def test_an_invalid_location_is_an_error(location: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), redirect(location)) as fake:
        assert type(await failure(Acytoo(fake.url))) is RedirectError


@pytest.mark.parametrize("code", [303, 307])
async def test_the_query_of_a_location_is_not_shown(code: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), redirect("http://127.0.0.1:9/x?token=s3cret", code)) as fake:
        error = await failure(Acytoo(fake.url))
        assert isinstance(error, RedirectError)
        assert error.location == "http://127.0.0.1:9/x"
        assert "s3cret" not in str(error)


async def test_a_redirect_within_the_origin_may_be_relative_or_absolute_and_names_its_first_url_in_errors() -> None:
    def absolute(request: ReceivedRequest) -> ScriptedResponse:
        return redirect(f"http://{request.headers['host']}/two", 308)

    async with FakeEndpoint(dialects.Acytoo(), redirect("../one", 307), absolute, reply("Hi")) as fake:
        assert await texts(Acytoo(f"{fake.url}/base")) == ["Hi"]
        assert [each.target for each in fake.requests] == ["/base/api/completions", "/base/one", "/two"]
        assert fake.connections == 1
