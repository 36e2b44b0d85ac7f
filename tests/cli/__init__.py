"""Tests of acytoo.cli."""
