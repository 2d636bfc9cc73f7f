"""The numbers of report.json."""

import json

import numpy as np
import pyarrow as pa
import pytest

from spark_jobs.report.content import Sample, nearest_neighbor_figures

from .test_report import Reduction


@pytest.fixture(scope="module")
def few() -> Reduction:
    return Reduction(labels=4)


def test_the_numbers_for_programs(few: Reduction) -> None:
    found = json.loads(json.dumps(few.content()))
    assert (found["run"], found["model_id"]) == ("manual__1", "mobilenetv2-0123456789abcdef-224-v1")
    assert (found["images"], found["features"], found["rejects"]) == (51, 48, 3)
    assert found["rejects_by_reason"] == {"not_an_image": 2, "empty": 1}
    assert found["labels"]["Apple <0> & Açaí"] == {"features": 12, "rejects": 3}
    assert found["labels"]["Apple <3> & Açaí"] == {"features": 12, "rejects": 0}
    assert found["components"] == next(n for n, share in enumerate(found["variance_curve"], 1) if share >= 0.8)
    assert found["explained_variance"] == pytest.approx(found["variance_curve"][found["components"] - 1])
    assert (found["feature_count"], found["constant_features"]) == (30, 1)
    assert found["nearest_neighbors"]["sample"] == 48
    assert found["nearest_neighbors"]["largest_label_share"] == 0.25


def test_labels_far_apart_stay_apart_and_labels_at_random_do_not(few: Reduction) -> None:
    apart = nearest_neighbor_figures(few.sample, few.fitted.pca)
    assert (apart["accuracy_features"], apart["accuracy_components"]) == (1.0, 1.0)
    shuffled = np.random.default_rng(0).permutation(few.sample.labels).tolist()
    assert nearest_neighbor_figures(Sample(shuffled, few.sample.features), few.fitted.pca)["accuracy_components"] < 0.6


def test_a_sample_is_in_order_of_path_whatever_the_partitions() -> None:
    parts = [
        pa.table({"path": [path], "label": [label], "features": pa.array([row], pa.list_(pa.float32()))})
        for path, label, row in (("b", "B", [1, 1, 1]), ("a", "A", [0, 0, 0]))
    ]
    sample = Sample.from_table(pa.concat_tables(parts))
    assert sample.labels == ["A", "B"]
    assert sample.features.tolist() == [[0, 0, 0], [1, 1, 1]]
    assert sample.features.dtype == np.float64
