"""Clients of S3: botocore's for everything, and obstore's beside it for what is read whole, or from its end.

obstore reads a small object with a sixth of the processor time (0.16 ms; s3fs 0.96, botocore in threads 1.15, Arrow 0.68),
and one of 100 kB with a ninth of botocore's.
But it has no names for some keys that S3 allows, knows no AWS profiles and no `AWS_CA_BUNDLE`, and says what went wrong in
prose only. So credentials, endpoint and region are botocore's, and whatever obstore fails at is botocore's to try again.
"""

import random
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from re import fullmatch
from typing import Any, cast
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import ConnectionError, HTTPClientError, NoCredentialsError  # noqa: A004 - botocore's own

# Bounds how long an endpoint that cannot be reached blocks a job. The pauses between ten attempts are 67 to 111 seconds in all: a
# minute without S3 must not fail it.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 10, 20, 10
LONGEST_PAUSE = 20.0  # seconds
_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})

# obstore's own attempts, before botocore's: enough for a connection that was closed meanwhile.
_RETRIES = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
}
_CREDENTIALS_FOR = timedelta(minutes=5)  # botocore renews them ten minutes before they expire, if it is asked

# The host of S3 itself in any region or partition, dual stack and FIPS included; not a VPC endpoint's or another product's.
_AWS_HOST = r"s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?"
_BUCKET_AS_HOST = r"[a-z0-9][a-z0-9-]+[a-z0-9]"  # a dot in it would not match the certificate

_lock = threading.Lock()


@dataclass(frozen=True)
class Connection:
    """What a process has once: botocore's session, and its client of S3."""

    session: Any
    client: Any

    def credentials(self) -> dict[str, Any]:
        """Return credentials in obstore's terms.

        Raises:
            NoCredentialsError: there are none.
        """
        found = self.session.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_FOR,
        }


def connection() -> Connection:
    """Return this process's connection, made on first use."""
    with _lock:  # the threads that ask first would each make one
        return _connection()


@lru_cache(maxsize=1)
def _connection() -> Connection:
    session = botocore.session.get_session()
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=64,
    )
    client = session.create_client("s3", config=config)
    events = client.meta.events
    events.unregister(
        "needs-retry.s3", unique_id="retry-config-s3"
    )  # it would add "reached max retries: 0" to every error
    events.register_first("needs-retry.s3", _pause)
    return Connection(session, client)


def _pause(attempts: int, response: Any, caught_exception: Exception | None, **_: Any) -> float | None:
    """Return how many seconds to wait before another attempt at a request, or None for none; a handler of botocore's.

    In place of botocore's own retries, which all threads of a client share: after a hundred of them it makes none. The thirty-two
    threads of a worker have used those up within seconds.

    Args:
        attempts: how many were made.
        response: of S3, with what botocore reads from it; None if there is none.
        caught_exception: in place of a response.
    """
    if attempts >= ATTEMPTS or not _may_pass(response, caught_exception):
        return None
    return min(2.0 ** (attempts - 1), LONGEST_PAUSE) * random.uniform(0.6, 1)  # noqa: S311 - threads must not return together


def _may_pass(response: Any, error: Exception | None) -> bool:
    """Say whether another attempt can help: S3 cannot answer now, or the connection broke."""
    if response is None:
        return isinstance(error, ConnectionError | HTTPClientError)
    answer, parsed = response
    return answer.status_code in _PASSING_STATUS or parsed.get("Error", {}).get("Code") == "RequestTimeout"


def client() -> Any:
    """Return botocore's client of S3."""
    return connection().client


def bucket_store(bucket: str) -> Any:
    """Return obstore's store of a bucket, which goes where botocore's client goes."""
    with _lock:
        return _bucket_store(bucket)


@lru_cache(maxsize=16)
def _bucket_store(bucket: str) -> Any:
    from obstore.store import S3Store

    ours = _connection()
    endpoint = ours.client.meta.endpoint_url
    host = urlsplit(endpoint).netloc
    as_host = bool(fullmatch(_AWS_HOST, host) and fullmatch(_BUCKET_AS_HOST, bucket))
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=READ_SECONDS),
        "timeout": timedelta(minutes=10),  # of a whole request; an image may have 100 MB
        "allow_http": endpoint.startswith("http://"),
    }
    if authorities := ours.session.get_config_variable("ca_bundle"):  # AWS_CA_BUNDLE
        options["root_certificate"] = Path(authorities).read_bytes()
    return S3Store(
        bucket,
        endpoint=endpoint.replace(host, f"{bucket}.{host}") if as_host else endpoint,
        virtual_hosted_style_request=as_host,
        region=ours.client.meta.region_name or "us-east-1",
        client_options=cast("Any", options),
        retry_config=cast("Any", _RETRIES),
        credential_provider=cast("Any", ours.credentials),
    )


def forget() -> None:
    """Close nothing, but make new connections from now on: for tests, whose endpoint and credentials change."""
    _connection.cache_clear()
    _bucket_store.cache_clear()
