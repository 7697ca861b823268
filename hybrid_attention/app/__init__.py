"""The page that segments images in the browser, and the small server that hands it out."""

from hybrid_attention.app.server import PORT, PageServer, serve

__all__ = ["PORT", "PageServer", "serve"]
