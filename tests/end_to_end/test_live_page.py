"""The live page in a real Chromium, as somebody looks at it."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from pipeline.adapters import recordings
from pipeline.bench import chromium, synthetic
from pipeline.core.model import STREAMS
from tests.looking import NAME, Served

pytestmark = pytest.mark.chromium

SECOND = 1e6
SHOWN = ("rms_voltage_v", "rms_current_a", "real_power_w", "power_factor")


class Page:
    """A browser with the live page in it."""

    def __init__(self, driver: Any, until: Callable[..., Any], pictures: Path) -> None:
        self.driver = driver
        self.until = until
        self._pictures = pictures

    def open(self, url: str) -> None:
        self.driver.get(url)

    def do(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, css: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        return str(self.do("return document.querySelector(arguments[0])?.textContent ?? ''", css))

    def wait_for(self, css: str, *texts: str) -> None:
        self.until(lambda: self.text(css).startswith(texts), 30)

    def cycles(self, stream: str, column: str, channel: str = "a") -> tuple[list[int], np.ndarray[Any, Any]]:
        """The sequence numbers and a column that the page has."""
        numbers, values = self.do(
            "const {store} = karman.device.view;"
            "return [[...store.sequence.slice(0, store.length)],"
            " [...store.columns.get(arguments.length ? [...arguments].join('\\n') : '').slice(0, store.length)]]",
            stream,
            channel,
            column,
        )
        return numbers, np.array(values, np.float32)

    def picture(self, name: str) -> None:
        self._pictures.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        picture.quantize(128).save(
            self._pictures / f"{name}.png", optimize=True
        )  # a third of the size, the same to see

    def errors(self) -> list[str]:
        """What the browser complained of, but for what a test provokes."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def page(until_true: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open browsers; each has a profile of its own. Pictures go to the folder in KARMAN_TEST_PICTURES."""
    for program in chromium.PROGRAMS:
        if shutil.which(program) is None:
            if os.environ.get("KARMAN_TEST_REQUIRE_CHROMIUM"):
                pytest.fail(f"{program} is required here and not installed")
            pytest.skip(f"{program} is not installed (Debian packages chromium and chromium-driver)")
    pictures = Path(os.environ.get("KARMAN_TEST_PICTURES") or tmp_path)
    with ExitStack() as stack:
        yield lambda *size: Page(stack.enter_context(chromium.chromium(*size)), until_true, pictures)


def frames_of(scenario: str, column: str) -> dict[str, np.ndarray[Any, Any]]:
    """Values of a recording, by stream, in the order of its frames."""
    rows = recordings.load(scenario).cycles
    streams = np.array(rows.column("stream").to_pylist())
    values = rows.column(f"a_{column}").to_numpy(zero_copy_only=False)
    return {stream: values[streams == stream] for stream in STREAMS}


@pytest.mark.timeout(360)  # it plays for a minute, and starts and ends everything
def test_a_demo_is_looked_at(start: Callable[..., Any], page: Callable[..., Page], public_folder: Path) -> None:
    demo = start("demo", "sample1", "--devices", "2", "--data-dir", str(public_folder))
    demo.ready()
    url = f"http://127.0.0.1:{demo.port}"
    tab = page()
    tab.open(url)
    tab.wait_for("#state-text", "live")
    assert tab.driver.title == "karman1 · Karman"
    assert tab.text("#simulated strong") == "Simulated"

    # Charts move.
    newest, frames = tab.do("return [karman.device.view.store.newestUs, karman.device.frames]")
    tab.until(lambda: tab.do("return karman.device.view.store.newestUs") > newest + 3 * SECOND)
    assert tab.do("return karman.device.frames") > frames + 10

    # Every cycle that it has is that of the recording, to the last bit.
    for column in SHOWN:
        recorded = frames_of("sample1", column)
        for stream in STREAMS:
            numbers, values = tab.cycles(stream, column)
            assert len(numbers) > 180
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            np.testing.assert_array_equal(values, recorded[stream][numbers])
    numbers, total = tab.cycles("total", "real_power_w")
    added = np.sum([frames_of("sample1", "real_power_w")[stream][numbers] for stream in STREAMS], axis=0, dtype=float)
    np.testing.assert_allclose(total, added, rtol=1e-6)

    # The figures are those of the API.
    def agree() -> bool:
        now = tab.do("return fetch('/api/v1/devices/karman1/now').then((answer) => answer.json())")
        figures = now["channels"]["a"]
        wanted = {
            "p": f"{figures['total']['real_power_w'] / 1000:.2f}",
            "pf": f"{figures['total']['power_factor']:.3f}",
            "worst": f"{figures['worst']['peak_current_a']:.1f}",
            "room": f"{60 - figures['worst']['peak_current_a']:.1f}",
        }
        return {name: tab.text(f"[data-figure={name}] b") for name in wanted} == wanted

    tab.until(agree, 30)
    assert tab.text("[data-figure=room] small").endswith("% of 60 A")
    assert "none missing" in tab.text("#quality")

    # The database's older cycles join the newest without a seam.
    tab.find("#windows label:nth-child(3)").click()
    tab.until(lambda: tab.cycles(STREAMS[0], "real_power_w")[0][0] == 0)
    assert tab.do("return karman.device.view.store.gaps(0, Infinity)") == []
    tab.picture("live-page-minute")
    tab.find("#windows label:nth-child(1)").click()
    tab.until(lambda: tab.cycles(STREAMS[0], "real_power_w")[0][-1] > 1500)  # the recording's load begins
    tab.picture("live-page")
    tab.find("#theme").click()
    tab.picture("live-page-dark")
    tab.find("#theme").click()

    switch_scenario(tab, demo)
    kill_the_source(tab, demo)

    phone = page(390, 844)
    phone.open(url)
    phone.wait_for("#state-text", "live")
    phone.until(lambda: phone.do("return karman.device.frames") > 30)
    phone.picture("live-page-phone")
    assert phone.do("return document.documentElement.scrollWidth") == 390
    assert (tab.errors(), phone.errors()) == ([], [])
    lose_the_gateway(tab, demo)
    assert demo.end() == 0, demo.output()


def switch_scenario(tab: Page, demo: Any) -> None:
    Select(tab.find("#scenario")).select_by_value("sample3-b200-dynamic-powercap")
    tab.until(lambda: demo.status()["replay"]["recording"].startswith("sample3"))
    switched = tab.do("return karman.device.view.store.sequence[karman.device.view.store.length - 1]")
    recorded = frames_of("sample3", "real_power_w")[STREAMS[0]]

    def plays() -> bool:
        numbers, values = tab.cycles(STREAMS[0], "real_power_w")
        later = values[np.array(numbers) > switched + 60]
        return len(later) > 60 and np.isin(later, recorded).all()

    tab.until(plays)
    tab.until(lambda: tab.do("return document.getElementById('scenario').value").startswith("sample3"))
    assert tab.do("return karman.device.view.store.gaps(0, Infinity)") == []


def kill_the_source(tab: Page, demo: Any) -> None:
    replay = demo.actor("ReplayActor")
    replay.suspend()
    tab.wait_for("#state-text", "stale")
    tab.until(lambda: "No cycles" in tab.text("#announce"))
    tab.wait_for("#state-text", "silent")
    tab.until(lambda: tab.text("[data-figure=p] b") == "–", 30)
    tab.picture("live-page-silent")
    replay.kill()
    tab.wait_for("#state-text", "live")
    tab.until(lambda: tab.do("return karman.device.view.store.gaps(0, Infinity).length") > 0)
    tab.until(lambda: "missing" in tab.text("#quality") and "none missing" not in tab.text("#quality"), 30)
    tab.picture("live-page-gap")


def lose_the_gateway(tab: Page, demo: Any) -> None:
    """The page finds it again by itself, and what it missed meanwhile is drawn."""
    gaps = tab.do("return karman.device.view.store.gaps(0, Infinity).length")
    newest = tab.do("return karman.device.view.store.newestUs")
    demo.actor("PrometheusWriterActor").kill()
    tab.wait_for("#state-text", "not connected")
    tab.wait_for("#state-text", "live")
    tab.until(lambda: tab.do("return karman.device.view.store.newestUs") > newest + 3 * SECOND)
    assert tab.do("return karman.device.view.store.gaps(0, Infinity).length") == gaps


@pytest.fixture
def tab(page: Callable[..., Page]) -> Iterator[Page]:
    """A browser at a page of synthetic devices."""
    with synthetic.served(3) as (url, _):
        made = page()
        made.open(url)
        made.wait_for("#state-text", "live")
        yield made
        assert made.errors() == []


def test_pausing_zooming_and_reading(tab: Page) -> None:
    def view() -> list[float]:
        return list(tab.do("return [karman.device.view.fromUs, karman.device.view.toUs]"))

    tab.until(lambda: tab.do("return karman.device.view.store.length") > 600)
    tab.find("#charts").send_keys(Keys.SPACE)
    still = view()
    length = tab.do("return karman.device.view.store.newestUs")
    tab.until(lambda: tab.do("return karman.device.view.store.newestUs") > length + SECOND)
    assert view() == still
    assert tab.find("#pause").get_attribute("aria-pressed") == "true"

    # One cursor reads all charts, and says whose cycle it is.
    plot = tab.find(".u-over")
    ActionChains(tab.driver).move_to_element_with_offset(plot, 40, 0).perform()
    tab.wait_for("#cursor", *[str(hour) for hour in range(3)])
    number = int(re.search(r"cycle (\d+)", tab.text("#cursor"))[1])  # type: ignore[index]
    numbers, powers = tab.cycles(STREAMS[0], "real_power_w")
    _, volts = tab.cycles(STREAMS[2], "rms_voltage_v")
    at = numbers.index(number)
    assert tab.text(".chart:nth-child(1) .value:nth-child(1) b") == f"{powers[at] / 1000:.2f}"
    assert tab.text(".chart:nth-child(3) .value:nth-child(3) b") == f"{volts[at]:.1f}"

    ActionChains(tab.driver).move_to_element(plot).click_and_hold().move_by_offset(80, 0).release().perform()
    tab.until(lambda: view() != still)
    zoomed = view()
    assert still[0] < zoomed[0] < zoomed[1] < still[1]
    width = plot.size["width"]
    assert (zoomed[1] - zoomed[0]) / (still[1] - still[0]) == pytest.approx(80 / width, rel=0.1)
    tab.find("#charts").send_keys("-")
    tab.until(lambda: view()[1] - view()[0] == pytest.approx(2 * (zoomed[1] - zoomed[0])))
    tab.find("#back").click()
    tab.until(lambda: view()[0] > still[0] + SECOND)


def test_what_is_on_screen_comes_as_csv(tab: Page) -> None:
    tab.until(lambda: tab.do("return karman.device.view.store.length") > 600)
    tab.find("#pause").click()
    text = tab.driver.execute_async_script(
        "const done = arguments[0]; const {name, view, about} = karman.device;"
        "import('/export.js').then((module) => done(module.csv(name, view, about)))"
    )
    head, *lines = text.split("\r\n")[:-1]
    names = head.split(",")
    assert names[:4] == ["time", "device", "source", "sequence"]
    assert len(lines) == pytest.approx(600, abs=2)
    column = names.index(f"{STREAMS[0]} a real_power_w")
    rows = [line.split(",") for line in lines]
    numbers, powers = tab.cycles(STREAMS[0], "real_power_w")
    assert {row[2] for row in rows} == {"simulated sample1"}
    for row in rows:
        assert np.float32(row[column]) == powers[numbers.index(int(row[3]))]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", rows[0][0])


def test_a_thousand_devices(page: Callable[..., Page]) -> None:
    with synthetic.served(1000) as (url, _):
        tab = page()
        tab.open(f"{url}/#/fleet")
        tab.wait_for("[data-figure=devices] b", "1,000")
        assert tab.do("return document.querySelectorAll('#fleet tbody tr').length") < 60
        assert tab.find("#fleet").get_attribute("aria-rowcount") == "1001"
        tab.until(lambda: tab.find("td.trend path").get_attribute("d").count("L") > 1)

        def column(name: str) -> list[str]:
            return list(tab.do(f"return [...document.querySelectorAll('td.{name}')].map((cell) => cell.textContent)"))

        assert column("device")[:2] == ["bench0001", "bench0002"]
        tab.find("th.real_power_w button").click()
        assert tab.find("th.real_power_w").get_attribute("aria-sort") == "descending"
        tab.until(lambda: (shown := [float(text) for text in column("real_power_w")]) == sorted(shown, reverse=True))
        tab.picture("fleet")
        tab.find("th.device button").click()
        tab.do("document.getElementById('scroller').scrollTop = 1e9")
        tab.until(lambda: column("device")[-1] == "bench1000")
        tab.find("#filter").send_keys("r07")
        tab.until(lambda: len(column("device")) == 20 and set(column("rack")) == {"r07"})
        tab.find("td.device a").click()
        tab.wait_for("#state-text", "live")
        assert tab.find("#device").get_attribute("value") == "bench0140"
        assert tab.errors() == []


def test_what_comes_from_outside_is_text(page: Callable[..., Page]) -> None:
    served = Served()
    served.source.stream = "threephase/<img src=x onerror=document.title='taken'>"
    served.source.send(*range(60))
    tab = page()
    tab.open(served.url)
    tab.wait_for("#state-text", "live", "stale", "silent")
    tab.until(lambda: tab.do("return karman.device.view.store.length") > 10)
    assert Select(tab.find("#device")).first_selected_option.text == NAME
    tab.open(f"{served.url}/#/device/%3Cb%3E")
    tab.until(lambda: "<b>" in tab.text("#notice"))
    tab.open(f"{served.url}/#/fleet")
    tab.wait_for("tr:nth-child(3) td.device a", NAME)
    assert tab.do("return document.querySelectorAll('main img, main b b').length") == 0
    assert tab.driver.title != "taken"
    assert tab.errors() == []


def test_channels_that_have_data_can_be_chosen(page: Callable[..., Page]) -> None:
    served = Served()
    served.source.send(*range(30))
    tab = page()
    tab.open(served.url)
    tab.until(lambda: "channel b: no data" in tab.text("#quality"))
    assert not tab.find("#channels").is_displayed()
    served.source.channels = "b"
    served.source.send(*range(30, 60))
    tab.until(lambda: tab.find("#channels").is_displayed())
    tab.find("#channels label:nth-child(2)").click()
    assert tab.do("return karman.device.view.channel") == "b"
    numbers, powers = tab.cycles(STREAMS[0], "real_power_w", "b")
    assert numbers == list(range(60))
    np.testing.assert_array_equal(powers, [*[np.nan] * 30, *range(30, 60)])
    numbers, powers = tab.cycles(STREAMS[0], "real_power_w", "a")
    np.testing.assert_array_equal(powers, [*range(30), *[np.nan] * 30])
    served.source.look()
    tab.until(lambda: "no data" not in tab.text("#quality"))


def test_a_token_is_asked_for(page: Callable[..., Page]) -> None:
    served = Served("secret-word/+")
    tab = page()
    tab.open(served.url)
    tab.until(lambda: tab.find("#login").is_displayed())
    tab.find("#token").send_keys("wrong", Keys.ENTER)
    tab.wait_for("#wrong", "This token")
    tab.find("#token").clear()
    tab.find("#token").send_keys("secret-word/+", Keys.ENTER)
    tab.until(lambda: not tab.find("#login").is_displayed())
    tab.until(lambda: Select(tab.find("#device")).first_selected_option.text == NAME)
    tab.driver.refresh()
    tab.until(lambda: Select(tab.find("#device")).first_selected_option.text == NAME)
    assert "secret" not in tab.driver.current_url


def test_no_spike_is_lost_and_merging_keeps_the_order(tab: Page) -> None:
    """The store's own rules, against plain statements of them, in the engine that runs them."""
    found = tab.driver.execute_async_script(STORE_CHECK + "check().then(arguments[arguments.length - 1])")
    assert found == "as it should be"


STORE_CHECK = """
async function check() {
  const { CycleStore } = await import("/store.js");
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const block = (numbers) => ({
    streams: ["s"], channels: ["a"],
    time: Float64Array.from(numbers, (n) => 1.8e15 + n * 16667),
    sequence: Float64Array.from(numbers),
    columns: new Map([["k", Float32Array.from(numbers, (n) => values[n])]]),
  });
  const values = Array.from({ length: 18000 }, () => (random() < 0.001 ? 1000 : 1) * random());
  const whole = [...values.keys()];
  // In parts, some late, some twice: the same as at once.
  const store = new CycleStore(60);
  const starts = [];
  for (let at = 0; at < 18000; at += 600) starts.push(at);
  starts.sort(() => random() - 0.5);
  for (const at of starts) store.add(block(whole.slice(Math.max(0, at - 50), at + 600)));
  if (store.length !== 18000) return `length ${store.length}`;
  for (const n of whole) if (store.sequence[n] !== n || store.columns.get("k")[n] !== Math.fround(values[n])) return `row ${n}`;
  if (store.gaps(0, Infinity).length) return "gaps";
  // The envelope: each pixel has the extremes of its cycles, at any offset.
  for (const width of [200, 601]) for (const from of [0, 1234567]) {
    const fromUs = store.time[0] + from, toUs = store.newestUs, bin = (toUs - fromUs) / width;
    const [x, y] = store.draw([store.columns.get("k")], fromUs, toUs, width);
    const extremes = new Map();
    for (let row = Math.max(0, store.first(fromUs) - 1); row < store.length; row += 1) {
      const its = Math.floor(store.time[row] / bin), value = store.columns.get("k")[row];
      const [low, high] = extremes.get(its) ?? [Infinity, -Infinity];
      extremes.set(its, [Math.min(low, value), Math.max(high, value)]);
    }
    for (let at = 0; at < x.length; at += 2) {
      const [low, high] = extremes.get(Math.floor((x[at] * 1e6) / bin)) ?? [];
      if (Math.min(y[at], y[at + 1]) !== low || Math.max(y[at], y[at + 1]) !== high) return `bin ${at} of ${width}`;
    }
    if (x.length > 2 * width + 6) return "too many points";
  }
  // A hole is a gap by the device's numbers, and without numbers by time.
  const holed = new CycleStore(60);
  holed.add(block(whole.slice(0, 100)));
  holed.add(block(whole.slice(101, 200)));
  if (holed.gaps(0, Infinity).length !== 1) return "hole";
  const [, line] = holed.draw([holed.columns.get("k")], holed.time[0], holed.newestUs, 1000);
  if (line.filter((value) => value === null).length !== 1 || line[100] !== null) return "hole is not drawn";
  holed.sequence.fill(NaN);
  if (holed.gaps(0, Infinity).length !== 1) return "hole without numbers";
  holed.arrivals = true;
  if (holed.gaps(0, Infinity).length !== 0) return "arrivals are late";
  // What is old goes.
  const long = new CycleStore(60);
  for (let at = 0; at < 60; at += 1) long.add(block(whole.slice(0, 600).map((n) => n + 600 * at)));
  if (long.length > 18300 + 1024 + 600) return `kept ${long.length}`;
  // A clock that is set back: what lies ahead is of the past. What comes from the database is older, and not live.
  const back = new CycleStore(60);
  back.add({ ...block(whole.slice(3000, 3100)), live: true });
  back.add(block(whole.slice(0, 60)));
  if (back.length !== 160) return `older: ${back.length}`;
  back.add({ ...block(whole.slice(100, 160)), live: true });
  if (back.length !== 120 || back.sequence[119] !== 159) return `set back: ${back.length}`;
  return "as it should be";
}
"""


def test_everything_has_a_name_and_can_be_read(tab: Page) -> None:
    tree = tab.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "link", "combobox", "radio", "searchbox", "textbox", "img", "radiogroup", "navigation", "main"}
    nameless = [
        node["role"]["value"]
        for node in tree
        if node.get("role", {}).get("value") in roles - {"main"}
        and not node.get("ignored")
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    for theme in ("light", "dark"):
        tab.do("document.documentElement.dataset.theme = arguments[0]", theme)
        for colour in ("--text", "--quiet", "--accent", "--good", "--warn", "--bad"):
            for ground in ("--panel", "--ground"):
                assert contrast(tab, colour, ground) >= 4.5, (theme, colour, ground)
        for colour in ("--phase-a", "--phase-b", "--phase-c", "--phase-d", "--total"):
            assert contrast(tab, colour, "--panel") >= 3, (theme, colour)


def contrast(tab: Page, colour: str, ground: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(name: str) -> float:
        code = tab.do("return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])", name).strip()
        parts = [int(code[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_keyboard_reaches_everything(tab: Page) -> None:
    reached = []
    for _ in range(40):
        ActionChains(tab.driver).send_keys(Keys.TAB).perform()
        reached.append(
            tab.do("const at = document.activeElement; return at.id || at.className || at.name || at.tagName")
        )
    order = ["skip", "to-device", "to-fleet", "device", "scenario", "theme", "windows", "pause", "export", "charts"]
    places = [reached.index(name) if name in reached else reached.index("INPUT") for name in order]
    assert places == sorted(places), reached
