"""The Ray actors: thin hosts for what `pipeline` knows how to do. The only code here that imports ray.

Ray reads these settings once, when it is imported; worker processes inherit them. Whoever has set them keeps them.
"""

import os
import secrets

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else every worker would start through `uv run`
if "RAY_ADDRESS" not in os.environ and "RAY_AUTH_MODE" not in os.environ:
    # A Ray of our own: nobody else may submit to it. Left alone, Ray would write a token into the home directory.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # one that is given stays
