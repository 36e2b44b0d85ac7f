"""The embedded model with all that its engine can do: tools, structured output, usage."""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.providers.acytoo import Acytoo


class Embedded(AsyncGeneratorProvider):
    """The model of the Acytoo provider, through the OpenAI dialect of the same embedded server."""

    url = Acytoo.url
    dialect = dialects.OpenAI()
    label = "the built-in model"
