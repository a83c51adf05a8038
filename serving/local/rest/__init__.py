"""The REST front of `convoy serve`.

A request is read by `protocol` and `application`, answered by `handler` in a thread: `routes` says what is asked,
`json_reader` and `requests` make TF Serving's protos of the body, the core works on them, `answers` writes JSON.
"""

from serving.local.rest.server import RestServer

__all__ = ["RestServer"]
