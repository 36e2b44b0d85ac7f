"""Tests of `acytoo.wire`."""
