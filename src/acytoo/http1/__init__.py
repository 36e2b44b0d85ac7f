"""HTTP/1.1 without I/O: parsers that are fed bytes, and heads as bytes. Used by the client and by the server.

The parser is llhttp, through `httptools`: strict, fast, and the one that Node uses. What it leaves to its user is here:
limits, what ends a body, and which messages may not follow another on a connection.
"""
