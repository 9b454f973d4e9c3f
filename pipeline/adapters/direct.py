"""HTTP to where it is addressed. A proxy that the environment names would be given the token that goes with a request.

Must not know: what is asked.
"""

from __future__ import annotations

import urllib.request
from typing import Final

opener: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
