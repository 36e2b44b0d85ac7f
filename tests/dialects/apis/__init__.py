"""Tests of `acytoo.dialects.apis`."""
