"""What all rows share: how much is measured, the images, the model, and the jobs as the DAG submits them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmarks import jobs, samples
from benchmarks.bare import bare


@dataclass(frozen=True)
class Sizes:
    """How many images each row takes.

    Attributes:
        few: the smaller of the two jobs whose difference is the cost of each additional image; also of `seed` and `peer`.
        more: additional images of the larger job, on files.
        few_s3: the smaller job over S3.
        more_s3: additional images of the larger one.
        engine: for which `engine_ratio` is stated.
        cores: of `core_ratio`, for each core.
        latency: of `latency_ratio`.
        resume: of the job that is killed.
        dimensions: rows of features for the comparison with Spark ML.
        inventory: images that find_new_images and check_outputs see.
        rounds: of alternating pairs.
        notebook: whether the original notebook's flow is measured.
        rate: images/s of the bare loop on two cores from which on all of these hold. 0: everywhere.
    """

    few: int
    more: int
    few_s3: int
    more_s3: int
    engine: int
    cores: int
    latency: int
    resume: int
    dimensions: int
    inventory: int = 10_000_000
    rounds: int = 3
    notebook: bool = True
    rate: float = 0.0

    def at(self, rate: float) -> "Sizes":
        """Return how many a machine takes whose bare loop does `rate` images/s.

        A slower one takes so many fewer that the table is done in the same time: how far the noise of starting a job reaches
        into a difference is decided by its seconds, not by its images. `few` is what figures are stated for, and stays.
        """
        share = min(1.0, rate / self.rate) if self.rate else 1.0
        rows = ("more", "more_s3", "cores", "latency", "resume")
        return replace(self, **{row: round(share * getattr(self, row)) for row in rows})


FULL = Sizes(
    few=2_000,
    more=20_000,
    few_s3=500,
    more_s3=5_000,
    engine=20_000,
    cores=4_000,
    latency=8_000,
    resume=8_000,
    dimensions=20_000,
    rate=460,
)
FEWER = "fewer on a slower processor"
SMALL = Sizes(
    few=300,
    more=1_500,
    few_s3=100,
    more_s3=900,
    engine=1_500,
    cores=500,
    latency=500,
    resume=1_500,
    dimensions=2_000,
    inventory=200_000,
    rounds=1,
    notebook=False,
)


@dataclass(frozen=True)
class Bench:
    """Images, manifests and the model, made once in `folder`.

    Attributes:
        folder: for them and for what the jobs write.
        wanted: how many images each row takes on a machine that is fast enough.
    """

    folder: Path
    wanted: Sizes

    @cached_property
    def rate(self) -> float:
        """Images/s of the bare loop on two cores, measured once: how many images this machine takes."""
        return self.wanted.few / bare(self.manifest(self.wanted.few), self.model).seconds

    @cached_property
    def sizes(self) -> Sizes:
        """How many images each row takes here."""
        return self.wanted.at(self.rate)

    @cached_property
    def images(self) -> list[Path]:
        originals = samples.originals(self.folder / "originals")
        most = max(self.wanted.few + self.wanted.more, self.wanted.latency, self.wanted.resume, 2 * self.wanted.cores)
        return samples.copies(originals, most, self.folder / "images")

    @cached_property
    def weights(self) -> Path:
        return samples.weights(self.folder)

    @cached_property
    def model(self) -> Path:
        """The pointer to the model, which is exported once, before anything is timed."""
        pointer = self.folder / "model.json"
        self.step("export_model", "--weights", self.weights, "--models", self.folder / "models", "--pointer", pointer)
        return pointer

    def manifest(self, number: int) -> Path:
        folder = self.folder / f"manifest-{number}"
        return folder if folder.exists() else samples.manifest(self.images[:number], folder)

    def extract(self, number: int, cores: int = 2, *, plain: bool = False) -> jobs.Ran:
        """Run extract_features on the first images."""
        return jobs.extract(self.manifest(number), self.model, self.folder / "output", cores=cores, plain=plain)

    def reduce(self, number: int, extracted: Path, output: Path, *, plain: bool = False) -> float:
        """Run reduce_dimensions on the features of the first images; return the seconds of the process."""
        return self.step(
            "reduce_dimensions",
            *("--inventory", self.manifest(number), "--features", extracted / "features"),
            *("--rejects", extracted / "rejects", "--output", output, "--model", self.model),
            plain=plain,
        )

    def step(self, job: str, *arguments: str | Path, plain: bool = False) -> float:
        """Run a job as the DAG's step does, `plain` on a JVM as EMR starts it; return the seconds of the process."""
        script = samples.PROJECT / "spark_jobs" / f"{job}.py"
        options, variables = jobs.jvm(plain=plain)
        parts: Sequence[str | Path] = [*jobs.spark_submit(2, *options), script, *arguments]
        return jobs.run([str(part) for part in parts], jobs.step_environment() | variables)[0]
