"""A live page in the browser: frames as they come, each with the mask that was found on it.

:mod:`~edge_bts.view.sources` are where frames come from, :mod:`~edge_bts.view.live` runs the
network on the newest of them, :mod:`~edge_bts.view.wire` makes of frame and mask one message, and
:mod:`~edge_bts.view.server` serves it with the page, on loopback, to who has the token.
"""

from edge_bts.view.live import Live
from edge_bts.view.sources import Source, image_server, node_results, played
from edge_bts.view.wire import Notice

__all__ = ["Live", "Notice", "Source", "image_server", "node_results", "played"]
