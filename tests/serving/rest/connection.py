"""One connection of HTTP, written and read byte by byte."""

from __future__ import annotations

import json
import socket
from typing import Any

PREDICT = "/v1/models/id_float32:predict"
BODY = b'{"instances": [1.0, 2.5]}'
HEAD = b"POST /v1/models/id_float32:predict HTTP/1.1\r\nHost: x\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def replies(sock: socket.socket, count: int | None = None) -> list[tuple[int, bytes]]:
    """Statuses and bodies of answers with a Content-Length, `count` of them or all until the end."""
    file, found = sock.makefile("rb"), []
    while count is None or len(found) < count:
        line = file.readline()
        if not line:
            break
        headers = {}
        while (header := file.readline().strip()) != b"":
            name, _, value = header.partition(b": ")
            headers[name.lower()] = value
        if not line.startswith(b"HTTP/1.1 100"):
            found.append((int(line.split()[1]), file.read(int(headers[b"content-length"]))))
    return found


def predictions(reply: tuple[int, bytes]) -> Any:
    assert reply[0] == 200, reply
    return json.loads(reply[1])["predictions"]
