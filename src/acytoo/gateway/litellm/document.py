"""A LiteLLM config file as a document from which settings are taken; those that are left in the end are reported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from acytoo.errors import MissingExtraError, UsageError
from acytoo.secret import split_url

_VARIABLE = re.compile(r"os\.environ/(.+)|\$\{(\w+)\}")
"""A variable of the environment: LiteLLM's form, and that of files that are filled in before it reads them."""


class Document:
    """The sections of a file, the list of what is left out, and the variables of secrets that are in clear."""

    def __init__(self, text: str, path: Path) -> None:
        """Parse a file. Raises UsageError."""
        self.path = path
        self.left_out: list[str] = []
        self._rest = _read_yaml(text, path)
        self.entries: list[Any] = self._rest.pop("model_list")
        self.litellm = self._section("litellm_settings")
        self.router = self._section("router_settings")
        self.general = self._section("general_settings")
        self.credentials = {
            entry["credential_name"]: as_dict(entry.get("credential_values"))
            for entry in take(self._rest, "credential_list", list) or ()
            if isinstance(entry, dict) and isinstance(entry.get("credential_name"), str)
        }
        self._variables: dict[str, str] = {}

    def shared(self, name: str, *types: type) -> Any:
        """Take a setting that may be in the section of the router or in LiteLLM's own."""
        return first(take(self.router, name, *types), take(self.litellm, name, *types))

    def reference(self, value: str, base: str, where: str, is_secret: bool) -> str:
        """Return a value as our file has it: never a secret in clear."""
        if variable := _VARIABLE.fullmatch(value):
            return f"env:{variable[1] or variable[2]}"
        if not is_secret:
            return value
        if value not in self._variables:
            name = base = re.sub(r"\W+", "_", base).upper()
            number = 1
            while name in self._variables.values():
                number += 1
                name = f"{base}_{number}"
            self._variables[value] = name
            self.leave_out(where, f"a secret in clear: put it into the environment variable {name}")
        return f"env:{self._variables[value]}"

    def leave_out(self, what: str, why: str = "") -> None:
        """Report a setting that has no equivalent, or something to do by hand."""
        self.left_out.append(f"{what}: {why}" if why else what)

    def leave_out_rest(self) -> None:
        """Report all that nobody has taken."""
        sections = {"litellm_settings": self.litellm, "router_settings": self.router, "general_settings": self.general}
        for section, rest in sections.items():
            for field in rest:
                self.leave_out(f"{section}.{field}")
        for name in take(self._rest, "environment_variables", dict) or ():
            self.leave_out(f"environment_variables.{name}", "set it in the environment of the server")
        for section in self._rest:
            self.leave_out(str(section))

    def _section(self, name: str) -> dict[str, Any]:
        return dict(take(self._rest, name, dict) or {})


def _read_yaml(text: str, path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("reading YAML", "gateway") from error
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise UsageError(f"{place}: not valid YAML: {getattr(error, 'problem', None) or 'it cannot be read'}") from None
    if not isinstance(document, dict) or not isinstance(document.get("model_list"), list):
        raise UsageError(f"{path}: not a config file of LiteLLM: it has no model_list")
    return dict(document)


def take(table: dict[str, Any], name: str, *types: type) -> Any:
    """Remove and return a value, or None. One of another type stays, and is reported in the end."""
    value = table.get(name)
    if value is None or (isinstance(value, types) and not (isinstance(value, bool) and bool not in types)):
        return table.pop(name, None)
    return None


def first(*values: Any) -> Any:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def as_dict(value: Any) -> dict[str, Any]:
    """Return a dict as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def has_password(url: str) -> bool:
    """Return whether a URL is one that may contain a secret."""
    parts = split_url(url)
    return parts is None or bool(parts.password or parts.query)


def is_name(name: str) -> bool:
    """Return whether an upstream may have a name."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII) is not None


def as_name(name: str) -> str:
    """Return the nearest name that a model may have."""
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", name).strip("-_.:") or "model"
