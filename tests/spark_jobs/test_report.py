import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from spark_jobs.fitted_model import FittedModel
from spark_jobs.moments import Moments
from spark_jobs.pca import fit
from spark_jobs.report import Sample, content, drawings, html, plane, separation
from spark_jobs.selection import Coverage

EACH = 12


def rows_of(labels: int) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(labels)
    middles = 4 * generator.normal(size=(labels, 30))
    rows = np.concatenate([middle + generator.normal(size=(EACH, 30)) for middle in middles])
    rows[:, 3] = np.float32(0.1)
    return rows, [f"Apple <{number}> & Açaí" for number in range(labels) for _ in range(EACH)]


class Reduction:
    """A fit on generated features, with a few rejects, and its report."""

    def __init__(self, labels: int, variance: float | None = 0.8, components: int | None = None) -> None:
        rows, names = rows_of(labels)
        self.moments = Moments.of(rows)
        found = fit(self.moments, variance, components)
        self.fitted = FittedModel(
            found.pca, "mobilenetv2-0123456789abcdef-224-v1", len(rows), found.curve.tolist(), "r1"
        )
        self.sample = Sample(names, rows)
        first = names[0]
        example = {
            "path": f"s3://b/{first}/x.jpg",
            "label": first,
            "reason": "not_an_image",
            "detail": "<script>1</script>",
        }
        self.images = Coverage(dict.fromkeys(names, EACH), {first: {"not_an_image": 2, "empty": 1}}, [example])
        self.asked = {"variance": variance} if variance else {"components": components} if components else {}

    def content(self) -> dict:
        found = content("manual__1", self.images, self.moments, self.fitted, self.asked, self.sample)
        return found | {
            "timings": {"select": 1.5, "moments": 3.25},
            "sizes": {"features_bytes": 3_456_789, "pca_bytes": 12_000, "pca_files": 1, "model_bytes": 999},
        }

    def page(self) -> str:
        found = self.content()
        svgs, pngs = drawings(found, self.sample, self.fitted.pca)
        return html(found, self.sample, svgs, pngs.get("each_label"))


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
    apart = separation(few.sample, few.fitted.pca)
    assert (apart["accuracy_features"], apart["accuracy_components"]) == (1.0, 1.0)
    shuffled = np.random.default_rng(0).permutation(few.sample.labels).tolist()
    assert separation(Sample(shuffled, few.sample.features), few.fitted.pca)["accuracy_components"] < 0.6


def test_a_sample_is_in_order_of_path_whatever_the_partitions() -> None:
    rows = pd.DataFrame({"path": ["b", "a"], "label": ["B", "A"], "features": [np.ones(3, "f4"), np.zeros(3, "f4")]})
    sample = Sample.of(rows)
    assert sample.labels == ["A", "B"]
    assert sample.features.tolist() == [[0, 0, 0], [1, 1, 1]]
    assert sample.features.dtype == np.float64


def test_one_component_is_drawn_on_a_line() -> None:
    assert plane(np.array([[1.0], [2.0]])).tolist() == [[1.0, 0.0], [2.0, 0.0]]
    assert plane(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0]]


def test_the_page_needs_nothing_from_outside(few: Reduction) -> None:
    page = few.page()
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s)>]+)""", page)
    assert sources
    assert [source for source in sources if not source.startswith(("data:image/png;base64,", "#"))] == []
    assert "default-src 'none'" in page
    assert "$" not in re.sub(r"base64,[^\"]*", "", page), "nothing was left to fill in"


def test_the_page_says_what_the_numbers_say(few: Reduction) -> None:
    found, page = few.content(), few.page()
    text = re.sub(r"<[^>]+>", " ", page)
    size, share = found["components"], found["explained_variance"]
    for fact in (f"{size} components keep {share:.1%}", f"first {size} principal components", "of 51 in the inventory"):
        assert fact in text
    assert "1 feature has the same value in every image and is left out" in text
    assert "not_an_image" in text
    assert "3.46 MB" in text


def test_names_from_the_bucket_are_text(few: Reduction) -> None:
    page = few.page()
    assert "<script>1" not in page
    assert "&lt;script&gt;1&lt;/script&gt;" in page
    assert "Apple &lt;0&gt; &amp; Açaí" in page
    assert "Apple <0>" not in page


def test_every_variety_has_a_name_that_brings_its_points_out(few: Reduction) -> None:
    page = few.page()
    chips = re.findall(
        r'<button type="button" data-group="(\d+)"><i style="background:(#\w+)"></i>([^<]+)</button>', page
    )
    assert [(number, name) for number, _, name in chips] == [
        (str(number), f"Apple &lt;{number}&gt; &amp; Açaí") for number in range(4)
    ]
    for number, color, _ in chips:
        points = re.search(rf'<g id="points-{number}">(.*?)</g>', page, re.DOTALL)
        assert points is not None
        assert color in points.group(1)


def test_without_rejects_the_page_says_so(few: Reduction) -> None:
    found = few.content() | {"rejects": 0, "rejects_by_reason": {}, "reject_examples": []}
    svgs, _ = drawings(found, few.sample, few.fitted.pca)
    assert "every image in the inventory has features" in html(found, few.sample, svgs, None)


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (1, {"variance": 0.8}),
        (2, {"variance": None, "components": 1}),
        (131, {"variance": 1.0}),
        (3, {"variance": None}),
    ],
    ids=["one variety", "one component", "131 varieties", "an earlier model"],
)
def test_every_kind_of_reduction_has_a_page(labels: int, options: dict) -> None:
    assert Reduction(labels, **options).page().endswith("</html>\n")


def test_one_image_in_an_earlier_space_has_a_page(few: Reduction) -> None:
    one = Reduction(labels=4, variance=None)
    one.moments = Moments.of(one.sample.features[:1])
    one.sample = Sample(one.sample.labels[:1], one.sample.features[:1])
    one.images = Coverage({one.sample.labels[0]: 1}, {}, [])
    page = one.page()
    assert one.content()["explained_variance"] is None
    assert "Too few images to compare" in page


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


@pytest.mark.parametrize("labels", [4, 131])
def test_a_browser_shows_it(chromium: str, tmp_path: Path, labels: int) -> None:
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(Reduction(labels).page())
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    options = [*flags.split(), "--disable-component-update", "--hide-scrollbars", "--window-size=1100,2600"]
    options += [f"--user-data-dir={tmp_path}/profile", f"--screenshot={picture}", page.as_uri()]
    subprocess.run([chromium, *options], check=True, timeout=120, capture_output=True)

    image = Image.open(picture).convert("RGB")
    assert image.size == (1100, 2600)
    colors = dict(map(reversed, image.getcolors(1 << 24)))
    assert len(colors) > 500
    accent = sum(count for (red, green, blue), count in colors.items() if red > 170 and green < 100 and blue < 60)
    assert accent > 800, "the chosen components are marked on the curve"
    drawn = image.crop((60, 950, 1040, 1600))  # where the scatter is
    assert len(drawn.getcolors(1 << 24)) > 200
