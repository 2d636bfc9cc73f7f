"""Spark's executors and YARN's containers: one shape that uses every core of every instance type that the form accepts.

docs/cluster.md has the arithmetic.
"""

from fruit_features.instance_types import vcpus

EXECUTOR_CORES = 4  # of every size: an xlarge has 4 vCPUs, a 2xlarge 8, and so on
HEAP_MB = 2048
OVERHEAD_MB = 3072
# The network's pass keeps nothing in the heap and its images beside it: the same container, cut differently.
EXTRACTION_HEAP_MB = 1024
EXTRACTION_OVERHEAD_MB = 4096
# What it holds: a Python worker for each core, and what the JVM itself takes.
WORKER_MB = 250  # with the network loaded, on small images
LARGEST_IMAGE_MB = 640  # more while it decodes the largest image that is accepted, and the next ones are read
JVM_MB = 512  # metaspace, threads, network and Arrow buffers
MASTER_VCORES = 1  # of the ApplicationMaster, which in client deploy mode only asks YARN for containers

# What YARN counts. By default memory only: it would start as many executors as fit the memory, and share out the cores twice.
CAPACITY_SCHEDULER = {
    "yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator"
}

SPARK_DEFAULTS = {
    "spark.executor.cores": str(EXECUTOR_CORES),
    "spark.executor.memory": f"{HEAP_MB}m",
    "spark.executor.memoryOverhead": f"{OVERHEAD_MB}m",
    "spark.driver.memory": "4g",
    # The driver only plans and schedules, however long the job takes: with the C1 compiler only, extract_features on 2,000 images
    # ends 6 % sooner, reduce_dimensions 12 %.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    # Nodes are equal and requests to S3 time out by themselves: a second attempt would only take cores from the rest.
    "spark.speculation": "false",
}
EXTRACTION = {
    "spark.executor.memory": f"{EXTRACTION_HEAP_MB}m",
    "spark.executor.memoryOverhead": f"{EXTRACTION_OVERHEAD_MB}m",
}
# botocore asks the instance metadata service once, for a second: with many workers starting at once that is not enough.
METADATA_SERVICE = {"AWS_METADATA_SERVICE_NUM_ATTEMPTS": "5", "AWS_METADATA_SERVICE_TIMEOUT": "5"}


def node_environment(region: str) -> dict[str, str]:
    """Return what AWS clients on the nodes find in their environment: EMR's nodes name no region themselves."""
    return {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, **METADATA_SERVICE}


def spark_defaults(instance_type: str, count: int, region: str) -> dict[str, str]:
    """Return the classification `spark-defaults`: an executor for every four cores, all of them from the start.

    Args:
        instance_type: of core and task nodes; of a fleet, its smallest.
        count: of such nodes.
        region: of AWS.
    """
    executors = str(count * vcpus(instance_type) // EXECUTOR_CORES)
    return {
        **SPARK_DEFAULTS,
        # EMR starts with none, adds them as tasks queue up, and takes back what is idle for a minute.
        "spark.dynamicAllocation.initialExecutors": executors,
        "spark.dynamicAllocation.minExecutors": executors,
        **{f"spark.executorEnv.{name}": value for name, value in node_environment(region).items()},
    }


def yarn_site(instance_type: str) -> dict[str, str]:
    """Return the classification `yarn-site`: a vcore for each vCPU and one more for the ApplicationMaster.

    It takes a vcore and next to no time: without that vcore the node on which it lies would have no room for its last executor.
    """
    return {"yarn.nodemanager.resource.cpu-vcores": str(vcpus(instance_type) + MASTER_VCORES)}
