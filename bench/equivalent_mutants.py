"""Mutants that no test can notice, each with the reason."""

EQUIVALENT: dict[str, dict[str, str]] = {
    "http1/request_parser.py RequestParser.__init__": {
        "b'' -> b'XXXX'": "`feed` sets it before it is read",
        "0 -> 1": "the first request line sets one back, and of the others only changes count",
    },
    "http1/request_parser.py RequestParser._check_sizes": {
        "self._size > MAX_TRAILERS -> self._size >= MAX_TRAILERS": "it is called only if something is larger",
    },
    "http1/request_parser.py RequestParser._require_http": {"b'' -> b'XXXX'": "precedes the bytes that are searched"},
    "http1/request_parser.py RequestParser.feed": {"b'' -> b'XXXX'": "`feed` sets it again before it is read"},
    "http1/request_parser.py RequestParser.on_header": {
        "size > _MAX_FIELD -> size >= _MAX_FIELD": "`_check_sizes` compares again",
    },
    "http1/response_parser.py ResponseParser.on_headers_complete": {
        "100 -> 101": "how much of a value an error shows",
    },
    "http1/request_parser.py RequestParser.on_headers_complete": {
        "length.isascii() and length.isdigit() -> length.isascii() or length.isdigit()": "llhttp refuses the rest",
        "'content-length' -> 'XXcontent-lengthXX'": "llhttp refuses what is not a number",
    },
    "http1/response_parser.py ResponseParser.on_message_begin": {
        "False -> True": "`feed` sets it to False after the error"
    },
    "http1/request_parser.py RequestParser.on_body": {"1 -> 2": "only whether the number changes counts"},
    "http1/request_parser.py RequestParser.on_url": {"1 -> 2": "only whether the number changes counts"},
    "http1/response_parser.py ResponseParser.start": {"False -> True": "`is_framed`: each head sets it"},
    "dialects/surrogates.py SurrogateJoiner.join": {
        "0 -> 1": "a key of its type, which only has to be the same each time"
    },
    "dialects/services.py is_host_of": {"'' -> 'XXXX'": "only a host XXXX would be equal, and hosts are in lower case"},
    "dialects/anthropic/writer.py reply_document": {"'' -> 'XXXX'": "neither is the name of this API"},
    "dialects/ollama/__init__.py Ollama._parsed": {"'' -> 'XXXX'": "of a message that is left out again"},
    "dialects/ollama/request.py loading_reason": {"'0.' -> 'XX0.XX'": "no duration has an X"},
    "dialects/ollama/writer.py StreamWriter.end": {"1 -> 2": "a nanosecond instead of none, by which clients divide"},
    "dialects/gemini/__init__.py _in_path": {"'/:@' -> 'XX/:@XX'": "letters are never escaped"},
    "dialects/gemini/__init__.py _routes": {
        "'/models/{model:.+}:' -> 'XX/models/{model:.+}:XX'": "called only by the import, before there is a mutant",
    },
    "dialects/openai/batches.py OpenAIBatches.upload": {"16 -> 17": "bytes of a random boundary"},
    "dialects/openai/own_fields.py OwnFields.add_details": {
        "'' -> 'XXXX'": "the name of a field that no block has",
    },
    "dialects/openai/reader.py StreamReader._significant": {"1 -> 2": "one record more than necessary is read"},
    "dialects/openai/reader.py StreamReader.scan": {
        "0 -> 1": "the chunk begins with `data: `: nothing is found at its beginning",
        "chunk.find(b'\"error\"') < 0 -> chunk.find(b'\"error\"') <= 0": "the chunk begins with `data: `",
        "chunk.find(b'\"\"') < 0 -> chunk.find(b'\"\"') <= 0": "the chunk begins with `data: `",
        "chunk.find(b'\\r') < 0 -> chunk.find(b'\\r') <= 0": "the chunk begins with `data: `",
        "chunk.rfind(b'\"finish_reason\":null') >= 0 -> chunk.rfind(b'\"finish_reason\":null') > 0": (
            "the chunk begins with `data: `"
        ),
    },
    "dialects/openai/reader.py _possible_ends": {"0 -> 1": "a record begins with a bracket"},
    "dialects/openai/reader.py _has_text": {
        'b\'"content":"\' in record and b\'"content":""\' not in record -> None': (
            "all records of the first chunk are read, of which only some are necessary"
        ),
    },
    "dialects/openai/reader.py _only": {"'Only' -> 'XXOnlyXX'": "the name of a type, which nobody sees"},
    "dialects/openai_responses/reader.py StreamReader._leave_place": {"1 -> 2": "`-1`: any number below 0"},
    "dialects/openai_responses/reader.py _OutputItem.__init__": {"1 -> 2": "`-1`: any number below 0"},
    "dialects/openai/request.py encode_request": {"True -> False": "`strict`: both have the same length"},
    "secret.py _encoded": {
        "3 -> 4": "a fourth offset gives the form of the first one again",
        "8 -> 9": "the offsets are 0, 1 and 2: rounded up, both numbers give 0, 2 and 3",
        "6 -> 7": "the offsets are 0, 1 and 2: rounded up, both numbers give 0, 2 and 3",
    },
    "secret.py truncate": {"4 -> 5": "decodes a few more bytes, which are cut off"},
    "server/auth.py address_of": {"'-' -> 'XX-XX'": "only for a client that has left"},
    "server/connection.py ServerConnection.__init__": {"1 -> 2": "`_discarded`: any number below 0"},
    "server/connection.py ServerConnection.abort": {
        "self._leave() -> None": "the event loop calls `connection_lost`, which does it, in its next step",
    },
    "server/connection.py ServerConnection.drop_body": {"0 -> 1": "one byte more is kept, if it is the first"},
    "server/connection.py ServerConnection.buffer_updated": {
        "self._unasked > _MAX_AHEAD -> self._unasked >= _MAX_AHEAD": "`_limit_reading` compares again",
    },
    "server/connection.py ServerConnection._linger": {
        "0 -> 1": "a byte less is discarded at most",
        "transport is None or transport.is_closing() -> transport is None and transport.is_closing()": (
            "what is closing already has no sending side left, and is aborted once more"
        ),
    },
    "server/connection.py ServerConnection._report": {
        "'1.1' -> 'XX1.1XX'": "it counts only for connections that are kept"
    },
    "server/connection.py ServerConnection.connection_made": {
        "'1.1' -> 'XX1.1XX'": "it counts only for connections that are kept",
    },
    "server/listener.py Listener._wait": {"0 -> 1": "what `accept` raises has a number"},
    "server/hangup.py has_hung_up": {"0 -> 1": "waits a millisecond"},
    "server/listener.py bind": {
        "asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False, "
        "reuse_port=reuse_port or None) -> no start_serving=False": "only until the next line",
        "False -> True": "`start_serving`: only until the next line",
    },
    "server/listener.py Listener.listen": {
        "False -> True": "`start_serving`: only until the end of the same step of the event loop",
    },
    "server/relay.py _Stream.run": {
        "await response.drain() -> None": "that after forwarding: the next batch is written first, and waits then",
    },
    "server/request.py IncomingRequest.__init__": {
        "False -> True": "`can_continue`: whatever ends a stream too early closes the connection",
    },
    "server/response.py StreamedResponse._with_head": {
        "self._first.clear() -> None": "takes memory only: it is not sent again",
    },
    "server/notify.py notify": {"'' -> 'XXXX'": "neither is the name of a socket"},
    "server/worker.py SupervisorConnection._on_readable": {
        "4096 -> 4097": "reads a byte more at once",
        "b'' -> b'XXXX'": "after an error the end is read next",
    },
    "transport/address.py address_of": {"'' -> 'XXXX'": "every URL that was checked has a host"},
    "transport/connect.py _connect_socks": {
        "1080 -> 1081": "the URL of a proxy has a port",
        "'' -> 'XXXX'": "the URL of a proxy has a host",
    },
    "transport/connect.py _to_proxy": {
        "0 -> 1": "the URL of a proxy has a port",
        "'' -> 'XXXX'": "the URL of a proxy has a host",
    },
    "transport/connection.py HTTPConnection.send": {
        "len(body) <= _MAX_SENT_WITH_HEAD -> len(body) < _MAX_SENT_WITH_HEAD": "the same bytes in two calls",
    },
    "transport/connection.py HTTPConnection.enforce": {
        "due < self._timer_at -> due <= self._timer_at": "sets the same timer again",
    },
    "transport/connection.py HTTPConnection.fail": {
        "self._wake() -> None": "the event loop calls `connection_lost`, which does it, in its next step",
    },
    "transport/connection.py HTTPConnection._end": {
        "'the connection has ended' -> 'XXthe connection has endedXX'": "of a complete response: it reports none",
    },
    "transport/timeouts.py Deadlines.__init__": {
        "'connect' -> 'XXconnectXX'": "sets what `start_connecting` or `start_sending` sets before it is read",
    },
    "transport/timeouts.py Deadlines.content_received": {
        "'idle' -> 'XXidleXX'": "sets the same phase and limit again with each content",
    },
    "wire/compression.py _zstd": {
        "3 -> 4": "reached by Python 3.14 only",
        "(lambda: module.ZstdDecompressor(options=options), module.ZstdError) -> None": "reached by Python 3.14 only",
    },
    "wire/text.py TextDecoder.__init__": {"'a' -> 'XXaXX'": "any text that can be encoded"},
    "wire/sse.py SSEDecoder.feed": {
        "1 -> 2": "leaves out the fast path; the general one returns the same",
        "2 -> 3": "leaves out the fast path; the general one returns the same",
        "0 -> 1": "an empty event at the beginning is buffered, and skipped with the next one",
        "True -> False": "leaves out the fast path for the first event; `_complete` sets it too",
    },
    "wire/limits.py json_excess": {
        "len(body) <= max_elements -> len(body) < max_elements": "the exact count decides then",
    },
    "wire/limits.py _bounds_of": {
        "len(piece) - colons -> len(piece) + colons": "a higher bound: the exact count decides more often",
    },
    "wire/limits.py json_excess_of": {
        "counts.fields + bound.fields <= MAX_NAMES -> counts.fields + bound.fields < MAX_NAMES": (
            "the exact count decides then"
        ),
        "counts.elements + bound.elements <= max_elements -> counts.elements + bound.elements < max_elements": (
            "the exact count decides then"
        ),
    },
    "wire/limits.py _excess_of": {
        "b'' -> b'XXXX'": "letters count for nothing",
        "b'\\x01' -> b'XX\\x01XX'": "only whether names are different counts",
    },
    "wire/sse.py SSEDecoder._complete": {"1 -> 2": "searches a byte again"},
    "wire/sse.py _records": {
        "b'' -> b'XXXX'": "only line ends are looked for",
        "b'data: ' -> b'XXdata: XX'": "leaves out the fast path; the general one returns the same",
    },
    "wire/sse.py _data_of": {
        "event.find(b'\\n') < 0 -> event.find(b'\\n') <= 0": "it begins with `event:`, so not with a line end",
        "b'event:' -> b'XXevent:XX'": "leaves out the fast path; the general one returns the same",
        "6 -> 7": "leaves out the fast path; the general one returns the same",
    },
}
"""The reason for each `old -> new`, by `file function`."""
