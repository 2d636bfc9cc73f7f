"""Fill the bucket of the endpoint that AWS_ENDPOINT_URL names, unless it is filled: python -m demo.seed (in containers)."""

import argparse
import os
import sys

from demo.bucket import BUCKET, DemoError, client, fill_bucket, upload, weights_file

WEIGHTS = "weights/mobilenetv2.h5"  # whichever they are: containers are told their name before they are there


def fill(endpoint_url: str) -> None:
    """Upload drawn images and weights, these last: where they are, everything is.

    Raises:
        DemoError: there are no weights to be had.
    """
    s3 = client("s3", endpoint_url)
    if any(bucket["Name"] == BUCKET for bucket in s3.list_buckets()["Buckets"]) and s3.list_objects_v2(
        Bucket=BUCKET, Prefix=WEIGHTS
    ).get("Contents"):
        print("the bucket is filled already")
        return
    fill_bucket(endpoint_url, None, None, print)
    upload(s3, weights_file(print), WEIGHTS)


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="demo.seed", description=__doc__)
    parser.add_argument("--weights-only", action="store_true", help="only get the weights, for an image to hold them")
    try:
        if parser.parse_args().weights_only:
            print(f"weights: {weights_file(print)}")
        else:
            fill(os.environ["AWS_ENDPOINT_URL"])
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
