"""### Turns fruit images into PCA vectors of their MobileNetV2 features, on a cluster that exists only while it works.

Put images into the bucket, one folder per variety (`images/Apple Pink Lady/104_100.jpg`), and trigger the DAG. The images may
also be in another bucket (`images_bucket`), which is only read. A run processes only images that no earlier run has extracted; if
there are none, it stops after `find_new_images` and costs only a listing of S3. A schedule or uploads can start runs, too, if the
installation is configured for it (`docs/schedule.md`).

| task | what it does |
|---|---|
| `find_new_images` | lists S3, writes `runs/<run>/inventory` and `runs/<run>/manifest`; checks what the cluster will need |
| `approve_cost` | waits for a person's approval if the estimate is above `approval_above_usd`; otherwise skipped |
| `deploy_artifacts` | uploads the Spark jobs and the bootstrap script, each under the hash of its content |
| `emr_requests` | builds the requests to EMR; look here first if a cluster is not as expected |
| `create_cluster`, `wait_for_cluster` | an EMR cluster for this run |
| `export_model` | Keras weights -> `models/<model_id>/model.tflite`; skipped if that exists already |
| `extract_features` | manifest -> `features/run=<run>/` and `rejects/run=<run>/` |
| `reduce_dimensions` | all features -> `results/run=<run>/`: vectors, fitted model, report |
| `terminate_cluster` | ends the cluster after the last step, whatever happened before; skipped with the param `interactive` |
| `wait_for_outputs`, `check_outputs` | check that no image is lost or counted twice, and that the numbers are right |
| `publish` | moves `results/latest.json` to this run |
| `conclude_run` | writes what the run did and cost into its note; fails unless it has published or had nothing to publish |

**When it fails**: the failed task's log ends with the reason and with the last lines of the step's own log. The cluster has been
terminated, and `results/latest.json` still names the previous run. Fix the cause, then clear the failed task, which gets a new
cluster, or trigger the DAG again: images that were already extracted are not extracted again. A published run cannot be cleared.

If AWS takes the cluster away (an outage of the zone, the loss of the primary node), the run continues on a second one, with what
is in S3 already. There is no third.

**To stop a run**, mark it as failed: its step is cancelled and its cluster ends. Do not pause the DAG instead: the running step
continues, for up to `step_timeout_hours`, no later task starts, and only EMR's idle timeout ends the cluster.

**To explore on the cluster**, trigger with `interactive`: the cluster has JupyterHub, and `terminate_cluster` says how to reach
it and leaves it to its idle timeout (`docs/interactive.md`). It costs money until then.

Images that cannot be used are listed, with the reason, in `rejects/` and in the report. They fail a run only if their share of
all images exceeds `max_reject_share`. Images rejected for a transient reason, such as access denied, are tried again by the next
two runs.

**Many images at once**: with `max_images_per_run` a run takes the oldest of the new images and leaves the others to later
runs. With new weights all images are new; until none are left, the runs only extract, and `publish` is skipped. Then
`results/latest.json` moves from the old network's results to the new one's in one step.
"""

from dataclasses import asdict
from typing import Any

from airflow.sdk import Context, TaskGroup, TriggerRule, chain, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from approval import OptionalApprovalOperator
from emr_hook import IdempotentEmrHook
from emr_links import ReportLink
from emr_operators import EmrCreateClusterOperator, EmrTerminateClusterOperator
from emr_sensors import EmrClusterReadySensor
from emr_step_operator import EmrStepOperator
from fruit_features import artifacts, budget, conclusion, config, notifications, preflight, requests, xcoms
from fruit_features.graph import drop_copied_params, drop_implied_edges
from fruit_features.run import Plan, Run
from fruit_features.schedule import RESULTS, dag_schedule
from fruit_features.trigger_form import form_params
from patient_s3 import PatientS3Hook, PatientS3KeySensor


@task.short_circuit
def find_new_images(params: dict[str, Any], run_id: str, ti: Any) -> dict[str, Any] | None:
    """List S3, write inventory and manifest; stop the run here if there is nothing to do."""
    from fruit_features import inventory  # importing Arrow would slow down every parse of this file

    run = Run.from_params(params, run_id)
    hook = PatientS3Hook(region_name=run.settings.region)
    preflight.check_request(run)
    preflight.check_writing(hook, run)
    plan = inventory.find_new(hook, run)
    if plan.needs_cluster or plan.would_need_cluster:
        ti.xcom_push(key=xcoms.ESTIMATE, value=asdict(budget.estimate(run, plan)))
    if not plan.needs_cluster:
        why = inventory.why_nothing(run, plan)
        hook.log.info(why)
        ti.xcom_push(key=xcoms.NOTE, value=why)
        return None
    preflight.check_account(hook, run)
    hook.log.info(budget.check_budget(run, plan))
    ti.xcom_push(key=xcoms.APPROVAL, value=budget.approval_request(run, plan))
    return plan.model_dump()


@task(trigger_rule=TriggerRule.NONE_FAILED)  # approve_cost is skipped where there is nothing to approve
def deploy_artifacts(params: dict[str, Any], run_id: str) -> dict[str, str]:
    """Upload what has changed; return the s3:// URI of each file by its name."""
    run = Run.from_params(params, run_id)
    return artifacts.deploy(PatientS3Hook(region_name=run.settings.region), run, config.PROJECT_FOLDER)


@task
def emr_requests(plan: dict[str, Any], uris: dict[str, str], params: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Return what EMR is asked for: the cluster and each step; and where the run's progress and outputs appear."""
    return requests.emr_requests(Run.from_params(params, run_id), Plan(**plan), uris)


def if_published(context: Context) -> None:
    """Fail if the run is published: a step of it that was cleared would write over what readers may be reading."""
    from fruit_features import publishing

    run = Run.from_params(dict(context["params"]), context["run_id"])
    publishing.check_unpublished(PatientS3Hook(region_name=run.settings.region), run)


@task
def check_outputs(plan: dict[str, Any], params: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Prove the invariants; return what to publish."""
    from fruit_features import outputs

    run = Run.from_params(params, run_id)
    return outputs.check_outputs(PatientS3Hook(region_name=run.settings.region), run, Plan(**plan))


@task(outlets=[RESULTS])
def publish(
    results: dict[str, Any], plan: dict[str, Any], params: dict[str, Any], ti: Any, run_id: str, outlet_events: Any
) -> None:
    """Move the pointer `latest.json`, last of all, and tell the DAGs that are scheduled on the results, with cost and estimate.

    Not while images are left for a later run that the published results show, by another network.
    """
    from fruit_features import publishing

    run = Run.from_params(params, run_id)
    hook = PatientS3Hook(region_name=run.settings.region)
    if plan.get("unfinished"):
        ti.xcom_push(key=xcoms.LEFT, value=plan["left"])  # a person may have skipped this task as well
        raise AirflowSkipException(publishing.leave_for_later(hook, run, results))
    publishing.publish(hook, run, results)
    emr, cluster_id = IdempotentEmrHook(region_name=run.settings.region), ti.xcom_pull(task_ids="create_cluster")
    cost = conclusion.cost_so_far(emr, run, cluster_id, plan["new"]) if cluster_id else None
    estimate = ti.xcom_pull(task_ids="find_new_images", key=xcoms.ESTIMATE)
    outlet_events[RESULTS].extra = {**results, "cost": cost, "estimate": estimate}


@task(on_failure_callback=notifications.on_failure())
def conclude_run(params: dict[str, Any], ti: Any, run_id: str) -> None:
    """Say in the run's note what it has done and cost; fail unless it has published or had nothing to do."""
    conclusion.conclude(params, ti, run_id)


@dag(
    doc_md=__doc__,
    schedule=dag_schedule(config.SCHEDULE, config.QUEUE_URL, config.DEFAULT_BUCKET),
    catchup=False,  # a sweep finds all there is, however many were missed
    params=form_params(),
    max_active_runs=1,  # what is new depends on what the run before has extracted
    deadline=notifications.deadline(),
    default_args={**config.TASK_DEFAULTS, "on_failure_callback": notifications.remember_failure},
    tags=["emr", "spark"],
)
def fruit_features() -> None:
    """Wire the tasks: prepare, a cluster, three steps on it, results."""
    with TaskGroup("prepare", prefix_group_id=False):
        plan = find_new_images()
        approve_cost = OptionalApprovalOperator(task_id="approve_cost", **config.APPROVAL)
        uris = deploy_artifacts()
        asked = emr_requests(plan, uris)
        chain(plan, approve_cost, uris)  # nothing new must cost nothing

    with TaskGroup("cluster", prefix_group_id=False):
        job = asked["create_cluster"]
        create_cluster = EmrCreateClusterOperator(task_id="create_cluster", job_flow_overrides=job, refuse=if_published)
        cluster = {"job_flow_id": create_cluster.output, "cluster_request": job, **config.PATIENCE}
        wait_for_cluster = EmrClusterReadySensor(task_id="wait_for_cluster", timeout=config.CLUSTER_TIMEOUT, **cluster)

    terminate_cluster = EmrTerminateClusterOperator(
        task_id="terminate_cluster", job_flow_id=create_cluster.output, **config.TERMINATION
    )
    on_cluster = {"log_uri": asked["log_uri"], **cluster, **config.STEP}
    with terminate_cluster.as_teardown(setups=create_cluster, on_failure_fail_dagrun=True):
        export_model = EmrStepOperator(task_id="export_model", step=asked["export_model"], **on_cluster)
        extract_features = EmrStepOperator(
            task_id="extract_features",
            step=asked["extract_features"],
            progress_uri=asked["progress_uri"],
            trigger_rule=TriggerRule.NONE_FAILED,  # export_model is skipped where its model is there
            **on_cluster,
        )
        reduce_dimensions = EmrStepOperator(task_id="reduce_dimensions", step=asked["reduce_dimensions"], **on_cluster)
    work = [wait_for_cluster, export_model, extract_features, reduce_dimensions]
    chain(*work)
    chain(work, terminate_cluster)  # each of them, so that a task that is cleared alone keeps its new cluster

    # Beside the teardown, not above it: a good teardown below a failed step would leave the run green.
    with TaskGroup("results", prefix_group_id=False):
        wait_for_outputs = PatientS3KeySensor(
            task_id="wait_for_outputs",
            bucket_key=asked["outputs"],
            trigger_rule=TriggerRule.NONE_FAILED,  # reduce_dimensions is skipped where images are left for later
            **config.OUTPUTS,
        )
        results = check_outputs(plan)
        published = publish(results, plan)
        published.operator.operator_extra_links = (ReportLink(),)  # type: ignore[attr-defined]
        chain(reduce_dimensions, wait_for_outputs, results, published)

    # What runs below skipped tasks: in a run without work it is skipped again when it is cleared, if it is directly below.
    chain(plan, [uris, wait_for_outputs])
    # A teardown too, as marking a run as failed skips all else.
    chain([published, terminate_cluster], conclude_run().as_teardown(on_failure_fail_dagrun=True))


pipeline = fruit_features()
drop_implied_edges(pipeline)
drop_copied_params(pipeline)
