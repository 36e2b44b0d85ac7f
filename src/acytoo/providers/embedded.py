"""The embedded model with everything that its engine supports: tools, structured output, usage."""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.providers.acytoo import Acytoo


class Embedded(AsyncGeneratorProvider):
    """The Acytoo provider's model, through the OpenAI dialect of the same embedded server."""

    url = Acytoo.url
    dialect = dialects.OpenAI()
    label = "the built-in model"
