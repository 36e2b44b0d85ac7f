"""Tests of the dialect of Anthropic's API."""
