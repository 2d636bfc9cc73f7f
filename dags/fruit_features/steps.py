"""Config -> Spark step requests. Pure: nothing here talks to AWS."""

from typing import Any

from fruit_features.config import RunConfig


def spark_step(name: str, artifacts: dict[str, str], *arguments: str) -> dict[str, Any]:
    """An EMR step that submits ``<name>.py`` with ``arguments``.

    Client deploy mode: the driver runs on the primary node, where TensorFlow is, and its stderr is the step's. A failed step
    leaves the cluster as it is; the DAG's teardown ends it.
    """
    return {
        "Name": name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {
            "Jar": "command-runner.jar",
            "Args": [
                "spark-submit",
                "--deploy-mode",
                "client",
                "--py-files",
                artifacts["spark_jobs.zip"],
                artifacts[f"{name}.py"],
                *arguments,
            ],
        },
    }


def export_model_step(config: RunConfig, artifacts: dict[str, str], images: dict[str, Any]) -> dict[str, Any]:
    """Keras weights -> ``models/<model_id>/model.tflite``, and ``runs/<run>/model.json`` that names it."""
    model_id = ["--model-id", images["model_id"]] if images.get("model_id") else []
    return spark_step(
        "export_model",
        artifacts,
        *("--weights", config.weights),
        *("--models", config.uri("models")),
        *("--pointer", config.as_uri(config.network_key)),
        *model_id,
    )


def extract_features_step(config: RunConfig, artifacts: dict[str, str], images: dict[str, Any]) -> dict[str, Any]:
    """The manifest -> ``features/run=<run>/`` and ``rejects/run=<run>/``.

    The share of rejects is that of all images: one bad image among few new ones must not stop a run.
    """
    return spark_step(
        "extract_features",
        artifacts,
        *("--manifest", config.as_uri(config.manifest_key)),
        *("--model", config.as_uri(config.network_key)),
        *("--features", config.as_uri(config.features_key())),
        *("--rejects", config.as_uri(config.rejects_key())),
        *("--staging", config.uri("runs", config.run, "staging")),
        *("--progress", progress_uri(config)),
        *("--max-reject-share", str(config.max_reject_share)),
        *("--total-images", str(images["images"])),
    )


def reduce_dimensions_step(config: RunConfig, artifacts: dict[str, str], images: dict[str, Any]) -> dict[str, Any]:
    """The features of every image in the inventory -> ``results/run=<run>/``."""
    model = ["--model", images["pca_model"]] if images.get("pca_model") else []
    return spark_step(
        "reduce_dimensions",
        artifacts,
        *("--inventory", config.as_uri(config.inventory_key)),
        *("--features", config.uri("features")),
        *("--rejects", config.uri("rejects")),
        *("--network", config.as_uri(config.network_key)),
        *("--output", config.as_uri(config.results_key())),
        *("--variance", str(config.variance)),
        *("--run", config.run),
        *model,
    )


def progress_uri(config: RunConfig) -> str:
    """Where ``extract_features`` tells how far it is."""
    return config.as_uri(config.progress_key)
