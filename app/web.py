"""The routes: the page, the lookup, the example images, the server's health."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from app.follower import Follower
from app.limits import RateLimit
from app.lookup import Answer, BusyError, Lookup
from app.messages import message
from app.settings import Settings
from app.storage import StorageError
from spark_jobs.extraction.rejects import Reason, Rejected

PAGES = Path(__file__).with_name("pages")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
        reason: a code.
        retry_seconds: when to come again, where that may help.
    """

    def __init__(self, status: int, reason: str, text: str, retry_seconds: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.retry_seconds = retry_seconds


def create_app(settings: Settings, follower: Follower) -> FastAPI:
    """Return the application; `follower` looks for results while it runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()

    app = FastAPI(title="Which fruit is this?", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_with_headers)
    app.add_exception_handler(RefusedError, _refusal)
    _add_page(app)
    _add_lookup(app, settings, follower)
    _add_examples(app, follower)

    @app.get("/health")
    def health() -> JSONResponse:
        """Say what is served, and whether newer results could not be taken over."""
        current = follower.current
        served = {"run": current.published.run, "images": len(current.published.paths)} if current else {}
        return JSONResponse({**served, "problem": follower.problem}, 200 if current else 503)

    return app


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response


def _refusal(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    headers = {} if error.retry_seconds is None else {"Retry-After": str(math.ceil(error.retry_seconds))}
    return JSONResponse({"reason": error.reason, "message": str(error)}, error.status, headers)


def _add_page(app: FastAPI) -> None:
    files = {"/": "index.html", "/app.js": "app.js", "/style.css": "style.css", "/icon.svg": "icon.svg"}
    for route, name in files.items():
        app.get(route)(_sender(PAGES / name))


def _sender(file: Path) -> Callable[[], FileResponse]:
    """Return a route without parameters: FastAPI would take a default argument for one of the query."""
    return lambda: FileResponse(file, headers={"Cache-Control": "no-cache"})


def _add_lookup(app: FastAPI, settings: Settings, follower: Follower) -> None:
    limit = RateLimit(settings.per_minute)

    @app.post("/lookup")
    async def lookup(request: Request) -> dict[str, Any]:
        """Answer the photograph that is the request's body."""
        wait = limit.wait_seconds(request.client.host if request.client else "")
        if wait:
            raise RefusedError(429, "too_many", f"Too many photographs: try again in {math.ceil(wait)} s.", wait)
        content = await _body(request, settings)
        return await run_in_threadpool(_answer, content, follower, settings)


async def _body(request: Request, settings: Settings) -> bytes:
    """Read a body, and no more of it than is allowed."""
    too_large = RefusedError(
        413, Reason.TOO_LARGE, f"The file is too large: at most {settings.max_bytes // 1_000_000} MB are taken."
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > settings.max_bytes:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(settings.upload_seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > settings.max_bytes:
                    raise too_large
    except TimeoutError:
        raise RefusedError(408, "too_slow", "The photograph did not arrive in time: try again.") from None
    return bytes(content)


def _current(follower: Follower) -> Lookup:
    if follower.current is None:
        why = follower.problem or "the published results are being loaded"
        raise RefusedError(503, "not_ready", f"There is nothing to compare with yet: {why}.", 5)
    return follower.current


def _answer(content: bytes, follower: Follower, settings: Settings) -> dict[str, Any]:
    current = _current(follower)
    started = time.perf_counter()
    try:
        answer = current.answer(content, settings)
    except Rejected as error:
        raise RefusedError(422, error.reason, message(error.reason)) from None
    except BusyError:
        raise RefusedError(503, "busy", "Too many photographs at once: try again in a few seconds.", 5) from None
    except MemoryError:
        raise RefusedError(503, "busy", "The server is out of memory: try a smaller image.", 5) from None
    return _document(current, answer) | {"milliseconds": round((time.perf_counter() - started) * 1000)}


def _document(current: Lookup, answer: Answer) -> dict[str, Any]:
    published = current.published
    candidates = [
        {
            "variety": published.names[match.variety],
            "similarity": round(match.similarity, 4),
            "examples": [f"examples/{published.version}/{row}" for row in match.rows],
        }
        for match in answer.matches
    ]
    return {"run": published.run, "sure": answer.sure, "candidates": candidates}


def _add_examples(app: FastAPI, follower: Follower) -> None:
    @lru_cache(maxsize=2000)  # of 10 kB each
    def picture(version: str, row: int) -> bytes:
        content = follower.image(version, row)
        return _current(follower).picture(content)

    @app.get("/examples/{version}/{row}")
    def example(version: str, row: int) -> Response:
        """Return a small picture of a published image."""
        try:
            content = picture(version, row)
        except (FileNotFoundError, Rejected):
            raise RefusedError(404, "not_found", "There is no such picture any more.") from None
        except (BusyError, MemoryError):
            raise RefusedError(503, "busy", "Too many pictures at once: try again in a few seconds.", 5) from None
        except StorageError as error:
            log.warning("%s", error)
            raise RefusedError(502, "storage", "The picture cannot be read at the moment.") from None
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "max-age=86400, immutable"})
