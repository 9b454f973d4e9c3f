"""HTTP: the pipeline's port, the live page on it, and the few questions that the command line asks it.

The only importers of aiohttp.
"""

from pipeline.adapters.web.client import check_port, get_json, url_of
from pipeline.adapters.web.server import Action, Body, Page, WebServer, as_json

__all__ = ["Action", "Body", "Page", "WebServer", "as_json", "check_port", "get_json", "url_of"]
