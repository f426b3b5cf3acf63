"""The page in Chromium: what is drawn, what is said, and what hands can do."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from view_page import HEIGHT, SIDE, WIDTH, Served, corner, pattern, serving, shown, wait_until

from edge_bts.view.server import listen
from edge_bts.view.wire import Notice

pytestmark = pytest.mark.slow

SIZES = [(768, 1024), (820, 1180), (1180, 820), (1440, 900)]
RING = 150


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The Chromium of the system."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium (Debian: apt install chromium)")
    driver = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (edge-bts[dev])"
    )
    with driver.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program)
        yield opened
        opened.close()


class Opened:
    """The page; ``troubles`` is what the browser complained of, ``asked`` what it fetched."""

    def __init__(self, page: Any, served: Served) -> None:
        self.page = page
        self.served = served
        self.troubles: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda said: self.troubles.append(said.text))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda opened: self.asked.append(opened.url))
        page.goto(served.address)
        self.wait_for_text("source", "test pattern")  # so it gets what is published from now on

    @property
    def number(self) -> int:
        """Of the frame that is drawn."""
        return int(self.page.evaluate("document.querySelector('#picture').dataset.number ?? 0"))

    def show(self, number: int, *args: Any, **fields: Any) -> None:
        """Publish a frame and wait until it is drawn."""
        self.served.hub.publish(shown(number, *args, **fields))
        self.wait_for(number)

    def wait_for(self, number: int) -> None:
        """Wait until a frame is drawn."""
        wait_until(lambda: self.number == number)

    def go_live(self, start: int) -> None:
        """Publish frames from a number on until the page says that it is live."""
        numbers = itertools.count(start)

        def live() -> bool:
            self.served.hub.publish(shown(next(numbers)))
            return self.text("state").strip() == "Live"

        wait_until(live)

    def text(self, id_: str) -> str:
        return str(self.page.inner_text(f"#{id_}"))

    def wait_for_text(self, id_: str, said: str) -> None:
        wait_until(lambda: said in self.text(id_))

    def drawn(self) -> tuple[int, NDArray[np.uint8]]:
        """The number of the frame, and RGB at the middle of each of its pixels: one moment's."""
        number, values = self.page.evaluate(
            """([width, height]) => {
              const small = Object.assign(document.createElement("canvas"), {width, height});
              const context = small.getContext("2d", {willReadFrequently: true});
              context.imageSmoothingEnabled = false;
              context.drawImage(picture, 0, 0, width, height);
              const {data} = context.getImageData(0, 0, width, height);
              return [Number(picture.dataset.number), Array.from(data)];
            }""",
            [WIDTH, HEIGHT],
        )
        return number, np.array(values, np.uint8).reshape(HEIGHT, WIDTH, 4)[:, :, :3]


@contextmanager
def opened(browser: Any, served: Served, size: tuple[int, int] = (768, 640), **options: Any) -> Any:
    """Open the page in a browser of its own; it must not have complained."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    try:
        page = Opened(context.new_page(), served)
        yield page
        assert page.troubles == []
        start = (served.address, served.address.replace("http", "ws"), f"blob:{served.origin}")
        assert [url for url in page.asked if not url.startswith(start)] == []
    finally:
        context.close()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Opened]:
    """The page as nobody has touched it, small for speed."""
    with opened(browser, served) as ready:
        yield ready


def tinted(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that are not gray."""
    return np.asarray(np.ptp(rgb.astype(int), axis=2) > 12)


def check_square(number: int, rgb: NDArray[np.uint8]) -> None:
    """The square stands where the number says, fill and outline on it and nowhere else."""
    left, top = corner(number)
    near = np.zeros((HEIGHT, WIDTH), bool)
    near[max(0, top - 3) : top + SIDE + 3, max(0, left - 3) : left + SIDE + 3] = True
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[top + 3 : top + SIDE - 3, left + 3 : left + SIDE - 3] = True
    # One that belongs to another frame stands 6 pixels away or more; diameters have dark edges.
    assert (rgb[inside].max(axis=1) > 150).mean() > 0.7
    assert tinted(rgb)[inside].mean() > 0.9
    ruler = np.zeros_like(near)
    ruler[-12:, -40:] = True
    assert not tinted(rgb)[~near].any()
    assert (rgb[~near & ~ruler].max(axis=1) < 80).all()


def test_the_mask_that_is_drawn_belongs_to_the_frame_that_is_drawn(page: Opened) -> None:
    """At any moment of a stream that is faster than the browser; frames advance, none goes back."""
    stop = threading.Event()

    def publish() -> None:
        for number in itertools.count(1):
            if stop.wait(0.008):
                return
            page.served.hub.publish(shown(number))

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        wait_until(lambda: page.number)
        moments = [page.drawn() for _ in range(15)]
    finally:
        stop.set()
        publisher.join()
    for number, rgb in moments:
        check_square(number, rgb)
    numbers = [number for number, _ in moments]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 5
    assert int(page.text("facts").split(" skipped")[0].split()[-1]) > 0


def test_a_frame_that_replaces_another_replaces_its_mask(page: Opened) -> None:
    """Also by none."""
    page.show(3)
    check_square(3, page.drawn()[1])
    page.show(41, usable=False, mask=np.zeros((HEIGHT, WIDTH), np.uint8), components=(),
              health=("late",))  # fmt: skip
    number, rgb = page.drawn()
    assert number == 41
    assert not tinted(rgb).any()
    assert page.text("health-word") == "Late"
    assert "withheld" in page.text("health-text")
    assert "Withheld" in page.text("sizes-note")
    page.show(42)
    check_square(42, page.drawn()[1])
    assert page.text("health-word") == "OK"


@pytest.mark.parametrize(
    ("health", "level", "word"),
    [((), "good", "OK"), (("empty",), "note", "No lesion"), (("nan",), "bad", "Not a number"),
     (("saturated",), "caution", "Saturated"),
     (("late", "saturated"), "caution", "Late, Saturated"),
     (("out_of_range", "empty"), "bad", "Out of range, No lesion")],
)  # fmt: skip
def test_health_is_said_in_words_and_shapes(
    page: Opened, health: tuple[str, ...], level: str, word: str
) -> None:
    """Never by colour alone: each level has a sign of its own, the gravest goes first."""
    page.show(1, health=health)
    assert page.text("health-word") == word
    assert page.page.get_attribute("#health", "data-level") == level
    signs = page.page.query_selector_all("#health svg path")
    visible = [sign.get_attribute("class") for sign in signs if sign.is_visible()]
    assert visible == [level]


def test_sizes_are_in_pixels_until_a_pixels_size_is_known(page: Opened) -> None:
    """Then in mm: not one mm without it, and a ruler only with it."""
    page.show(5)
    assert "16 × 16 px" not in page.text(
        "sizes"
    )  # the longest diameter of a square is not its side
    assert re.search(r"\d+ × \d+ px\narea 256 px", page.text("sizes"))
    assert " mm" not in page.page.inner_text("body")
    page.show(6, spacing_mm=0.5)
    assert "area 64.0 mm²" in page.text("sizes")
    assert "0.500 mm" in page.text("facts")
    assert "px" not in page.text("sizes")


def test_what_runs_is_named(page: Opened) -> None:
    """Backend and precision, from what the server opened."""
    page.show(1)
    assert page.text("model") == "bright · FP32 · test"
    assert page.text("source") == "test pattern"


def test_freeze_holds_a_frame_while_the_stream_goes_on(page: Opened) -> None:
    """Steps go through what was kept; going live again shows the newest."""
    for number in range(1, 9):
        page.show(number)
    page.page.keyboard.press("Space")
    for number in range(9, 15):
        page.served.hub.publish(shown(number))
    page.wait_for_text("position", "newer")
    assert page.text("badge") == "Frozen"
    assert page.text("state").strip() == "Frozen"
    seen = [page.number]
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "Home", "ArrowLeft", "End", "ArrowRight"):
        page.page.keyboard.press(key)
        number, rgb = page.drawn()
        check_square(number, rgb)
        seen.append(number)
    assert seen == [8, 7, 6, 7, 1, 1, 8, 8]
    page.page.keyboard.press("ArrowLeft")
    assert page.text("badge") == "Frozen, 1 frame back"
    page.page.keyboard.press("f")
    assert page.number == 8  # what passed while it was frozen was not kept
    assert page.text("state").strip() == "Live"
    page.show(15)
    page.page.keyboard.press("Home")
    page.page.keyboard.press("ArrowRight")
    assert page.number == 2


def test_so_many_frames_are_kept_and_no_more(page: Opened) -> None:
    """The oldest go."""
    for number in range(1, RING + 21):
        page.show(number)
    page.page.keyboard.press("Home")
    assert page.number == 21
    page.page.keyboard.press("End")
    assert page.number == RING + 20


def test_fill_and_outline_can_be_set(page: Opened) -> None:
    """Between none and all; off shows the image alone."""
    page.show(11)
    left, top = corner(11)
    middle = (top + 3, left + 8)  # beside the diameters
    blue = {}
    for percent, presses in ((0, 5), (50, 10), (100, 10)):
        for _ in range(presses):
            page.page.keyboard.press("[" if percent == 0 else "]")
        assert page.text("opacity-value") == f"{percent} %"
        blue[percent] = int(page.drawn()[1][middle][2])
    assert blue[0] == 220
    assert blue[50] == pytest.approx(110, abs=3)
    assert blue[100] == pytest.approx(0, abs=3)
    page.page.keyboard.press("m")
    assert not tinted(page.drawn()[1]).any()
    assert page.page.get_attribute("#mask", "aria-pressed") == "false"
    page.page.click("#mask")
    assert tinted(page.drawn()[1]).any()


def test_the_saved_picture_is_the_frame_with_its_notice(page: Opened, tmp_path: Path) -> None:
    """Pixels enlarged by a whole factor; below them sizes, health, what ran and the notice."""
    page.page.evaluate(
        """() => {
          window.written = [];
          const write = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
            if (this.canvas.id === "") window.written.push(text);
            return write.call(this, text, ...rest);
          };
        }"""
    )
    page.show(33, spacing_mm=0.5)
    page.page.keyboard.press("Space")
    with page.page.expect_download() as download:
        page.page.keyboard.press("s")
    assert download.value.suggested_filename == "edge-bts-frame-000033.png"
    file = tmp_path / "saved.png"
    download.value.save_as(file)
    saved = cv2.imread(str(file))[:, :, ::-1]
    factor = round(1024 / WIDTH)
    assert saved.shape[1] == WIDTH * factor
    assert saved.shape[0] > HEIGHT * factor
    half = factor // 2
    check_square(33, saved[half : HEIGHT * factor : factor, half::factor])
    caption = saved[HEIGHT * factor :]
    assert (caption.max(axis=2) > 180).any()
    written = page.page.evaluate("window.written")
    assert "Research software, not a medical device" in written
    assert any("area 64.0 mm²" in text for text in written)
    assert any("Health: OK" in text and "Frame 33" in text for text in written)
    assert any("bright · FP32 · test" in text for text in written)


def test_everything_has_a_key_and_help_names_it(page: Opened) -> None:
    """Help opens by ?, keeps the keys to itself, and closes by Esc."""
    page.show(1)
    page.page.keyboard.press("?")
    assert page.page.is_visible("#help")
    keys = " ".join(page.page.locator("#help kbd").all_inner_texts())
    assert keys == "Space F ← → Home End [ ] M S T ? Esc"
    page.page.keyboard.press("m")
    assert page.page.get_attribute("#mask", "aria-pressed") == "true"
    page.page.keyboard.press("Escape")
    assert page.page.is_hidden("#help")
    page.page.click("#help-open")
    page.page.keyboard.press("Enter")  # the button that closes it has the focus
    wait_until(lambda: page.page.is_hidden("#help"))


def test_keys_leave_sliders_and_the_browser_alone(page: Opened) -> None:
    """Arrows move the slider that has the focus; Ctrl+S is the browser's."""
    for number in (1, 2, 3):
        page.show(number)
    page.page.focus("#opacity")
    page.page.keyboard.press("ArrowRight")
    assert page.text("opacity-value") == "30 %"
    assert page.page.is_hidden("#badge")
    page.page.keyboard.press("Control+m")
    assert page.page.get_attribute("#mask", "aria-pressed") == "true"
    page.page.focus("#time")
    page.page.keyboard.press("ArrowLeft")
    assert page.number == 2


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Any, served: Served) -> None:
    """Light, dark, and back."""

    def paper(page: Opened) -> int:
        colour = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(re.findall(r"\d+", colour)[0])

    with opened(browser, served, color_scheme="dark") as page:
        assert paper(page) < 40
        page.page.keyboard.press("t")
        assert (page.text("theme-name"), paper(page) > 220) == ("Light", True)
        page.page.keyboard.press("t")
        assert (page.text("theme-name"), paper(page) < 40) == ("Dark", True)
        page.page.emulate_media(color_scheme="light")
        assert paper(page) < 40
        page.page.keyboard.press("t")
        assert (page.text("theme-name"), paper(page) > 220) == ("Auto", True)


def test_a_browser_that_was_busy_shows_the_newest_and_counts_the_rest(page: Opened) -> None:
    """Nothing piles up for it."""
    page.show(1)
    page.page.evaluate(
        "setTimeout(() => { const end = Date.now() + 600; while (Date.now() < end); })"
    )
    for number in range(2, 52):
        page.served.hub.publish(shown(number))
        time.sleep(0.005)
    page.wait_for(51)
    page.page.keyboard.press("ArrowLeft")
    assert page.number < 20
    page.page.keyboard.press("Space")
    skipped = int(page.text("facts").split(" skipped")[0].split()[-1])
    assert skipped >= 30


def test_drops_are_shown(page: Opened) -> None:
    """As the server counts them."""
    page.show(1)
    page.show(5, 2, dropped=3)
    assert "3 dropped, 0 skipped" in page.text("facts")
    assert "0 late of 2" in page.text("strip-text")


def test_a_stream_that_stops_is_not_called_live(browser: Any) -> None:
    """The image stays, dimmed, with the reason over it."""
    with serving(fps=None) as served, opened(browser, served) as page:
        page.served.hub.publish(Notice("waiting", "No connection to the image server."))
        page.wait_for_text("nothing-text", "No connection to the image server.")
        page.go_live(1)
        page.wait_for_text("badge", "Not live. No connection to the image server.")
        assert page.text("state").strip() == "Waiting"
        assert page.text("health-word") == "Not live"
        page.served.hub.publish(Notice("ended", "The source has ended."))
        page.wait_for_text("badge", "Not live. The source has ended.")
        assert page.text("state").strip() == "Ended"


def test_a_lost_connection_is_said_and_made_again(browser: Any) -> None:
    """As soon as the server answers."""
    with serving() as first:
        context = browser.new_context()
        page = Opened(context.new_page(), first)
        page.show(1)
    page.wait_for_text("state", "Connection lost")
    assert "open its new address" in page.text("badge")
    with serving(listen(first.port)) as second:
        page.served = second
        wait_until(second.hub.watched.is_set)
        page.show(1)
        assert "0 dropped, 0 skipped" in page.text("facts")
        page.go_live(2)
        context.close()


def test_several_browsers_see_the_same(browser: Any, served: Served) -> None:
    """One that is frozen holds nobody up."""
    with opened(browser, served) as one, opened(browser, served, (820, 1180)) as other:
        served.hub.publish(shown(1))
        for page in (one, other):
            page.wait_for(1)
        one.page.keyboard.press("Space")
        other.show(2)
        assert (one.number, other.number) == (1, 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(
    browser: Any, served: Served, size: tuple[int, int], scheme: str
) -> None:
    """No sideways scrolling, every hand in sight, text with a contrast of 4.5 (WCAG AA)."""
    with opened(browser, served, size, color_scheme=scheme) as page:
        page.show(1, spacing_mm=0.2, health=("saturated",), mask=pattern(1) // 200)
        width = page.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]
        for hand in page.page.query_selector_all("button, input"):
            if not hand.is_visible():
                continue
            box = hand.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size[0]
        assert page.page.is_visible("text=Research software, not a medical device.")
        footer = page.page.locator("footer").bounding_box()
        assert footer["y"] + footer["height"] <= size[1] + 1
        faint = page.page.evaluate(CONTRAST)
        assert faint == []
        if folder := os.environ.get("EDGE_BTS_SCREENSHOTS"):
            page.page.screenshot(path=Path(folder) / f"{size[0]}x{size[1]}-{scheme}.png")


CONTRAST = """() => {
  const parse = (text) => {
    const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    probe.fillStyle = text;
    probe.fillRect(0, 0, 1, 1);
    return probe.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const below = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode()); ) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility()) continue;
    if (node.closest(":disabled, .stage, .hidden")) continue;
    const shades = [parse(getComputedStyle(node).color), below(node)];
    const [a, b] = shades.map(light).sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faint.push([text.data, (a + .05) / (b + .05)]);
  }
  return faint;
}"""


def test_a_screen_reader_is_told_everything(page: Opened) -> None:
    """Hands have names, the picture is described, changes of state are announced."""
    page.show(1, spacing_mm=0.5)
    for name in ("Freeze", "One frame back", "One frame forward", "Outline", "Save PNG", "Keys"):
        assert page.page.get_by_role("button", name=name).count() == 1, name
    for name in ("Frame", "Fill"):
        assert page.page.get_by_role("slider", name=name).count() >= 1, name
    page.page.keyboard.press("Space")
    label = page.page.get_attribute("#picture", "aria-label")
    assert label.startswith("Ultrasound frame 1, 1 outlined: ")
    assert label.endswith("area 64.0 mm². Health: OK.")
    assert page.page.get_attribute("#picture", "role") == "img"
    assert page.text("announce").startswith("Frozen. Ultrasound frame 1")
    page.page.keyboard.press("Space")
    assert page.text("announce") == "Live"
    for svg in page.page.query_selector_all("svg"):
        assert svg.get_attribute("aria-hidden") == "true"
