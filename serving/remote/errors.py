"""What can go wrong between the client and a server; both transports raise the same classes.

ServerError            of pipeline/errors.py; `code` is gRPC's name of the status, `said` the server's words
├── Unavailable        nothing answers there, or the server cannot take more now (UNAVAILABLE, HTTP 503)
├── DeadlineExceeded   no answer in time (DEADLINE_EXCEEDED, HTTP 504)
├── ModelNotFound      the server has no such model or version, or does not serve it now (NOT_FOUND, HTTP 404)
└── RequestRefused     what was sent does not fit the model (INVALID_ARGUMENT, FAILED_PRECONDITION, HTTP 400)
"""

from __future__ import annotations

from pipeline.errors import ServerError


class Unavailable(ServerError):
    """Nothing answers there, or the server cannot take more now."""


class DeadlineExceeded(ServerError):
    """No answer in time."""


class ModelNotFound(ServerError):
    """The server has no such model or version, or does not serve it now."""


class RequestRefused(ServerError):
    """What was sent does not fit the model."""


CLASSES: dict[str, type[ServerError]] = {
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": ModelNotFound,
    "INVALID_ARGUMENT": RequestRefused,
    "FAILED_PRECONDITION": RequestRefused,
    "OUT_OF_RANGE": RequestRefused,
}
REFUSED = "Compare names, types and shapes with what `metadata()` says of the model."
ADVICE = {
    "UNAVAILABLE": "Is the server running there, is the port right (gRPC 8500, REST 8501), is it overloaded?",
    "DEADLINE_EXCEEDED": "Allow more time (`timeout`), send smaller batches, or look at the server's load.",
    "NOT_FOUND": "Is the name that of the server's configuration, and has the version been loaded?",
    "INVALID_ARGUMENT": REFUSED,
    "FAILED_PRECONDITION": REFUSED,
    "OUT_OF_RANGE": REFUSED,
    "RESOURCE_EXHAUSTED": "The server, or something before it, limits size or rate: send less at once.",
    "UNAUTHENTICATED": "What stands before the server wants credentials: `headers`, or a client's certificate.",
    "PERMISSION_DENIED": "What stands before the server refuses these credentials.",
    "UNIMPLEMENTED": "The server does not know this call or type: is it TF Serving, or `convoy serve`?",
}
HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""What TF Serving's REST front makes of gRPC's codes, the other way round; any other is INTERNAL."""


def server_error(asked: str, code: str, said: str) -> ServerError:
    """The error for an answer that is none.

    Args:
        asked: what was asked of which server, such as `Predict of flowers at grpc://host:8500`.
        code: gRPC's name of the status.
        said: the server's own words.
    """
    kind = CLASSES.get(code, ServerError)
    said = said.strip()
    words = f": {said}" if said else ""
    return kind(
        f"{asked}: {code}{words}{'' if words.endswith('.') else '.'} {ADVICE.get(code, '')}".rstrip(), code, said
    )


def not_of_tf_serving(asked: str, what: str) -> ServerError:
    """The error for bytes that are no answer of TF Serving's.

    Args:
        asked: as `server_error`.
        what: is wrong with them, or the bytes themselves.
    """
    return server_error(asked, "UNKNOWN", f"this is not TF Serving's answer: {what}")


def code_of_http(status: int) -> str:
    """gRPC's name for an HTTP status."""
    return HTTP_CODES.get(status, "INTERNAL")
