"""Turn Keras weights into the model artifact that the executors run.

Keras's MobileNetV2 (include_top=False, pooling='avg', 224 x 224) with the given weights becomes a LiteRT model,
`<models>/<model_id>/model.tflite`, unless it is already there. The pointer, a small JSON, names the model.
"""

import argparse
from collections.abc import Sequence

from spark_jobs import uris
from spark_jobs.extraction.exporter import IMAGENET, export
from spark_jobs.session import run


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="export_model", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help=f"HDF5 file (file:// or s3://), or {IMAGENET}: Keras's own")
    parser.add_argument("--models", required=True, help="root of the models: <models>/<model_id>/model.tflite")
    parser.add_argument("--pointer", required=True, help="JSON to write: the model's metadata and URI")
    parser.add_argument("--model-id", help="fail unless the weights give this model")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = parse(argv)
    uris.write_json(options.pointer, export(options.weights, options.models, options.model_id))


if __name__ == "__main__":
    run(main)
