"""The datasets that a reduction reads."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Self

from spark_jobs.datasets import DataFile, check_dataset, feature_files, reject_files
from spark_jobs.schemas import INVENTORY


@dataclass(frozen=True)
class Inputs:
    """The datasets, under the contracts of `schemas`.

    Attributes:
        features: all that count (see `datasets.feature_files`), of any network.
        inventory: the images that count.
        rejects: of any run that finished, if known.
    """

    features: Sequence[DataFile]
    inventory: Sequence[DataFile]
    rejects: Sequence[DataFile] = ()

    @classmethod
    def find(cls, features: str, inventory: str, rejects: str | None, pool: Executor) -> Self:
        """Find and check the datasets at these URIs, all at the same time.

        Raises:
            JobError: a dataset is missing or has other columns.
        """
        reading = (
            pool.submit(feature_files, features),
            pool.submit(check_dataset, inventory, INVENTORY, "inventory"),
            pool.submit(lambda: reject_files(rejects) if rejects else []),
        )
        return cls(*(found.result() for found in reading))
