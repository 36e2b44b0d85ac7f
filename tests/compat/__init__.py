"""Tests of what other projects expect of a provider class."""
