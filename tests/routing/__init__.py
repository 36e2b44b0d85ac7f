"""Tests of acytoo.routing."""
