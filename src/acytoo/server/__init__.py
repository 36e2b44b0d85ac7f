"""The server: every dialect on the paths its clients use, over any provider."""
