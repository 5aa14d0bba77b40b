"""Hooks of `mkdocs.yml`: pages that stand elsewhere in the repository, and the notebooks.

A link is written as it works in the repository (`../CONTRIBUTING.md`); in the site it leads to the
page that the file has there, and where it has none only its text is left.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parent.parent

# Files of the repository, and the pages that show them.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "xflowrl/rules/README.md": "rule_language.md",
}
_SOURCES = {page: file for file, page in PAGES.items()}
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<to>[^)\s#:]+)(?P<anchor>#[^)]*)?\)")
_IMAGE = re.compile(r"(?<=\]\()\.\./(?=results/)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages of other folders, the notebooks as pages, and the figures of `results/`."""
    for file, page in PAGES.items():
        text = (REPOSITORY / file).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    for notebook in sorted(Path(config.docs_dir).glob("notebooks/*.ipynb")):
        page = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, page, content=notebook_page(notebook)))
    for figure in sorted(REPOSITORY.glob("results/*.svg")):
        name = f"results/{figure.name}"
        files.append(File.generated(config, name, abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads the links of a page to pages."""
    source = _SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _IMAGE.sub("", linked(markdown, source, page.file.src_uri))


def linked(markdown: str, source: str, page: str) -> str:
    """The text with links to files of the repository leading to pages of the site.

    Args:
        markdown: the text.
        source: the file it stands in, from the repository's root.
        page: the page that shows it, from the site's.
    """

    def replacement(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["to"]))
        if not (REPOSITORY / target).exists():
            return match[0]  # left as it is for mkdocs to complain about
        inside = PAGES.get(target) or target.removeprefix("docs/")
        if inside == target:
            return match["text"]
        inside = re.sub(r"\.ipynb$", ".md", inside)
        if inside == page:
            return match[0]  # the notebook that this page is
        to = posixpath.relpath(inside, posixpath.dirname(page) or ".")
        return f"[{match['text']}]({to}{match['anchor'] or ''})"

    return _LINK.sub(replacement, markdown)


def notebook_page(notebook: Path) -> str:
    """A notebook as Markdown: its text, its code, and the text that the code prints."""
    parts = []
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            parts.append("```text\n" + "".join(output.get("text", ())).rstrip("\n") + "\n```")
    # Under the heading, which is the notebook's first line.
    parts[0] += f"\n\nThis page is a notebook: [{notebook.name}]({notebook.name})."
    return "\n\n".join(parts) + "\n"
