import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from spark_jobs.report import charts


def clouds(labels: int, each: int = 12) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(labels)
    middles = generator.normal(size=(labels, 2)) * 15
    points = np.concatenate([middle + generator.normal(size=(each, 2)) for middle in middles])
    return points, [f"Variety {number:03}" for number in range(labels) for _ in range(each)]


def texts(figure: Figure) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]+)</text>", charts.svg(figure))


def test_the_curve_says_what_was_kept_and_asked() -> None:
    curve = (1 - 0.9 ** np.arange(1, 60)).tolist()
    written = texts(charts.variance_curve(curve, 16, 0.8))
    assert "16 components keep 81.5%" in written
    assert "requested: 80%" in written
    assert not [text for text in texts(charts.variance_curve(curve, 16, None)) if "requested" in text]


@pytest.mark.parametrize(("curve", "components"), [([1.0], 1), ([0.4, 0.7, 1.0], 3), ([0.5, 1.0], 1)])
def test_the_shortest_curves_can_be_drawn(curve: list[float], components: int) -> None:
    assert len(charts.png(charts.variance_curve(curve, components, 1.0))) > 5000


def test_every_label_is_a_group_of_points_that_a_page_can_bring_out() -> None:
    svg = charts.svg(charts.scatter(*clouds(131), [0.2, 0.1], legend=True))
    groups = re.findall(r'<g id="points-(\d+)">(.*?)</g>\s*(?=<g|</g>)', svg, re.DOTALL)
    assert sorted(int(number) for number, _ in groups) == list(range(131))
    assert [group.count("<use") for _, group in groups] == [12] * 131


@pytest.mark.parametrize(("labels", "named"), [(2, 2), (24, 24), (25, 0)])
def test_a_legend_names_the_labels_while_they_are_few(labels: int, named: int) -> None:
    written = texts(charts.scatter(*clouds(labels), [0.2, 0.1], legend=True))
    assert [text for text in written if text.startswith("Variety")] == [
        f"Variety {number:03}" for number in range(named)
    ]
    assert "Variety" not in charts.svg(charts.scatter(*clouds(labels), [0.2, 0.1], legend=False))


@pytest.mark.parametrize("labels", [1, 2, 12, 131])
def test_each_label_has_its_own_panel_and_name(labels: int) -> None:
    points, names = clouds(labels)
    [axes] = charts.small_multiples(points, names).axes
    assert [text.get_text() for text in axes.texts] == [f"Variety {number:03}" for number in range(labels)]

    marks, frames = axes.collections
    panels = [frame.get_extents() for frame in frames.get_paths()]
    assert len(panels) == labels
    for (x, y), name in zip(marks.get_offsets(), names, strict=True):
        panel = panels[int(name[-3:])]
        assert panel.x0 < x < panel.x1
        assert panel.y0 < y < panel.y1


def test_as_many_colors_as_labels_each_of_its_own() -> None:
    assert charts.colors(2) == charts.colors(16)[:2]
    assert len(set(charts.colors(16))) == 16
    assert len(set(charts.colors(131))) == 131


def test_names_are_text_and_never_markup_or_formulas() -> None:
    points, _ = clouds(1, 4)
    svg = charts.svg(charts.scatter(points, ["a <b> & $x^2$ \\frac"] * 4, [1.0, 0.0], legend=True))
    assert ">a &lt;b&gt; &amp; $x^2$ \\frac</text>" in svg


def test_the_same_data_gives_the_same_drawing() -> None:
    first, second = (charts.svg(charts.scatter(*clouds(5), [0.2, 0.1], legend=True)) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert not re.search(r'<svg[^>]* (width|height)="', first), "its page decides on its size"


def test_pictures_are_sharp_and_not_blank() -> None:
    image = Image.open(io.BytesIO(charts.png(charts.scatter(*clouds(12), [0.2, 0.1], legend=True))))
    assert image.width > 1400
    assert len(image.convert("RGB").getcolors(1 << 24)) > 500
