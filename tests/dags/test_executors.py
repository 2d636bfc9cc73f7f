"""Every core of every instance type that is offered gets a task, and every worker its memory."""

import pytest

from fruit_features import executors
from fruit_features.settings import PARAMS

# yarn.nodemanager.resource.memory-mb by the instance's memory in GiB: EMR's "Task configuration" page, for m5, c5 and r5.
YARN_MB = {8: 6144, 16: 12288, 32: 24576, 64: 57344, 128: 122880}
GIB_PER_VCPU = {"m5": 4, "m6g": 4, "m7g": 4, "m7a": 4, "c7g": 2, "r7g": 8}
SIZES = {"xlarge": 4, "2xlarge": 8, "4xlarge": 16}
MASTER_MB = 512 + 384  # spark.yarn.am.memory and the least spark.yarn.am.memoryOverhead

OFFERED = [
    (f"{family}.{size}", cpus, gib * cpus) for family, gib in GIB_PER_VCPU.items() for size, cpus in SIZES.items()
]


SHAPES = {"by default": executors.SPARK_DEFAULTS, "extraction": {**executors.SPARK_DEFAULTS, **executors.EXTRACTION}}


def container_mb(shape: dict[str, str]) -> int:
    return sum(
        int(shape[name].removesuffix("m")) for name in ("spark.executor.memory", "spark.executor.memoryOverhead")
    )


def executors_that_fit(shape: dict[str, str], memory_mb: int, vcores: int) -> int:
    """What YARN starts on a node, counting memory and vcores."""
    return min(memory_mb // container_mb(shape), vcores // int(shape["spark.executor.cores"]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("instance_type", "cpus", "gib"), OFFERED)
def test_every_vcpu_has_one_slot(shape: dict[str, str], instance_type: str, cpus: int, gib: int) -> None:
    vcores = int(executors.yarn_site(instance_type)["yarn.nodemanager.resource.cpu-vcores"])

    assert executors_that_fit(shape, YARN_MB[gib], vcores) * executors.EXECUTOR_CORES == cpus
    beside_the_master = executors_that_fit(shape, YARN_MB[gib] - MASTER_MB, vcores - executors.MASTER_VCORES)
    assert beside_the_master * executors.EXECUTOR_CORES == cpus, "the ApplicationMaster takes no executor's place"


@pytest.mark.parametrize(("instance_type", "cpus", "gib"), OFFERED)
def test_all_executors_are_there_from_the_start(instance_type: str, cpus: int, gib: int) -> None:
    defaults = executors.spark_defaults(instance_type, 3, "eu-west-3")

    for name in ("initialExecutors", "minExecutors"):
        assert int(defaults[f"spark.dynamicAllocation.{name}"]) * executors.EXECUTOR_CORES == 3 * cpus


@pytest.mark.parametrize(("instance_type", "cpus", "gib"), OFFERED)
def test_the_overhead_holds_the_largest_image_in_every_slot_at_once(instance_type: str, cpus: int, gib: int) -> None:
    """What the largest image takes is measured in tests/spark_jobs/extraction/test_memory.py."""
    shape = SHAPES["extraction"]
    slots = int(shape["spark.executor.cores"])
    needed = slots * (executors.WORKER_MB + executors.LARGEST_IMAGE_MB) + executors.JVM_MB

    assert needed <= int(shape["spark.executor.memoryOverhead"].removesuffix("m"))
    assert cpus // slots * container_mb(shape) + MASTER_MB <= YARN_MB[gib]


def test_aws_clients_on_the_executors_find_region_and_patience() -> None:
    defaults = executors.spark_defaults("m5.xlarge", 2, "eu-west-1")

    assert defaults["spark.executorEnv.AWS_REGION"] == "eu-west-1"
    assert defaults["spark.executorEnv.AWS_DEFAULT_REGION"] == "eu-west-1"
    assert int(defaults["spark.executorEnv.AWS_METADATA_SERVICE_NUM_ATTEMPTS"]) > 1


@pytest.mark.parametrize("instance_type", ["m5.large", "m5.metal", "xlarge", "c7g.xlarge "])
def test_a_size_without_room_for_an_executor_is_refused_by_the_form(instance_type: str) -> None:
    with pytest.raises(Exception, match="does not match"):
        PARAMS["core_instance_type"].resolve(instance_type)
