"""Tests of the conformance package."""
