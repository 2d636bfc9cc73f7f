"""What the report compares with: the run that was published before, and the extraction before this reduction."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.reduction.moments import Moments

log = logging.getLogger("reduce_dimensions")


@dataclass(frozen=True)
class Background:
    """Documents of others; each is empty where it is unknown.

    Attributes:
        report, model: report.json and model.json of the earlier run.
        extraction: what `extract_features` has said of its progress last.
        usd_per_hour: what an hour of the cluster costs.
    """

    report: Mapping[str, Any]
    model: Mapping[str, Any]
    extraction: Mapping[str, Any]
    usd_per_hour: float | None = None

    @classmethod
    def read(cls, previous: str | None, extraction: str | None, usd_per_hour: float | None) -> Self:
        """Read what is there; the report does without the rest.

        Args:
            previous: URI of an earlier run's results.
            extraction: URI of the progress document of this run's extraction.
            usd_per_hour: of the cluster, if known.
        """
        names = ("report.json", "model.json") if previous else ()
        report, model = [_document(uris.join(previous or "", name)) for name in names] or ({}, {})
        return cls(report, model, _document(extraction) if extraction else {}, usd_per_hour)

    def compared(self, found: Mapping[str, Any], moments: Moments) -> dict[str, Any]:
        """Return what to add to report.json: `previous`, `extraction`; nothing where it is unknown.

        Args:
            found: this run's content.
            moments: of its features.
        """
        added: dict[str, Any] = {}
        if self.report.get("labels"):
            added["previous"] = _changes(self.report, found) | {"shift": _shift(self.model, found, moments)}
        images, seconds = self.extraction.get("images_now"), self.extraction.get("seconds")
        if images and seconds:
            price = self.usd_per_hour
            cost = None if price is None else round(price * seconds / 3600, 4)
            added["extraction"] = {"images": images, "seconds": seconds, "rate": images / seconds, "cost_usd": cost}
        return added


def _document(uri: str) -> Mapping[str, Any]:
    try:
        document = uris.read_json(uri)
    except JobError as error:
        log.info("The report leaves out %s: %s", uri, error)
        return {}
    return document if isinstance(document, dict) else {}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of both runs, and which varieties came and went."""
    names = ("images", "features", "rejects", "components", "explained_variance")
    accuracies = [each.get("nearest_neighbors", {}).get("accuracy_components") for each in (before, now)]
    return {
        "run": before.get("run", ""),
        "figures": {
            **{name: [before.get(name), now[name]] for name in names},
            "varieties": [len(before["labels"]), len(now["labels"])],
            "accuracy_components": accuracies,
        },
        "new_varieties": sorted(now["labels"].keys() - before["labels"].keys()),
        "gone_varieties": sorted(before["labels"].keys() - now["labels"].keys()),
    }


def _shift(model: Mapping[str, Any], found: Mapping[str, Any], moments: Moments) -> float | None:
    """Return how far the mean image has moved, as the root mean square over the features, in their earlier deviations.

    None if the earlier features are of another network, or unknown.
    """
    mean, scale = (np.asarray(model.get(name, ())) for name in ("mean", "scale"))
    if model.get("model_id") != found["model_id"] or len(mean) != len(moments.mean):
        return None
    varying = scale > 0
    moved = (moments.mean - mean)[varying] / scale[varying]
    return float(np.sqrt(np.mean(moved**2))) if varying.any() else None
