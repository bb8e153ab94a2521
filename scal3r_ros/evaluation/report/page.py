"""The HTML of a report: one file without scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape

STYLE = """
:root { --ink: #1f2a33; --muted: #66727d; --line: #e4e7e9; --paper: #ffffff; --ground: #f4f5f4; --accent: #e84826; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
header { border-left: 5px solid var(--accent); padding-left: 18px; margin-bottom: 28px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 44px 0 14px; }
header p, figcaption { color: var(--muted); margin: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
.card b { display: block; font-size: 24px; line-height: 1.25; white-space: nowrap; }
.card span { color: var(--muted); font-size: 13px; }
figure { margin: 0 0 18px; background: var(--paper); border: 1px solid var(--line);
         border-radius: 8px; overflow: hidden; }
figure img { display: block; width: 100%; height: auto; }
figcaption { padding: 10px 16px 12px; font-size: 13px; border-top: 1px solid var(--line); }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 0 18px; }
table { width: 100%; border-collapse: collapse; background: var(--paper); border: 1px solid var(--line);
        border-radius: 8px; overflow: hidden; }
th, td { text-align: left; padding: 7px 16px; border-top: 1px solid var(--line); vertical-align: top; }
tr:first-child th, tr:first-child td { border-top: 0; }
th { font-weight: 600; white-space: nowrap; }
th.value, td.value { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
.wide th, .wide td { padding: 7px 8px; font-size: 13.5px; }
.wide th.value { white-space: normal; vertical-align: bottom; }
.wide th:first-child, .wide td:first-child { text-align: left; }
td.note { color: var(--muted); width: 100%; }
details { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font-size: 12.5px; line-height: 1.45; margin: 10px 0 4px; }
@media print { body { background: var(--paper); } figure, table, .card { break-inside: avoid; } }
"""


def page(title: str, subtitle: str, body: Iterable[str]) -> str:
    """A whole HTML document."""
    content = "\n".join(body)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>\n{content}\n</main>\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A separate sentence."""
    return f"<p>{escape(text)}</p>"


def link(target: str, text: str) -> str:
    """A sentence that leads to a file beside the page."""
    return f'<p><a href="{escape(target)}">{escape(text)}</a></p>'


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Big numbers side by side: (label, value, tooltip)."""
    boxes = (
        f'<div class="card" title="{escape(note)}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for label, value, note in items
    )
    return f'<div class="cards">{"".join(boxes)}</div>'


def table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Rows of label, value and note."""
    lines = (
        f'<tr><th>{escape(label)}</th><td class="value">{escape(value)}</td><td class="note">{escape(note)}</td></tr>'
        for label, value, note in rows
    )
    return f"<table>{''.join(lines)}</table>"


def grid(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Numbers in columns under a header; where they are wider than the page, they scroll by themselves."""
    head = "".join(f'<th class="value">{escape(name)}</th>' for name in header)
    lines = ("".join(f'<td class="value">{escape(cell)}</td>' for cell in row) for row in rows)
    table = f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
    return f'<div class="wide">{table}</div>'


def picture(png: bytes, caption: str) -> str:
    """A picture that is part of the page, with a caption."""
    data = base64.b64encode(png).decode("ascii")
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def side_by_side(pictures: Iterable[str]) -> str:
    """Pictures beside each other where the window is wide enough."""
    return f'<div class="pair">{"".join(pictures)}</div>'


def folded(summary: str, text: str) -> str:
    """Plain text that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def count_table(counts: Mapping[str, int]) -> str:
    """Names and whole numbers."""
    return table((name, f"{count:,}", "") for name, count in counts.items())
