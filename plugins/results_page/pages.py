"""The pages: server-side HTML without scripts, every route for people who may see the DAG's runs."""

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from results_page.images import image_keys, read_image
from results_page.reading import DAG_ID, NotFoundError, Results, ResultsError, run_name

PER_PAGE = 25
HERE = Path(__file__).parent

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; frame-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# The report comes from a bucket. `sandbox` gives it an origin of its own: its scripts draw, and reach neither Airflow's cookie
# nor any network.
REPORT_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts allow-downloads"
    )
}

Open = Callable[[str | None], Results]
Records = Callable[[Collection[str]], Mapping[str, Mapping[str, Any]]]

may_see_runs = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID)


def create_app(open_results: Open, records: Records, forget: Callable[[], None] = lambda: None) -> FastAPI:
    """Return the application.

    Args:
        open_results: gives the results that belong to a run_id, or with None those of the default bucket; raises ResultsError.
        records: gives what Airflow knows of these runs, by their names: `seconds`, `cost_usd`,
            `cost_usd_per_1000`, `estimate`.
        forget: called when S3 gives no answer, so that `open_results` asks for a new client.
    """
    # A mounted application inherits nothing of Airflow's: without this every route would be open to everybody.
    app = FastAPI(dependencies=[Depends(may_see_runs)], docs_url=None, redoc_url=None, openapi_url=None)
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"duration": duration, "usd": usd, "usd_exactly": usd_exactly, "segment": segment}

    def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(templates.get_template(name).render(values), status, HEADERS)

    @app.exception_handler(ResultsError)
    def failed(request: Request, error: Exception) -> HTMLResponse:
        status = 404 if isinstance(error, NotFoundError) else 502
        if status == 502:
            forget()
        up = "../" * (request.scope["path"].removeprefix(request.scope.get("root_path", "")).count("/") - 1)
        return page("error.html", status, message=str(error), top=up or "./")

    @app.get("/style.css")
    def style() -> Response:
        return Response((HERE / "style.css").read_text(encoding="utf-8"), media_type="text/css", headers=HEADERS)

    _add_runs(app, page, open_results, records)
    _add_images(app, page, open_results)
    return app


def _add_runs(app: FastAPI, page: Callable[..., HTMLResponse], open_results: Open, records: Records) -> None:
    @app.get("/")
    def runs(number: Annotated[int, Query(alias="page", ge=1)] = 1) -> HTMLResponse:
        """List the runs, the newest first."""
        results = open_results(None)
        names = results.names()
        pages = max(1, math.ceil(len(names) / PER_PAGE))
        number = min(number, pages)
        shown = results.runs(names[(number - 1) * PER_PAGE : number * PER_PAGE])
        return page(
            "runs.html",
            runs=shown,
            total=len(names),
            number=number,
            pages=pages,
            records=records([each.name for each in shown]),
            top="./",
            bucket=results.bucket,
        )

    @app.get("/runs/{run}")
    def one(run: str) -> HTMLResponse:
        """Show a run's figures and its report; `run` is a run_id or the name of its folder."""
        found = open_results(run).run(run_name(run))
        return page("run.html", run=found, records=records([found.name]), top="../", here=run)

    @app.get("/runs/{run}/report")
    def report(run: str) -> StreamingResponse:
        """Stream the run's report."""
        content = open_results(run).report(run_name(run))
        return StreamingResponse(content, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    @app.get("/runs/{run}/rejects")
    def rejects(run: str) -> HTMLResponse:
        """List what the run has rejected."""
        results = open_results(run)
        found = results.rejects(run_name(run))
        start = f"s3://{results.images_bucket}/"
        return page("rejects.html", run=run_name(run), rejects=found, top="../../", here=run, start=start)


def _add_images(app: FastAPI, page: Callable[..., HTMLResponse], open_results: Open) -> None:
    @app.get("/runs/{run}/varieties")
    def variety(run: str, label: str) -> HTMLResponse:
        """Show the first images of a variety."""
        keys = image_keys(open_results(run), run_name(run), label)
        return page("variety.html", run=run_name(run), label=label, keys=keys, top="../../", here=run)

    @app.get("/runs/{run}/image")
    def image(run: str, key: str) -> Response:
        """Return one of the images."""
        content, kind = read_image(open_results(run), key)
        return Response(content, media_type=kind, headers=HEADERS | {"Cache-Control": "private, max-age=600"})


def duration(seconds: float | None) -> str:
    """Return `1 h 02 min`, `3 min 05 s` or `12 s`; a dash for None."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def usd(cost: float | None) -> str:
    """Return `$0.14`; a dash for None."""
    if cost is None:
        return "–"
    return f"${cost:,.2f}" if cost >= 0.01 else "under $0.01"


def usd_exactly(cost: float | None) -> str:
    """Return `$0.0123`; a dash for None."""
    return "–" if cost is None else f"${cost:,.4f}"


def segment(text: str) -> str:
    """Return a name as a part of a URL: a slash in it is none of the path's."""
    return quote(text, safe="")
