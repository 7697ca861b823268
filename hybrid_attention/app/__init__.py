"""The web page that segments images in the browser, and the server for it."""

from hybrid_attention.app.server import PORT, PageServer, serve

__all__ = ["PORT", "PageServer", "serve"]
