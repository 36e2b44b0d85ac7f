"""The HTTP server: every dialect on the paths that its clients use, over any provider."""
