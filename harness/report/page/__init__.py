"""One static page of everything a results folder holds: no server, no network, one file."""

from harness.report.page.page import render_page

__all__ = ["render_page"]
