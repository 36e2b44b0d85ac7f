"""Hostile requests for a server: broken HTTP, malformed bodies, wrong passwords, clients that stop half way.

The tests of the server use the same tables as `python -m acytoo.testing server URL`, which tries them on a deployment.
"""
