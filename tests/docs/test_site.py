"""The site is built, every link in it leads somewhere, and every page is found in it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent

for _package in ("mkdocs", "material", "mkdocstrings"):
    if importlib.util.find_spec(_package) is None:
        pytest.skip("needs the extra docs", allow_module_level=True)

from site_pages import PAGES, linked, notebook_page  # noqa: E402 (it imports mkdocs)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """mkdocs, having built the site into the folder that is its last argument."""
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.fixture
def site(build: subprocess.CompletedProcess[str]) -> Path:
    return Path(build.args[-1])


def test_nothing_is_wrong_with_links_and_docstrings(
    build: subprocess.CompletedProcess[str],
) -> None:
    assert build.returncode == 0, build.stderr


def test_every_page_and_figure_is_in_the_site(site: Path) -> None:
    docs = REPOSITORY / "docs"
    pages = [path.relative_to(docs) for path in docs.rglob("*.md")]
    notebooks = [path.relative_to(docs) for path in docs.rglob("*.ipynb")]
    for page in [*pages, *notebooks, *map(Path, PAGES.values())]:
        assert (site / page.with_suffix(".html")).is_file(), page
    assert (site / "results" / "search_squeezenet.svg").is_file()


def test_docstrings_are_in_the_reference(site: Path) -> None:
    functions = (site / "reference" / "functions.html").read_text("utf-8")
    assert "Makes a model cheaper" in functions
    engine = (site / "reference" / "engine.html").read_text("utf-8")
    assert "Milliseconds per operator signature" in engine


def test_a_page_is_read_without_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text, page


@pytest.mark.parametrize(
    ("source", "page", "text", "expected"),
    [
        ("README.md", "index.md", "[a](docs/results.md#b)", "[a](results.md#b)"),
        ("docs/rule.md", "rule.md", "[a](../CONTRIBUTING.md#b)", "[a](contributing.md#b)"),
        ("docs/rule.md", "rule.md", "[a](../xflowrl/rules/README.md)", "[a](rule_language.md)"),
        (
            "docs/notebooks/write_an_agent.ipynb",
            "notebooks/write_an_agent.md",
            "[a](../../README.md)",
            "[a](../index.md)",
        ),
        (
            "README.md",
            "index.md",
            "[a](docs/notebooks/write_an_agent.ipynb)",
            "[a](notebooks/write_an_agent.md)",
        ),
        (
            "docs/notebooks/write_an_agent.md",
            "notebooks/write_an_agent.md",
            "[a](write_an_agent.ipynb)",
            "[a](write_an_agent.ipynb)",
        ),
        ("docs/rule.md", "rule.md", "see [a](../pyproject.toml).", "see a."),
        ("docs/rule.md", "rule.md", "[a](missing.md)", "[a](missing.md)"),
        ("docs/rule.md", "rule.md", "[a](https://example.org/)", "[a](https://example.org/)"),
    ],
)
def test_links_lead_to_pages(source: str, page: str, text: str, expected: str) -> None:
    assert linked(text, source, page) == expected


def test_a_notebook_is_a_page() -> None:
    page = notebook_page(REPOSITORY / "docs" / "notebooks" / "write_an_agent.ipynb")
    assert page.startswith("# Write an agent\n\nThis page is a notebook: [write_an_agent.ipynb]")
    assert "```python\nimport xflowrl" in page and "```text\n" in page
