"""The library: rows in, results out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from acytoo import AuthenticationError, Finish, InvalidReplyError, RequestError, Route, UsageError, provider
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.batch import Result, batch
from acytoo.testing import ScriptedResponse, reply, status
from tests.batch.upstream import Upstream


def at(upstream: Upstream) -> AsyncGeneratorProvider:
    return provider("compatible/m", url=upstream.url)


async def collected(*arguments: Any, **options: Any) -> dict[int | str, Result]:
    return {result.row.id: result async for result in batch(*arguments, **options)}


def text(result: Result) -> str:
    assert result.reply is not None
    return result.reply.text


async def test_rows_are_prompts_messages_or_columns() -> None:
    rows = ["a", {"prompt": "b", "id": "x"}, {"messages": [{"role": "user", "content": "c"}], "temperature": 0.5}]
    async with Upstream() as upstream:
        results = await collected(at(upstream), rows, system="Be brief.", seed=7)
        filled = await collected(at(upstream), [{"name": "Ada", "age": 36}], prompt="{{x}} {name}, {age}")
    assert {id: text(result) for id, result in results.items()} == {1: "re: a", "x": "re: b", 3: "re: c"}
    assert text(filled[1]) == "re: {x} Ada, 36"
    bodies = {request.json["messages"][-1]["content"]: request.json for request in upstream.requests}
    assert bodies["c"]["temperature"] == 0.5
    assert bodies["a"]["seed"] == bodies["c"]["seed"] == 7
    assert bodies["a"]["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_the_model_of_a_row_is_used_if_the_address_names_none() -> None:
    rows = [{"prompt": "a", "model": "own"}]
    async with Upstream() as upstream:
        assert text((await collected(at(upstream), rows))[1]) == "re: a"
        assert text((await collected(provider("compatible", url=upstream.url), rows))[1]) == "re: a"
    assert [request.json["model"] for request in upstream.requests] == ["m", "own"]


@pytest.mark.parametrize("is_route", [False, True])
async def test_an_option_that_is_wrong_for_every_row_is_raised_before_the_first(is_route: bool) -> None:
    async with Upstream() as upstream:
        model = Route(at(upstream)) if is_route else at(upstream)
        with pytest.raises(UsageError, match="invalid temperature 'hot': expected a number"):
            await collected(model, ["a"], temperature="hot")
    assert upstream.counts.total() == 0


async def test_an_error_is_the_result_of_its_row() -> None:
    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return status(422, "bad") if prompt == "b" else None

    async with Upstream(answer) as upstream:
        results = await collected(at(upstream), ["a", "b", {"no": "prompt"}, 5])
    assert {id: type(result.error) for id, result in results.items()} == {
        1: type(None),
        2: RequestError,
        3: UsageError,
        4: UsageError,
    }


async def test_a_value_that_is_null_is_an_empty_text_in_a_prompt() -> None:
    async with Upstream() as upstream:
        results = await collected(
            at(upstream), [{"title": None, "text": "a", "tags": [None]}], prompt="{title}{text}{tags}"
        )
    assert text(results[1]) == "re: a[null]"


async def test_a_missing_column_is_the_error_of_its_row() -> None:
    async with Upstream() as upstream:
        results = await collected(at(upstream), [{"text": "a"}, {"txt": "b"}], prompt="{text}")
    assert str(results[2].error) == "row 2: no column 'text': it has txt"


@pytest.mark.parametrize("prompt", ["{", "}", "{}", "{0:>9}", "{a!r}"])
async def test_an_invalid_template_is_a_usage_error(prompt: str) -> None:
    with pytest.raises(UsageError, match=r"invalid prompt .*write \{name\} for a column"):
        await collected("ollama/m", [], prompt=prompt)


async def test_a_wrong_key_is_raised() -> None:
    async with Upstream(lambda prompt, count: status(401)) as upstream:
        with pytest.raises(AuthenticationError):
            await collected(at(upstream), ["a", "b"])


async def test_rows_are_read_only_when_they_are_needed() -> None:
    read = 0

    def rows() -> Iterator[str]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield f"{number}"

    async with Upstream() as upstream:
        stream = batch(at(upstream), rows(), jobs=3)
        await anext(stream)
        await upstream.until(lambda: upstream.counts.total() >= 6)
        assert read <= 10
        await stream.aclose()
        assert upstream.counts.total() <= 10


async def test_rows_may_come_from_an_asynchronous_iterator() -> None:
    async def rows() -> AsyncIterator[str]:
        for number in range(20):
            yield f"{number}"

    async with Upstream() as upstream:
        results = await collected(at(upstream), rows(), jobs=4)
    assert sorted(text(result) for result in results.values()) == sorted(f"re: {number}" for number in range(20))


async def test_a_route_answers_with_its_next_target() -> None:
    async with Upstream(lambda prompt, count: status(404)) as first, Upstream() as second:
        results = await collected(Route(at(first), at(second)), ["a", "b"])
    assert {text(result) for result in results.values()} == {"re: a", "re: b"}


async def test_one_refusal_pauses_all_and_costs_no_attempt() -> None:
    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return status(429, retry_after=0.2) if count == 1 else None

    async with Upstream(answer) as upstream:
        results = await collected(at(upstream), [f"{number}" for number in range(6)], attempts=1)
    assert all(result.error is None for result in results.values())
    assert max(upstream.counts.values()) == 2


async def test_tool_calls_and_refusals_are_replies() -> None:
    from acytoo import Refusal, ToolCall

    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return reply(ToolCall(0, "a", "f", "{}"), Finish("tool_calls")) if prompt == "a" else reply(Refusal("no"))

    async with Upstream(answer) as upstream:
        results = await collected(at(upstream), ["a", "b"])
    first, second = results[1].reply, results[2].reply
    assert first is not None
    assert second is not None
    assert (first.tool_calls[0]["function"]["name"], second.refusal) == ("f", "no")


SCHEMA = {"title": "A person", "type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


async def test_replies_are_checked_against_a_schema_and_asked_for_again() -> None:
    pytest.importorskip("fastjsonschema", reason="needs fastjsonschema: pip install 'acytoo[schema]'")
    replies = ["not JSON", '{"age": "old"}', '{"age": 36}']

    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return (
            reply(replies[min(count, 3) - 1], Finish("stop")) if prompt == "a" else reply('{"age": []}', Finish("stop"))
        )

    async with Upstream(answer) as upstream:
        results = await collected(at(upstream), ["a", "b"], schema=SCHEMA, attempts=3)
    assert (results[1].data, results[1].attempts) == ({"age": 36}, 3)
    assert isinstance(results[2].error, InvalidReplyError)
    assert str(results[2].error) == "the reply does not match the schema: data.age must be integer"
    assert results[2].error.text == '{"age": []}'
    schema = upstream.requests[0].json["response_format"]["json_schema"]
    assert schema == {"name": "A_person", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "http://example.com/x.json"}, {"$ref": "/etc/passwd"}]
)
async def test_an_invalid_schema_is_a_usage_error(schema: dict[str, Any]) -> None:
    pytest.importorskip("fastjsonschema", reason="needs fastjsonschema: pip install 'acytoo[schema]'")
    with pytest.raises(UsageError, match="invalid schema: "):
        await collected("ollama/m", [], schema=schema)
