"""Which features count: those of the published inventory and network, each image once, whatever else lies there."""

from pathlib import Path

import numpy as np
import pytest

from app.published import PART, NotPublishedError, Published, _batches, load, read_latest
from app.storage import Storage
from tests import foreign_files
from tests.app.conftest import COLORS, Bucket


def published(bucket: Bucket) -> Published:
    storage = Storage(str(bucket.folder))
    return load(storage, read_latest(storage), np.float32)


def colors_of(found: Published) -> dict[str, list[int]]:
    """By path, the color that the vector stands for, up to its length."""
    return {
        path.rpartition("images/")[2]: np.round(vector[:3] / vector[:3].max() * 255).astype(int).tolist()
        for path, vector in zip(found.paths, found.vectors, strict=True)
    }


def test_every_image_of_the_inventory_is_there_once_sorted_by_variety(bucket: Bucket) -> None:
    found = published(bucket)

    assert (found.run, found.root) == ("first", "s3://fruits")
    assert found.names == sorted(COLORS)
    assert found.starts.tolist() == [0, 2, 4, 6]
    assert [path.split("/")[-2] for path in found.paths[::2]] == sorted(COLORS)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)


def test_images_outside_the_inventory_and_other_networks_do_not_count(bucket: Bucket) -> None:
    bucket.write_features(
        "later",
        [
            bucket.row("Deleted/1.png", (1, 2, 3)),
            bucket.row("Lemon/1.png", (1, 2, 3), etag="of an earlier file"),
            bucket.row("Lemon/1.png", (1, 2, 3), model_id="another"),
        ],
    )
    found = published(bucket)

    assert len(found.paths) == 8
    assert "Deleted" not in found.names
    assert colors_of(found)["Lemon/1.png"] != [85, 170, 255]


def test_of_an_image_that_two_runs_have_extracted_the_later_row_counts(bucket: Bucket) -> None:
    twice = [bucket.row("Lemon/1.png", (9, 9, 255)), bucket.row("Lemon/1.png", (0, 255, 0))]
    bucket.write_features("zz-later", twice)
    bucket.write_features("a-former", [bucket.row("Lime/1.png", (255, 0, 255))])
    found = colors_of(published(bucket))

    assert found["Lemon/1.png"] == [0, 255, 0]
    assert found["Lime/1.png"] != [255, 0, 255]


@pytest.mark.parametrize("name", ["part-00001-x.parquet", "notes.txt", ".part-1.parquet"])
def test_files_that_are_no_features_are_passed_over(bucket: Bucket, name: str) -> None:
    (bucket.folder / "features/run=first" / name).write_bytes(b"no Parquet")

    assert len(published(bucket).paths) == 8


def test_what_counts_among_foreign_files_is_what_the_dag_and_the_jobs_count(tmp_path: Path) -> None:
    for name, content in foreign_files.FEATURES.items():
        file = tmp_path / "features" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    storage = Storage(str(tmp_path))
    names = [name for name in storage.list("features") if PART.fullmatch(name)]
    found = [
        path for name in names for batch in _batches(storage, f"features/{name}") for path in batch["path"].to_pylist()
    ]

    assert sorted(found) == foreign_files.FEATURES_THAT_COUNT


def test_rejected_images_have_no_vector(bucket: Bucket) -> None:
    bucket.add("Lemon/broken.png", (1, 1, 1))  # listed, without features
    bucket.publish("first", features=8)

    assert len(published(bucket).paths) == 8


def test_results_of_an_earlier_version_have_their_inventory_among_the_runs(bucket: Bucket) -> None:
    before = bucket.folder / "runs/first/inventory/inventory.parquet"
    before.parent.mkdir(parents=True)
    (bucket.folder / "results/run=first/inventory.parquet").rename(before)

    assert len(published(bucket).paths) == 8


def test_what_is_missing_is_named(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(NotPublishedError, match="run the DAG until its publish task succeeds"):
        read_latest(Storage(str(tmp_path / "nowhere")))
    (bucket.folder / "results/run=first/inventory.parquet").unlink()
    with pytest.raises(
        NotPublishedError, match=r"results/run=first/inventory\.parquet .* trigger the DAG, which publishes anew"
    ):
        published(bucket)
    bucket.publish("first")
    (bucket.folder / "results/run=first/inventory.parquet").write_bytes(b"PAR1")
    with pytest.raises(NotPublishedError, match=r"results/run=first/inventory\.parquet .* is damaged: delete it"):
        published(bucket)
    bucket.publish("first", model="unknown")
    with pytest.raises(NotPublishedError, match="no features of network unknown"):
        published(bucket)
    (bucket.folder / "results/latest.json").write_text("[]")
    with pytest.raises(NotPublishedError, match="not what the DAG's publish task writes"):
        published(bucket)


def test_rows_of_another_length_are_named(bucket: Bucket) -> None:
    bucket.write_features("zz", [bucket.row("Lemon/1.png", (1, 2, 3), features=[1.0, 2.0])])

    with pytest.raises(NotPublishedError, match="1280 numbers"):
        published(bucket)


def test_an_image_is_read_from_the_copy_and_from_nowhere_else(bucket: Bucket) -> None:
    storage = Storage(str(bucket.folder))

    assert storage.read_image("s3://fruits/images/Lemon/1.png", "s3://fruits").startswith(b"\x89PNG")
    (bucket.folder.parent / "secret").write_text("secret")
    for outside in ("s3://fruits/../secret", "s3://other/images/Lemon/1.png"):
        with pytest.raises(FileNotFoundError):
            storage.read_image(outside, "s3://fruits")


def test_a_copy_of_a_prefix_finds_the_images_beside_it(bucket: Bucket) -> None:
    below = bucket.folder / "out/put"
    below.mkdir(parents=True)

    assert Storage(str(below)).read_image("s3://fruits/images/Lemon/1.png", "s3://fruits/out/put")
