"""Tests of the dialect of the Acytoo protocol."""
