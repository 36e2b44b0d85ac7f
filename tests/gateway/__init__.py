"""Tests of acytoo.gateway."""
