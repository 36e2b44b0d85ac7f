"""Tests of acytoo.server."""
