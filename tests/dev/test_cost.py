"""The estimates of docs/cost.md."""

import pytest

import cost
from fruit_features.prices import PRICES_DATE
from tests.conftest import PROJECT


def test_the_page_has_the_table() -> None:
    assert cost.table() in (PROJECT / "docs/cost.md").read_text(encoding="utf-8"), "copy the output of dev/cost.py"


def test_the_page_has_the_prices_and_says_which_have_no_source() -> None:
    page = (PROJECT / "docs/cost.md").read_text(encoding="utf-8")

    assert cost.price_table() in page, "copy the output of dev/cost.py"
    assert PRICES_DATE in page


def test_a_million_images_on_the_default_cluster() -> None:
    default = cost.Cluster("m5.xlarge")

    # 15 minutes, 1e6 images at 8 x 50 a second, and 1e6 rows at 8 x 1000 a second
    assert default.minutes(1_000_000) == pytest.approx(15 + 2500 / 60 + 125 / 60)
    assert default.usd_per_hour == pytest.approx(3 * (0.224 + 0.048 + 0.012))
