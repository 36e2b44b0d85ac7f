"""Tests of the hostile requests."""
