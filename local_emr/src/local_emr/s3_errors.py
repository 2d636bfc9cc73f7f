"""S3's errors as S3 words them: code, status and message."""

import secrets
from http.client import responses

from local_emr.http_server import StartResponse

# code -> status, message; as S3's documentation lists them ("Error responses").
S3_ERRORS = {
    "SlowDown": (503, "Please reduce your request rate."),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "NotImplemented": (501, "This is not emulated."),
    "AccessDenied": (403, "Access Denied"),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist in our records."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    ),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "ExpiredToken": (400, "The provided token has expired."),
    "InvalidToken": (400, "The provided token is malformed or otherwise invalid."),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout period.",
    ),
}


def code_of(status: int) -> str:
    """Return the code that S3 answers most often with this status."""
    usual = {503: "SlowDown", 500: "InternalError", 501: "NotImplemented", 403: "AccessDenied"}
    return usual.get(status, "InternalError")


def s3_error(
    start_response: StartResponse, method: str, status: int, code: str = "", message: str | None = None
) -> list[bytes]:
    """Answer a request with an error; that to a HEAD has no body, hence no code.

    Args:
        start_response: WSGI's.
        method: of the request.
        status: of the answer.
        code: S3's; empty: the usual one of that status.
        message: in place of S3's own.
    """
    code = code or code_of(status)
    usual = S3_ERRORS[code][1] if code in S3_ERRORS else "An error on demand."
    headers = [("Content-Type", "application/xml"), ("x-amz-request-id", secrets.token_hex(8).upper())]
    start_response(f"{status} {responses.get(status, 'Error')}", headers)
    text = (message or usual).replace("&", "&amp;").replace("<", "&lt;")
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message></Error>'
    return [] if method == "HEAD" else [body.encode()]
