"""The list of models of OpenAI and its imitators (source: OpenAI's API reference), for both of OpenAI's chat APIs."""

from __future__ import annotations

import msgspec

from acytoo.http import Endpoint, HTTPRequest, join_url, json_headers


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def models_request(endpoint: Endpoint, folder: str, key_header: str = "authorization") -> HTTPRequest:
    """Return a GET of `/models` in a folder below the endpoint's URL."""
    return HTTPRequest(join_url(endpoint.url, f"{folder}/models"), json_headers(endpoint.key, key_header), b"", "GET")


def read_models(body: bytes) -> list[str]:
    """Return each `id` of `data`. Together.ai sends the list without an object around it."""
    document = msgspec.json.decode(body, type=_Models | list[_Model])
    return [model.id for model in (document if isinstance(document, list) else document.data)]
