"""Tests of everything, laid out like `src/acytoo`."""
