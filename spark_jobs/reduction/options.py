"""The command line of reduce_dimensions."""

import argparse
from collections.abc import Sequence

from spark_jobs import uris
from spark_jobs.arguments import positive, share


def parse(argv: Sequence[str] | None, doc: str) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; those of this process if None.
        doc: the job's docstring: its first line describes it in --help, the rest follows the options.

    Returns:
        The options, and `target`, which decides on the number of components: `variance` or `components`; empty with an
        earlier PCA.
    """
    description, _, details = doc.partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "reduce_dimensions", description=description, epilog=details, formatter_class=layout
    )
    add, uri = parser.add_argument, uris.normalize
    add("--inventory", type=uri, required=True, metavar="URI", help="Parquet: the images that count")
    add("--features", type=uri, required=True, metavar="URI", help="Parquet: a folder, or the root of run=… folders")
    add("--rejects", type=uri, metavar="URI", help="Parquet: likewise, to say why images have no features")
    add("--model", metavar="URI|ID", help="the network: pointer JSON or model_id (default: the only one with features)")
    add("--output", type=uri, required=True, metavar="URI", help="folder to write to")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--variance", type=share, default=0.8, help="share of variance to reach (default: %(default)s)")
    size.add_argument("--components", type=positive, metavar="K", help="a fixed number of components instead")
    add("--pca-model", type=uri, metavar="URI", help="project onto this earlier PCA; --variance does not apply")
    add("--run", default="", help="name of this run, for the report")
    add("--previous", type=uri, metavar="URI", help="results of an earlier run, for the report to compare with")
    add("--extraction", type=uri, metavar="URI", help="progress document of this run's extraction, for the report")
    add("--usd-per-hour", type=float, metavar="USD", help="price of the cluster, for the report")
    options = parser.parse_args(argv)
    options.target = _target(options)
    return options


def _target(options: argparse.Namespace) -> dict[str, float]:
    if options.pca_model:
        return {}
    return {"components": options.components} if options.components else {"variance": options.variance}
