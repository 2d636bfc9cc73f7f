"""### Fruit images to PCA vectors of their MobileNetV2 features, on a cluster that exists only while it works.

Put images into the bucket, one folder per variety (`images/Apple Pink Lady/104_100.jpg`), and trigger the DAG. Only images
that no earlier run has extracted are processed; without any, the run stops after `find_new_images`, costing nothing.

| task | what it does |
|---|---|
| `find_new_images` | lists S3, writes `runs/<run>/inventory` and `runs/<run>/manifest` |
| `deploy_artifacts` | uploads the Spark jobs and the bootstrap script, each under the hash of its content |
| `create_cluster`, `wait_for_cluster` | an EMR cluster for this run |
| `…_export_model` | Keras weights -> `models/<model_id>/model.tflite`, where it is not there yet |
| `…_extract_features` | manifest -> `features/run=<run>/` and `rejects/run=<run>/` |
| `…_reduce_dimensions` | all features -> `results/run=<run>/`: vectors, fitted model, report |
| `terminate_cluster` | as soon as the last step is over, and whatever happened before it |
| `check_outputs` | proves that no image is lost or counted twice, and that the numbers are what they claim to be |
| `publish` | moves `results/latest.json` to this run |

**When it fails**: the failed task's log ends with the reason, and with the last lines of the step's own log. The cluster is
gone, `results/latest.json` still names the previous run. Mend the cause and trigger the DAG again: images that were already
extracted are not extracted again. That is better than clearing tasks: a step belongs to the cluster it was added to, so a
cleared `wait_for_…` needs its `add_…` cleared with it, and a published run refuses to be cleared. To stop a run, mark its
running *task* as failed: of a whole run that is marked so, Airflow lets the teardown have the last word.

Images that cannot be used never fail a run by themselves: they are listed, with the reason, in `rejects/` and in the report,
unless their share of all images exceeds `max_reject_share`. Those that may have been unlucky (a timeout, say) are tried again
by the next two runs.
"""

from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.emr import EmrJobFlowSensor
from airflow.sdk import DAG, chain, task
from emr_operators import EmrAddStepOnceOperator, EmrCreateClusterOnceOperator, EmrEndClusterOperator
from emr_step_sensor import EmrStepProgressSensor

from fruit_features import artifacts, cluster, steps
from fruit_features.config import (
    CLUSTER_TIMEOUT,
    PARAMS,
    POLL_INTERVAL,
    PROJECT_FOLDER,
    RETRY_DELAY,
    STEP_TIMEOUT,
    TERMINATION_RETRIES,
    TERMINATION_RETRY_DELAY,
    TERMINATION_TIMEOUT,
    RunConfig,
)

POLL_SECONDS = POLL_INTERVAL.total_seconds()

with DAG(
    dag_id="fruit_features",
    doc_md=__doc__,
    schedule=None,
    params=PARAMS,
    max_active_runs=1,  # what is new depends on what the run before has extracted
    # Only dags that render to Python objects can hand whole requests to an operator.
    render_template_as_native_obj=True,
    user_defined_macros={"config": RunConfig.from_params, "cluster": cluster, "steps": steps},
    default_args={"retries": 2, "retry_delay": RETRY_DELAY, "region_name": "{{ params.region }}"},
    tags=["emr", "spark"],
) as dag:

    @task.short_circuit
    def find_new_images(params: dict[str, Any], run_id: str) -> dict[str, Any] | None:
        """List S3, write inventory and manifest; nothing to do ends the run here."""
        from fruit_features import inventory  # Arrow takes longer to import than the DAG to parse

        config = RunConfig.from_params(params, run_id)
        images = inventory.find_new(S3Hook(region_name=config.region), config)
        return images if images["work"] else None

    @task
    def deploy_artifacts(params: dict[str, Any], run_id: str) -> dict[str, str]:
        """Upload what changed; return name -> s3:// URI."""
        config = RunConfig.from_params(params, run_id)
        return artifacts.deploy(S3Hook(region_name=config.region), config, PROJECT_FOLDER)

    @task
    def check_outputs(images: dict[str, Any], params: dict[str, Any], run_id: str) -> dict[str, Any]:
        """Prove the invariants; return what to publish."""
        from fruit_features import outputs

        config = RunConfig.from_params(params, run_id)
        return outputs.check_outputs(S3Hook(region_name=config.region), config, images)

    @task
    def publish(results: dict[str, Any], params: dict[str, Any], run_id: str) -> None:
        """Move the pointer ``latest.json``, last of all."""
        from fruit_features import outputs

        config = RunConfig.from_params(params, run_id)
        outputs.publish(S3Hook(region_name=config.region), config, results)

    images = find_new_images()
    deployed = deploy_artifacts()

    create_cluster = EmrCreateClusterOnceOperator(
        task_id="create_cluster",
        emr_conn_id=None,
        job_flow_overrides="{{ cluster.job_flow_request(config(params, run_id), ti.xcom_pull('deploy_artifacts')) }}",
        deferrable=False,
    )
    # The deferrable mode of this sensor ignores target_states and waits for the cluster's end.
    wait_for_cluster = EmrJobFlowSensor(
        task_id="wait_for_cluster",
        job_flow_id=create_cluster.output,
        target_states=["WAITING", "RUNNING"],
        failed_states=["TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"],
        mode="reschedule",
        poke_interval=POLL_SECONDS,
        timeout=CLUSTER_TIMEOUT.total_seconds(),
        deferrable=False,
    )

    add_export_model = EmrAddStepOnceOperator(
        task_id="add_export_model",
        job_flow_id=create_cluster.output,
        steps="{{ [steps.export_model_step(config(params, run_id), ti.xcom_pull('deploy_artifacts'),"
        " ti.xcom_pull('find_new_images'))] }}",
        deferrable=False,
    )
    wait_for_export_model = EmrStepProgressSensor(
        task_id="wait_for_export_model",
        job_flow_id=create_cluster.output,
        step_id=add_export_model.output,
        poke_interval=POLL_SECONDS,
        step_timeout=STEP_TIMEOUT,
    )

    add_extract_features = EmrAddStepOnceOperator(
        task_id="add_extract_features",
        job_flow_id=create_cluster.output,
        steps="{{ [steps.extract_features_step(config(params, run_id), ti.xcom_pull('deploy_artifacts'),"
        " ti.xcom_pull('find_new_images'))] }}",
        deferrable=False,
    )
    wait_for_extract_features = EmrStepProgressSensor(
        task_id="wait_for_extract_features",
        job_flow_id=create_cluster.output,
        step_id=add_extract_features.output,
        progress_uri="{{ steps.progress_uri(config(params, run_id)) }}",
        poke_interval=POLL_SECONDS,
        step_timeout=STEP_TIMEOUT,
    )

    add_reduce_dimensions = EmrAddStepOnceOperator(
        task_id="add_reduce_dimensions",
        job_flow_id=create_cluster.output,
        steps="{{ [steps.reduce_dimensions_step(config(params, run_id), ti.xcom_pull('deploy_artifacts'),"
        " ti.xcom_pull('find_new_images'))] }}",
        deferrable=False,
    )
    wait_for_reduce_dimensions = EmrStepProgressSensor(
        task_id="wait_for_reduce_dimensions",
        job_flow_id=create_cluster.output,
        step_id=add_reduce_dimensions.output,
        poke_interval=POLL_SECONDS,
        step_timeout=STEP_TIMEOUT,
    )

    checked = check_outputs(images)
    published = publish(checked)

    terminate_cluster = EmrEndClusterOperator(
        task_id="terminate_cluster",
        job_flow_id=create_cluster.output,
        waiter_delay=int(POLL_SECONDS),
        waiter_max_attempts=max(1, int(TERMINATION_TIMEOUT.total_seconds() / POLL_SECONDS)),
        deferrable=True,
        retries=TERMINATION_RETRIES,
        retry_delay=TERMINATION_RETRY_DELAY,
    ).as_teardown(setups=create_cluster, on_failure_fail_dagrun=True)

    chain(
        images,
        deployed,
        create_cluster,
        wait_for_cluster,
        add_export_model,
        wait_for_export_model,
        add_extract_features,
        wait_for_extract_features,
        add_reduce_dimensions,
        wait_for_reduce_dimensions,
        checked,
        published,
    )
    # The cluster's work ends with its last step. Not after publish: a teardown that may fail the run replaces what is above it
    # as the run's last word, so a failed step followed by a good teardown would leave the run green.
    chain(wait_for_reduce_dimensions, terminate_cluster)
