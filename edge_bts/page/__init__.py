"""An evaluation as one HTML file to look at: figures, plots, images; no script, no network."""

from edge_bts.page.page import Section, render_page

__all__ = ["Section", "render_page"]
