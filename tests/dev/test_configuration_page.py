"""The configuration reference is what the declarations say."""

from configuration_page import PAGE, page
from fruit_features.settings import PARAMS


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make docs, and commit docs/configuration.md"


def test_every_param_and_variable_has_a_row() -> None:
    text = page()

    assert all(f"| `{name}` | " in text for name in PARAMS)
    assert "| `bucket` | required | string `^[a-z0-9]" in text
    assert "| `variance` | `0.8` | number above 0 to 1 | Variance: " in text
    assert "| `FRUITS_POLL_SECONDS` | `30` | How often sensors look" in text
