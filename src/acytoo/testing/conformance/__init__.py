"""The conformance suite: what a provider must survive, and what it must leave behind."""
