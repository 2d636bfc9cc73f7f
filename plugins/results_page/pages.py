"""The pages: server-side HTML without scripts, every route for people who may see the DAG's runs."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from results_page.reading import DAG_ID, NotFoundError, Results, ResultsError, run_name

PER_PAGE = 25
HERE = Path(__file__).parent

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
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
        "form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
    )
}

Open = Callable[[str | None], Results]
Durations = Callable[[], Mapping[str, float]]

may_see_runs = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID)


def create_app(open_results: Open, durations: Durations) -> FastAPI:
    """Return the application.

    Args:
        open_results: gives the results that belong to a run_id, or with None those of the default bucket; raises ResultsError.
        durations: gives seconds by the name of the run, as Airflow knows them.
    """
    # A mounted application inherits nothing of Airflow's: without this every route would be open to everybody.
    app = FastAPI(dependencies=[Depends(may_see_runs)], docs_url=None, redoc_url=None, openapi_url=None)
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters["duration"] = duration

    def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(templates.get_template(name).render(values), status, HEADERS)

    @app.exception_handler(ResultsError)
    def failed(request: Request, error: Exception) -> HTMLResponse:
        status = 404 if isinstance(error, NotFoundError) else 502
        up = "../" * (request.scope["path"].removeprefix(request.scope.get("root_path", "")).count("/") - 1)
        return page("error.html", status, message=str(error), top=up or "./")

    @app.get("/style.css")
    def style() -> Response:
        return Response((HERE / "style.css").read_text(encoding="utf-8"), media_type="text/css", headers=HEADERS)

    _add_runs(app, page, open_results, durations)
    return app


def _add_runs(app: FastAPI, page: Callable[..., HTMLResponse], open_results: Open, durations: Durations) -> None:
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
            durations=durations(),
            top="./",
            bucket=results.bucket,
        )

    @app.get("/runs/{run}")
    def one(run: str) -> HTMLResponse:
        """Show a run's figures and its report; `run` is a run_id or the name of its folder."""
        found = open_results(run).run(run_name(run))
        return page("run.html", run=found, durations=durations(), top="../", here=run)

    @app.get("/runs/{run}/report")
    def report(run: str) -> StreamingResponse:
        """Stream the run's report."""
        content = open_results(run).report(run_name(run))
        return StreamingResponse(content, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    @app.get("/runs/{run}/rejects")
    def rejects(run: str) -> HTMLResponse:
        """List what the run has rejected."""
        found = open_results(run).rejects(run_name(run))
        return page("rejects.html", run=run_name(run), rejects=found, top="../../", here=run)


def duration(seconds: float | None) -> str:
    """Return `1 h 02 min`, `3 min 05 s` or `12 s`; a dash for None."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
