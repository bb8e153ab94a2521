"""Hook of mkdocs.yml: files that stand where every repository has them become pages of the site, their links mended."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "scal3r_ros/weights/MODEL_CARD.md": "model_card.md",
}
"""Path from the repository's root, and the page it becomes."""

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(?=[)#])")
"""The path in a Markdown link or picture; its anchor stays."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds `PAGES` to the files of the site."""
    root = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        text = (root / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=links_for_site(text, posixpath.dirname(source))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of a page in docs/ to one of `PAGES`."""
    return markdown if page.file.src_uri in PAGES.values() else links_for_site(markdown, "docs")


def links_for_site(text: str, folder: str) -> str:
    """A text from `folder` of the repository, with links as they are between pages of the site."""

    def mended(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        return PAGES.get(path, posixpath.relpath(path, "docs"))

    return LINK.sub(mended, text)
