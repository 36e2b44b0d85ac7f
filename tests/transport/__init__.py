"""Tests of the transport, over real sockets."""
