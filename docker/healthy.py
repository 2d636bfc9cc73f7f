"""Whether a part of Airflow is well, for its container's health check: healthy.py scheduler|triggerer|dag_processor.

The API server knows the heartbeat of each. Airflow's own `airflow jobs check` takes 5 s of a core each time.
"""

import json
import sys
import urllib.request

URL = "http://api-server:8080/api/v2/monitor/health"


def main() -> int:
    """Return 0 if the part's heartbeat is recent, else 1."""
    with urllib.request.urlopen(URL, timeout=10) as answer:
        status = json.load(answer)[sys.argv[1]]["status"]
    return 0 if status == "healthy" else 1


if __name__ == "__main__":
    sys.exit(main())
