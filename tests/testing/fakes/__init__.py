"""Tests of the fakes package."""
