"""The providers and responses that the tests of routes share."""

from __future__ import annotations

from acytoo import Finish, dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.testing import reply, status

OPENAI = dialects.OpenAI()
ONE = reply("one ", "reply", Finish("stop"))
TWO = reply("two ", "replies", Finish("stop"))
THREE = reply("three ", "replies", Finish("stop"))
OVERLOADED = status(503, "overloaded")


class Plain(AsyncGeneratorProvider):
    """A provider without anything of its own."""

    dialect = OPENAI
