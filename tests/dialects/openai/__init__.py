"""Tests of the openai codec."""
