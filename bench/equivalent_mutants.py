"""Mutants that no test can notice, each with the reason."""

EQUIVALENT: dict[str, dict[str, str]] = {}
"""The reason for each `old -> new`, by `file function`."""
