"""The makers' own SDKs against our server."""
