"""What gpt4free's clients expect of a class that is passed to them as `provider=`.

Source: g4f 8.8.6, `tools/run_tools.py` and `providers/base_provider.py`. Nothing else in Acytoo uses these names.
"""

from __future__ import annotations

from typing import Any, ClassVar

IGNORED_ARGUMENTS = frozenset({"provider", "stream", "ignore_stream", "conversation", "stream_timeout"})
"""Arguments of a call that gpt4free passes to every provider, and that mean nothing here."""


class ProviderMixin:
    """Attributes and methods that gpt4free's clients read, beyond those of the contract."""

    url: str
    label: ClassVar[str | None] = None
    """The name shown to users."""
    params: ClassVar[str] = ""
    live: ClassVar[int] = 0
    """A score that gpt4free raises after a success and lowers after an error."""
    use_stream_timeout: ClassVar[bool] = True
    supports_native_tools: ClassVar[bool] = True

    @classmethod
    def get_dict(cls) -> dict[str, Any]:
        """Return the class's name, URL and label."""
        return {"name": cls.__name__, "url": cls.url, "label": cls.label}

    @classmethod
    def get_parent(cls) -> str:
        """Return the class's name."""
        return cls.__name__
