"""Tests of the script package."""
