"""Which backend answers a request: by the name of the model that a client asks for."""

from __future__ import annotations

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.fields import invalid
from acytoo.routing.route import Route
from acytoo.server.config import Backends


def split_model(backends: Backends, model: str) -> tuple[str, str]:
    """Return the name of the backend that a model name selects, and the model's name there ("" for its default model).

    `NAME` and `NAME/MODEL` select the backend of that name. Any other name goes to the default backend unchanged.
    """
    name, _, rest = model.partition("/")
    return (name, rest) if name in backends else (next(iter(backends)), model)


def select_backend(backends: Backends, model: str) -> tuple[AsyncGeneratorProvider, str]:
    """Return the backend that a model name selects, and the model to request from it.

    Raises RequestError (400) if the backend needs a model and none is named.
    """
    name, backend_model = split_model(backends, model)
    backend = backends[name]
    backend_model = backend_model or backend.model
    if not backend_model and isinstance(backend, Route):
        backend_model = backend.first_model
    if backend.needs_model and not backend_model:
        raise invalid(f"the backend {name!r} has no default model: ask for {name}/MODEL")
    return backend, backend_model


def model_names(backends: Backends) -> list[str]:
    """Return the names that clients can ask for, one for each backend that has a default model or needs no model.

    The default backend's model is listed without a prefix unless that name would select another backend.
    """
    names = []
    default = next(iter(backends))
    for name, backend in backends.items():
        if backend.model:
            plain = name == default and split_model(backends, backend.model) == (name, backend.model)
            names.append(backend.model if plain else f"{name}/{backend.model}")
        elif not backend.needs_model:
            names.append(name)
    return names
