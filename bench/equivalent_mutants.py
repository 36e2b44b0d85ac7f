"""Mutants that no test can notice, each with the reason."""

EQUIVALENT: dict[str, dict[str, str]] = {
    "secret.py _encoded": {
        "3 -> 4": "a fourth offset gives the form of the first one again",
        "8 -> 9": "the offsets are 0, 1 and 2: rounded up, both numbers give 0, 2 and 3",
        "6 -> 7": "the offsets are 0, 1 and 2: rounded up, both numbers give 0, 2 and 3",
    },
    "secret.py truncate": {"4 -> 5": "decodes a few more bytes, which are cut off"},
}
"""The reason for each `old -> new`, by `file function`."""
