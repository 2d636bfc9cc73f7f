"""Run -> Spark step requests. Pure: nothing here talks to AWS."""

from typing import TYPE_CHECKING, Any

from fruit_features import budget, executors
from fruit_features.run import Plan, Run

if TYPE_CHECKING:
    from mypy_boto3_emr.type_defs import StepConfigTypeDef

KILL_AFTER_SECONDS = 60  # for a driver that does not end when it is asked to


def spark_step(
    run: Run, name: str, artifacts: dict[str, str], *arguments: str, properties: dict[str, str] | None = None
) -> "StepConfigTypeDef":
    """Return an EMR step that submits `<name>.py` with `arguments` and with Spark's `properties`, unless the form has others.

    Client deploy mode: the driver runs on the primary node, where TensorFlow is, and its output is the step's log. A failed
    step leaves the cluster as it is; the DAG's teardown ends it.

    The step keeps its time limit itself, with or without Airflow: EMR never takes a cluster whose Spark application hangs for
    idle. `timeout` ends the driver, and the application with it. OpenLineage's properties, which the provider adds to steps that
    begin with `spark-submit`, nothing adds here: name them in `spark_defaults`.
    """
    limit = ["timeout", f"--kill-after={KILL_AFTER_SECONDS}", str(round(run.settings.step_timeout_hours * 3600))]
    submit = [*limit, "spark-submit", "--deploy-mode", "client", "--py-files", artifacts["spark_jobs.zip"]]
    for key, value in (properties or {}).items():
        if key not in run.settings.spark_defaults:
            submit += ["--conf", f"{key}={value}"]
    return {
        "Name": name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": [*submit, artifacts[f"{name}.py"], *arguments]},
    }


def export_model_step(run: Run, artifacts: dict[str, str], plan: Plan) -> "StepConfigTypeDef | None":
    """Return the step that makes a model and the run's pointer to it of Keras weights; None where the model is there."""
    if plan.model_exported:
        return None
    return spark_step(
        run,
        "export_model",
        artifacts,
        *("--weights", run.settings.weights),
        *("--models", run.layout.models.uri),
        *("--pointer", run.layout.model_pointer.uri),
        *(["--model-id", plan.model_id] if plan.model_id else []),
    )


def extract_features_step(run: Run, artifacts: dict[str, str], plan: Plan) -> "StepConfigTypeDef":
    """Return the step that makes this run's features and rejects of the manifest.

    The share of rejects is that of all images: one bad image among few new ones must not stop a run.
    """
    layout = run.layout
    return spark_step(
        run,
        "extract_features",
        artifacts,
        *("--manifest", layout.manifest.uri),
        *("--model", layout.model_pointer.uri),
        *("--features", layout.run_features.uri),
        *("--rejects", layout.run_rejects.uri),
        *("--progress", layout.progress.uri),
        *("--max-reject-share", str(run.settings.max_reject_share)),
        *("--total-images", str(plan.images)),
        properties=executors.EXTRACTION,
    )


def reduce_dimensions_step(run: Run, artifacts: dict[str, str], plan: Plan) -> "StepConfigTypeDef | None":
    """Return the step that makes this run's results of the features of every image in the inventory; None if many have none."""
    if plan.unfinished:
        return None
    layout = run.layout
    return spark_step(
        run,
        "reduce_dimensions",
        artifacts,
        *("--inventory", layout.inventory.uri),
        *("--features", layout.features.uri),
        *("--rejects", layout.rejects.uri),
        *("--model", layout.model_pointer.uri),
        *("--output", layout.run_results.uri),
        *("--variance", str(run.settings.variance)),
        *("--run", run.name),
        *(["--pca-model", plan.pca_model] if plan.pca_model else []),
        *("--extraction", layout.progress.uri),
        *(["--previous", plan.previous] if plan.previous else []),
        *(["--usd-per-hour", f"{price:g}"] if (price := budget.hourly_price(run)) else []),
    )


def step_requests(run: Run, artifacts: dict[str, str], plan: Plan) -> dict[str, Any]:
    """Return the request of each step by its name; an empty one for a step that has nothing to do."""
    steps = {
        "export_model": export_model_step(run, artifacts, plan),
        "extract_features": extract_features_step(run, artifacts, plan),
        "reduce_dimensions": reduce_dimensions_step(run, artifacts, plan),
    }
    return {name: step or {} for name, step in steps.items()}
