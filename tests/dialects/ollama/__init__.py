"""Tests of the ollama codec."""
