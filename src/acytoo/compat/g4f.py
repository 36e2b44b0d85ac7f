"""What gpt4free's clients expect of a class that is passed to them as `provider=`.

Source: g4f 8.8.6, `tools/run_tools.py` and `providers/base_provider.py`. Nothing else in Acytoo uses these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

_IGNORED_ARGUMENTS = frozenset({"provider", "stream", "ignore_stream", "conversation", "stream_timeout"})
_NO_OP_ARGUMENTS = frozenset({"media", "images", "image", "image_name", "web_search", "download_media", "raw"})
_JSON_REPLY = {"type": "json"}
"""The `response_format` of gpt4free's tool emulation, whose prompt asks for JSON too. No API has this type."""


def is_ignored(name: str, value: object) -> bool:
    """Return whether an argument of a call is one that gpt4free passes to every provider and that asks for nothing."""
    if name == "response_format":
        return value == _JSON_REPLY
    return name in _IGNORED_ARGUMENTS or (name in _NO_OP_ARGUMENTS and not value)


class ProviderMixin:
    """Attributes and methods that gpt4free's clients read, beyond those of the contract."""

    url: str
    label: ClassVar[str | None] = None
    """The name shown to users."""
    params: ClassVar[str] = ""
    live: ClassVar[int] = 0
    """A score that gpt4free raises after a success and lowers after an error."""
    use_stream_timeout: ClassVar[bool] = True
    supports_native_tools: ClassVar[bool] = False
    """Whether text methods return tool calls. They cannot, so gpt4free emulates tools by prompt and text."""
    model_aliases: ClassVar[dict[str, str]] = {}
    """Other names of models, by which gpt4free chooses among its providers. Not used here."""

    if not TYPE_CHECKING:  # type checkers would take it for the `__name__` of the class, which Python finds first

        @property
        def __name__(self):
            """The class's name, which gpt4free reads from instances too."""
            return type(self).__name__

    @classmethod
    def get_dict(cls) -> dict[str, Any]:
        """Return the class's name, URL and label."""
        return {"name": cls.__name__, "url": cls.url, "label": cls.label}

    @classmethod
    def get_parent(cls) -> str:
        """Return the class's name."""
        return cls.__name__
