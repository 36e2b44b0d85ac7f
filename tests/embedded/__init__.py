"""Tests of acytoo.embedded."""
