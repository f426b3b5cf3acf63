"""What every page is made of: a document in one piece, and tables."""

from __future__ import annotations

from collections.abc import Sequence

from edge_bts.page.style import STYLE

__all__ = ["document", "table"]


def document(title: str, body: Sequence[str]) -> str:
    """Return a whole page; a policy in it forbids scripts and the network.

    Args:
        title: As HTML, what the browser's tab says.
        body: HTML, part by part.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], starts: set[int] | None = None
) -> str:
    """Return a table of HTML cells, the first of each row its head; ``starts`` begin a group.

    What is wider than the page scrolls, with the keyboard too.
    """
    head = "".join(f"<th>{name}</th>" for name in heads)
    lines = []
    for number, (first, *cells) in enumerate(rows):
        group = ' class="next"' if number in (starts or ()) else ""
        lines.append(f"<tr{group}><th>{first}</th>{''.join(f'<td>{c}</td>' for c in cells)}</tr>")
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
