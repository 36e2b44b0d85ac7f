"""Tests of the documentation: its links, its site, and what it claims."""
