"""What a job costs beside its images: the smallest ones, minus a spark-submit of a script that does nothing."""

import shutil
from pathlib import Path

from benchmarks import jobs
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, indication, shown
from benchmarks.measuring import Figures, alternating, differences, median

CHUNK = 50  # images: the smallest chunk, and one task

BOUNDS: Bounds = {
    "fixed_extract_s": indication("≤", 2.0, "extract_features on one chunk - spark-submit of an empty script"),
    "fixed_reduce_s": indication("≤", 3.0, "reduce_dimensions on 2,000 rows - spark-submit of an empty script"),
    "fixed_extract_own_s": shown("what of it is this project's: extract_features - a script that starts a context"),
    "fixed_reduce_own_s": shown("the same of reduce_dimensions"),
    "fixed_context_s": shown("Spark's own part of both: a script that starts a context - an empty one"),
    "fixed_plain_s": shown("what a plain JVM, as EMR starts it, adds to extract_features on one chunk"),
    "spark_submit_s": shown("spark-submit of an empty script: a JVM and Python"),
}

CONTEXT = """
from spark_jobs.session import run, spark_context
run(lambda: spark_context("context") and None)
"""


def fixed(bench: Bench) -> Figures:
    folder, rows = bench.folder / "fixed", bench.sizes.few
    folder.mkdir()
    jobs.extract(bench.manifest(rows), bench.model, folder / "extracted")

    def extract(*, plain: bool) -> float:
        """Not bench.extract, which looks at the memory of every process five times a second."""
        shutil.rmtree(folder / "one", ignore_errors=True)
        options, variables = jobs.jvm(plain=plain)
        command = jobs.extract_command(bench.manifest(CHUNK), bench.model, folder / "one", submit=options)
        return jobs.run(command, jobs.step_environment() | variables)[0]

    def script(name: str, code: str) -> float:
        file = folder / f"{name}.py"
        file.write_text(code)
        return jobs.run([*jobs.spark_submit(2), str(file)])[0]

    seconds = alternating(
        bench.sizes.rounds,
        {
            "nothing": lambda: script("nothing", ""),
            "context": lambda: script("context", CONTEXT),
            "extract": lambda: extract(plain=False),
            "extract on a plain JVM": lambda: extract(plain=True),
            "reduce": lambda: bench.reduce(rows, folder / "extracted", Path(folder, "reduced")),
        },
    )
    nothing, context, extracted = seconds["nothing"], seconds["context"], seconds["extract"]
    return {
        "fixed_extract_s": median(differences(extracted, nothing)),
        "fixed_reduce_rows": rows,
        "fixed_reduce_s": median(differences(seconds["reduce"], nothing)),
        "fixed_extract_own_s": median(differences(extracted, context)),
        "fixed_reduce_own_s": median(differences(seconds["reduce"], context)),
        "fixed_context_s": median(differences(context, nothing)),
        # Nothing, where set-up could make no archive.
        "fixed_plain_s": median(seconds["extract on a plain JVM"]) - median(extracted),
        "spark_submit_s": median(nothing),
    }
