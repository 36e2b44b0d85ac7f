"""Tests of `acytoo.dialects`."""
