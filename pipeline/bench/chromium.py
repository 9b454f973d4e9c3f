"""A headless Chromium, driven by selenium: for benchmarks and tests. Both are only on developers' machines."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

PROGRAMS: Final = ("chromium", "chromedriver")  # Debian packages chromium and chromium-driver
# Nothing of Chromium's own may use the network or the processor while it is looked at, and containers have little
# shared memory.
FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
)


def installed() -> bool:
    """Whether there is all that it needs."""
    return all(map(shutil.which, PROGRAMS)) and importlib.util.find_spec("selenium") is not None


@contextmanager
def chromium(width: int = 1280, height: int = 800) -> Iterator[Any]:
    """Selenium's driver of a browser with a window of this size and a profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    browser, driver_path = map(shutil.which, PROGRAMS)
    options = webdriver.ChromeOptions()
    options.binary_location = browser or PROGRAMS[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(driver_path))
        try:
            window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
            yield driver
        finally:
            driver.quit()
