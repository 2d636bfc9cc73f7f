"""What the DAG is made of: settings, requests and checks. Knows Airflow and AWS; knows no Spark."""

import os

# Arrow reads this when it is first imported. Its own choice, mimalloc, keeps what threads that have ended had allocated: on a
# million images check_outputs took 1.3 GB with it, and takes 0.7 GB with jemalloc.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
