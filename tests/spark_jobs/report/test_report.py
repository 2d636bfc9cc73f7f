import csv
import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from spark_jobs.reduction.moments import Moments
from spark_jobs.reduction.pca import fit
from spark_jobs.reduction.pca_model import PcaModel
from spark_jobs.reduction.selection import InventorySummary
from spark_jobs.report import content
from spark_jobs.report.background import Background
from spark_jobs.report.content import Sample
from spark_jobs.report.report import Charts, Report, first_two
from tests.conftest import PROJECT

EACH = 12
TIMINGS = {"select": 1.5, "moments": 3.25}
SIZES = {"features_bytes": 3_456_789, "pca_bytes": 12_000, "pca_files": 1, "model_bytes": 999}


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
        self.moments = Moments.from_rows(rows)
        found = fit(self.moments, variance, components)
        self.fitted = PcaModel(
            found.pca, "mobilenetv2-0123456789abcdef-224-v1", len(rows), found.cumulative_variance.tolist(), "r1"
        )
        self.sample = Sample(names, rows)
        first = names[0]
        example = {
            "path": f"s3://b/{first}/x.jpg",
            "label": first,
            "reason": "not_an_image",
            "detail": "<script>1</script>",
        }
        self.images = InventorySummary(dict.fromkeys(names, EACH), {first: {"not_an_image": 2, "empty": 1}}, [example])
        self.asked = {"variance": variance} if variance else {"components": components} if components else {}

    def content(self) -> dict:
        return content.build("manual__1", self.images, self.moments, self.fitted, self.asked, self.sample)

    def report(self, **changes: object) -> Report:
        drawn = Charts.draw(self.fitted, self.asked.get("variance"), self.sample)
        return Report(self.content() | changes, drawn)

    def page(self, **changes: object) -> str:
        report = self.report(**changes)
        return report.html(report.content | {"timings": TIMINGS, "sizes": SIZES})


@pytest.fixture(scope="module")
def few() -> Reduction:
    return Reduction(labels=4)


def test_one_component_is_drawn_on_a_line() -> None:
    assert first_two(np.array([[1.0], [2.0]])).tolist() == [[1.0, 0.0], [2.0, 0.0]]
    assert first_two(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0]]


def test_the_page_needs_nothing_from_outside(few: Reduction) -> None:
    page = few.page()
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s)>]+)""", page)
    assert sources
    assert [
        source for source in sources if not source.startswith(("data:image/png;base64,", "data:text/csv;", "#"))
    ] == []
    assert "default-src 'none'" in page
    assert not re.search(r"\{\{|\{%|\$", re.sub(r"base64,[^\"]*", "", page)), "nothing was left to fill in"


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


def test_every_variety_has_a_bar_with_its_counts(few: Reduction) -> None:
    section = few.page().partition('id="varieties"')[2]
    bars = re.findall(r"<li><span title=\"[^\"]+\">([^<]+)</span>(.*?)</li>", section, re.DOTALL)
    counts = {label: re.search(r"<small>(.*?)</small>", bar)[1] for label, bar in bars}
    assert list(counts.items())[:2] == [
        ("Apple &lt;0&gt; &amp; Açaí", "12 (3 without)"),
        ("Apple &lt;1&gt; &amp; Açaí", "12"),
    ]
    assert len(counts) == 4
    assert [re.findall(r"width:([\d.]+%)", bar) for _, bar in bars][:2] == [["80.00%", "20.00%"], ["80.00%"]]


def test_the_figures_can_be_downloaded_as_csv(few: Reduction) -> None:
    links = dict(re.findall(r'download="([a-z]+\.csv)" href="data:text/csv;charset=utf-8,([^"]*)"', few.page()))
    tables = {name: list(csv.reader(io.StringIO(unquote(content)))) for name, content in links.items()}

    assert tables["varieties.csv"][:2] == [
        ["variety", "features", "rejects", "recognized", "sampled"],
        ["Apple <0> & Açaí", "12", "3", "12", "12"],
    ]
    assert len(tables["variance.csv"]) == 1 + len(few.content()["variance_curve"])
    assert tables["confused.csv"] == [["variety", "taken for", "images"]]


def test_the_page_compares_with_the_previous_run(few: Reduction) -> None:
    before = Reduction(labels=3)
    described = {"model_id": before.fitted.model_id, "mean": (few.moments.mean + few.fitted.pca.scale / 2).tolist()}
    model = described | {"scale": few.fitted.pca.scale.tolist()}
    background = Background(before.content() | {"run": "earlier"}, model, {"images_now": 90, "seconds": 30.0}, 1.2)
    compared = background.compared(few.content(), few.moments)

    assert compared["previous"]["new_varieties"] == ["Apple <3> & Açaí"]
    assert compared["previous"]["figures"]["features"] == [36, 48]
    assert compared["previous"]["shift"] == pytest.approx(0.5)
    assert compared["extraction"] == {"images": 90, "seconds": 30.0, "rate": 3.0, "cost_usd": 0.01}
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", few.page(**compared)))
    assert "Compared with earlier. The mean image has moved by 0.500 standard deviations" in text
    assert "New: Apple &lt;3&gt; &amp; Açaí." in text
    assert "90 images in 30 s, about $0.01 of the cluster" in text
    cheap = compared | {"extraction": compared["extraction"] | {"cost_usd": 0.004}}
    assert "90 images in 30 s, less than $0.01 of the cluster" in re.sub(r"\s+", " ", few.page(**cheap))


def test_the_report_does_without_what_is_not_there(few: Reduction, tmp_path: Path) -> None:
    background = Background.read(f"{tmp_path}/none", f"{tmp_path}/none.json", None)

    assert background.compared(few.content(), few.moments) == {}
    other = Background(few.content(), {"model_id": "another", "mean": [0.0], "scale": [1.0]}, {})
    assert other.compared(few.content(), few.moments)["previous"]["shift"] is None


def test_without_rejects_the_page_says_so(few: Reduction) -> None:
    page = few.page(rejects=0, rejects_by_reason={}, reject_examples=[])
    assert "every image in the inventory has features" in page


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
    one.moments = Moments.from_rows(one.sample.features[:1])
    one.sample = Sample(one.sample.labels[:1], one.sample.features[:1])
    one.images = InventorySummary({one.sample.labels[0]: 1}, {}, [])
    page = one.page()
    assert one.content()["explained_variance"] is None
    assert "Too few images to compare" in page


def test_the_page_is_found_inside_the_zip_of_py_files(tmp_path: Path) -> None:
    package = PROJECT / "spark_jobs"
    with zipfile.ZipFile(tmp_path / "jobs.zip", "w") as archive:
        for file in package.rglob("*.*"):
            archive.write(file, file.relative_to(PROJECT))
    code = "from spark_jobs.report import page; print(page.__file__, page._text('page.html'))"
    environment = {"PYTHONPATH": str(tmp_path / "jobs.zip")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith(f"{tmp_path}/jobs.zip/")
    assert "<!DOCTYPE html>" in done.stdout


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
