"""The conformance suite, complete, for our own providers."""

from __future__ import annotations

from acytoo import Acytoo
from acytoo.providers.anthropic import Anthropic
from acytoo.providers.gemini import Gemini
from acytoo.providers.ollama import Ollama
from acytoo.providers.openai import OpenAI, OpenAIResponses
from acytoo.testing import ProviderConformance


class TestAcytoo(ProviderConformance):
    provider = Acytoo
    crowd = 1000


class TestOpenAI(ProviderConformance):
    provider = OpenAI


class TestOpenAIResponses(ProviderConformance):
    provider = OpenAIResponses


class TestAnthropic(ProviderConformance):
    provider = Anthropic


class TestOllama(ProviderConformance):
    provider = Ollama


class TestGemini(ProviderConformance):
    provider = Gemini
