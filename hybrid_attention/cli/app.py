"""The command that opens the page."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add the commands to those of an argument parser."""
    app = commands.add_parser("app", help="open the page that segments images in the browser, on this computer alone")
    app.add_argument("--port", type=int, help="port of the local server (default: 8421; 0: any that is free)")
    app.add_argument("--no_browser", action="store_true", help="print the address only")
    app.set_defaults(run=_app)


def _app(options: argparse.Namespace) -> None:
    from hybrid_attention.app import PORT, serve

    serve(PORT if options.port is None else options.port, not options.no_browser)
