"""The version: the only module that has it."""

__version__ = "0.1.0.dev0"
