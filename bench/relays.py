"""Bare gateways over aiohttp.web and aiohttp, the baseline of ours: they only relay.

`cross` takes Anthropic's messages, calls OpenAI's chat completions, parses each event with orjson and writes
Anthropic's events; `through` copies OpenAI's bytes. Neither checks a password, enforces a timeout, detects a fault or
sends keep-alives.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import aiohttp
import orjson
from aiohttp import web

_SESSION = web.AppKey("session", aiohttp.ClientSession)
_UPSTREAM = web.AppKey("upstream", str)
_HEAD = {"content-type": "text/event-stream", "cache-control": "no-cache"}


def _event(event: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(event))


def _message(completion: dict[str, Any]) -> bytes:
    """Return a complete reply as Anthropic's document."""
    usage = completion["usage"]
    return orjson.dumps(
        {
            "id": completion["id"],
            "type": "message",
            "role": "assistant",
            "model": completion["model"],
            "content": [{"type": "text", "text": completion["choices"][0]["message"]["content"]}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
        }
    )


async def cross(request: web.Request) -> web.StreamResponse:
    """Translate Anthropic's messages to OpenAI's chat completions, and the reply back."""
    received = orjson.loads(await request.read())
    body: dict[str, Any] = {
        "model": received["model"],
        "messages": received["messages"],
        "max_tokens": received["max_tokens"],
    }
    is_stream = received.get("stream", False)
    if is_stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    url = request.app[_UPSTREAM] + "/v1/chat/completions"
    headers = {"content-type": "application/json", "authorization": "Bearer bench"}
    async with request.app[_SESSION].post(url, data=orjson.dumps(body), headers=headers) as upstream:
        if not is_stream:
            return web.Response(body=_message(orjson.loads(await upstream.read())), content_type="application/json")
        response = web.StreamResponse(headers=_HEAD)
        await response.prepare(request)
        buffer = b""
        opened = False
        usage = {"input_tokens": 0, "output_tokens": 0}
        async for chunk in upstream.content.iter_any():
            buffer += chunk
            *events, buffer = buffer.split(b"\n\n")
            out = []
            for event in events:
                data = event[6:]
                if data == b"[DONE]":
                    out.append(_event({"type": "content_block_stop", "index": 0}))
                    delta = {"stop_reason": "end_turn", "stop_sequence": None}
                    out.append(_event({"type": "message_delta", "delta": delta, "usage": usage}))
                    out.append(_event({"type": "message_stop"}))
                    continue
                completion = orjson.loads(data)
                if not opened:
                    opened = True
                    message = {
                        "id": completion["id"],
                        "type": "message",
                        "role": "assistant",
                        "model": completion["model"],
                        "content": [],
                        "stop_reason": None,
                        "stop_sequence": None,
                        "usage": usage,
                    }
                    out.append(_event({"type": "message_start", "message": message}))
                    block = {"type": "text", "text": ""}
                    out.append(_event({"type": "content_block_start", "index": 0, "content_block": block}))
                if completion.get("usage"):
                    usage["output_tokens"] = completion["usage"]["completion_tokens"]
                if completion["choices"] and (text := completion["choices"][0]["delta"].get("content")):
                    out.append(
                        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
                        b'"delta":{"type":"text_delta","text":%b}}\n\n' % orjson.dumps(text)
                    )
            if out:
                await response.write(b"".join(out))
        await response.write_eof()
        return response


async def through(request: web.Request) -> web.StreamResponse:
    """Copy OpenAI's chat completions."""
    body = await request.read()
    url = request.app[_UPSTREAM] + "/v1/chat/completions"
    headers = {"content-type": "application/json", "authorization": "Bearer bench"}
    async with request.app[_SESSION].post(url, data=body, headers=headers) as upstream:
        if upstream.content_type == "application/json":
            return web.Response(body=await upstream.read(), content_type="application/json")
        response = web.StreamResponse(headers=_HEAD)
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def serve(upstream: str) -> None:
    """Serve on a free port of the loopback, print the URL, run until terminated."""
    app = web.Application()
    app[_UPSTREAM] = upstream
    app.router.add_post("/v1/messages", cross)
    app.router.add_post("/v1/chat/completions", through)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app[_SESSION] = session
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    if arguments.uvloop:
        import uvloop

        uvloop.run(serve(arguments.upstream))
    else:
        asyncio.run(serve(arguments.upstream))


if __name__ == "__main__":
    main()
