"""Tests of the acytoo codec."""
