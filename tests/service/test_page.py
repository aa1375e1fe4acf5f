"""The web page, in Debian's Chromium: each view alone against invented answers, and all of it against the daemon.

With KITH_PICTURES=FOLDER the long test leaves a picture of each view there.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parent))
from page_stub import PAGE, StubDaemon, decision, moment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

VIEWS = ("enrol", "people", "live", "review", "quality")
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SERIOUS = {"serious", "critical"}
MARKUP = ('<img src="x" onerror="alert(1)">Mallory', "<b>Bo</b>", "Ana & <script>alert(2)</script>")

_NO_BROWSER = pytest.mark.skipif(
    find_spec("playwright") is None or shutil.which("chromium") is None,
    reason="the page is tested in Chromium, with Playwright: apt-get install chromium; pip install playwright",
)


def needs_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Skipped without Chromium; slow, because a browser is."""
    return pytest.mark.slow(_NO_BROWSER(test))


class Microphone:
    """What Chromium hears: a file that is read anew whenever a page opens the microphone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hear(0.3 * np.sin(np.arange(16_000 * 20) / 5))

    def hear(self, samples: np.ndarray) -> None:
        soundfile.write(self.path, samples, 16_000, subtype="PCM_16")


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Microphone:
    return Microphone(tmp_path_factory.mktemp("microphone") / "heard.wav")


@pytest.fixture(scope="module")
def browser(microphone: Microphone) -> Iterator[Browser]:
    # Of a module, not a session: while it runs, other tests could not run an event loop.
    from playwright.sync_api import sync_playwright

    media = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    heard = f"--use-file-for-fake-audio-capture={microphone.path}"
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *media, heard])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """open_page(dark=True, size=PHONE) -> an empty page; whatever it complains of fails the test."""
    contexts, complaints = [], []

    def open_one(dark: bool = False, size: dict[str, int] = WIDE) -> Page:
        scheme: Any = "dark" if dark else "light"
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        return page

    yield open_one
    for context in contexts:
        context.close()
    refused = re.compile(
        r"status of (401|404|412|422|429)"
    )  # the browser's own line on an answer that was refused
    assert [text for text in complaints if not refused.search(text)] == []


@pytest.fixture
def stub() -> Iterator[Callable[..., StubDaemon]]:
    """stub("Alice", "Ben") -> a daemon that knows these; the page must have asked nobody else."""
    daemons: list[StubDaemon] = []

    def start(*names: str, key: str | None = None) -> StubDaemon:
        daemon = StubDaemon(names, key)
        daemons.append(daemon)
        return daemon.__enter__()

    yield start
    for daemon in daemons:
        daemon.__exit__()
        assert daemon.outside == []


def visit(page: Page, daemon: StubDaemon, view: str) -> Locator:
    """A view of the page, once it is there."""
    daemon.serve(page)
    page.goto(f"{daemon.origin}/#/{view}")
    return shown(page, view)


def shown(page: Page, view: str) -> Locator:
    from playwright.sync_api import expect

    expect(page.get_by_role("heading", level=1)).to_have_text(view.capitalize())
    expect(page.locator(".view > :is(.card, .cards, .left)").first).to_be_visible()
    return page.locator("main")


def go(page: Page, view: str) -> Locator:
    page.get_by_role("navigation").get_by_role("link", name=view.capitalize(), exact=True).click()
    return shown(page, view)


def serious(page: Page) -> list[str]:
    """What axe finds serious, with the elements."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{violation['id']}: {[node['target'] for node in violation['nodes']]}"
        for violation in found
        if violation["impact"] in SERIOUS
    ]


def files(*clips: bytes) -> list[Any]:
    return [
        {"name": f"{i}.wav", "mimeType": "audio/wav", "buffer": clip} for i, clip in enumerate(clips, start=1)
    ]


def wav_bytes(samples: np.ndarray) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


# -- the files


def test_files_hold_no_inline_code_and_no_outside_address() -> None:
    index = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", index)
    texts = [path.read_text() for path in PAGE.rglob("*") if path.suffix in {".html", ".css", ".js"}]
    found = {url for text in texts for url in re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"']*", text)}
    assert found == {"http://www.w3.org/2000/svg"}  # a namespace, which nobody fetches
    assert not any(
        re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text) for text in texts
    )


def test_every_file_that_is_named_is_there() -> None:
    index = (PAGE / "index.html").read_text()
    for path in re.findall(r"(?:href|src)=\"page/([^\"]+)\"", index):
        assert (PAGE / path).is_file(), path
    reached = {PAGE / "js/app.js", PAGE / "js/capture.js"}
    for module in PAGE.rglob("*.js"):
        for name in re.findall(r"from \"(\.[^\"]+)\"", module.read_text()):
            reached.add((module.parent / name).resolve())
    assert reached == set(PAGE.rglob("*.js"))


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, WCAG 2.2."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_of_what_axe_cannot_see(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (PAGE / "css/base.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[scheme]))
    pairs = [(f"person{i}", "on-person") for i in range(8)] + [("stranger", "on-person"), ("soft", "card")]
    for pair in pairs:
        low, high = sorted(luminance(colours[name]) for name in pair)
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair


# -- views alone

PARTS = {
    "enrol": [
        ("combobox", "Name"),
        ("checkbox", "agreed today"),
        ("button", "Record"),
        ("meter", "Level of the microphone"),
        ("timer", "Length of the recording"),
        ("progressbar", "Usable speech"),
        ("region", "What to record next"),
    ],
    "people": [
        ("article", "Alice"),
        ("button", "Forget Alice"),
        ("button", "Edit Ben"),
        ("link", "Add clips of Ben"),
        ("img", "Closest are Alice and Ben"),
        ("region", "Told apart"),
    ],
    "live": [
        ("button", "Start listening"),
        ("group", "Who spoke when"),
        ("region", "Strip of time"),
    ],
    "review": [
        ("switch", "Keep recordings"),
        ("spinbutton", "Erase after"),
        ("article", "Voice 1"),
        ("button", "It is Alice"),
        ("button", "Dismiss voice 2"),
        ("button", "Play the clip of"),
    ],
    "quality": [
        ("slider", "False accepts allowed"),
        ("img", "Histogram of scores before tuning"),
        ("img", "Histogram of scores after tuning"),
        ("img", "Misses against false accepts"),
        ("button", "Tune again"),
    ],
}


def has_parts(main: Locator, view: str) -> None:
    from playwright.sync_api import expect

    for role, name in PARTS[view]:
        expect(main.get_by_role(role, name=re.compile(re.escape(name))).first).to_be_attached()  # type: ignore[arg-type]


@needs_browser
@pytest.mark.parametrize(("dark", "size"), [(False, WIDE), (True, PHONE)])
def test_axe_finds_nothing_serious(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon], dark: bool, size: dict[str, int]
) -> None:
    daemon = stub("Alice", "Ben", "Clara")
    daemon.keep_review()
    page = open_page(dark, size)
    visit(page, daemon, "enrol")
    for view in VIEWS:
        has_parts(go(page, view), view)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"


@needs_browser
@pytest.mark.parametrize("view", VIEWS)
def test_parts_of_a_view(open_page: Callable[..., Page], stub: Callable[..., StubDaemon], view: str) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice", "Ben")
    daemon.keep_review()
    page = open_page()
    main = visit(page, daemon, view)
    has_parts(main, view)
    expect(page.get_by_role("link", name=view.capitalize(), exact=True)).to_have_attribute(
        "aria-current", "page"
    )
    assert page.title() == f"{view.capitalize()} – openkith"


@needs_browser
def test_names_are_text(open_page: Callable[..., Page], stub: Callable[..., StubDaemon]) -> None:
    daemon = stub(*MARKUP)
    daemon.keep_review()
    daemon.utterances = [(0.1, 0.6, decision(MARKUP[0], "known", 0.97, {"unknown": 0.03}))]
    page = open_page()
    visit(page, daemon, "people")
    assert page.get_by_role("article", name=MARKUP[0]).count() == 1
    for view in ("review", "quality", "enrol", "live"):
        go(page, view)
        assert page.locator("main :is(img, script, b b)").count() == 0
    page.get_by_role("button", name="Start listening").click()
    page.locator(".utterances").get_by_text(MARKUP[0], exact=True).wait_for()
    page.get_by_role("button", name="Stop").click()


@needs_browser
def test_moving_between_views_takes_the_focus_along(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    page = open_page()
    visit(page, stub("Alice"), "people")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    link = page.get_by_role("link", name="Quality", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Quality")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="People")).to_be_focused()


@needs_browser
def test_a_key_is_asked_for_and_kept_in_the_tab(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice", key="kith_1_secret")
    page = open_page()
    daemon.serve(page)
    page.goto(f"{daemon.origin}/#/people")
    dialog = page.get_by_role("dialog", name="This daemon asks for a key")
    expect(dialog.get_by_label("API key")).to_be_focused()
    dialog.get_by_label("API key").fill("kith_1_wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("That key was refused.")
    assert serious(page) == []
    dialog.get_by_label("API key").fill("kith_1_secret")
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("article", name="Alice")).to_be_visible()
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    daemon.utterances = [(0.1, 0.5, decision("Alice", "known", 0.97, {"unknown": 0.03}))]
    go(page, "live")
    page.get_by_role(
        "button", name="Start listening"
    ).click()  # a WebSocket that has the key in its first message
    page.locator(".utterances").get_by_text("Alice", exact=True).wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_be_visible()


@needs_browser
def test_forgetting_is_confirmed_and_gives_a_receipt(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice", "Ben")
    page = open_page()
    visit(page, daemon, "people")
    page.get_by_role("button", name="Forget Ben").click()
    dialog = page.get_by_role("dialog", name="Forget Ben?")
    expect(dialog.get_by_role("button", name="Keep")).to_be_focused()
    assert serious(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Forget Ben")).to_be_focused()
    assert daemon.calls == []
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Forget Ben").click()
    receipt = page.get_by_role("dialog", name="Forgotten: receipt")
    expect(receipt).to_contain_text("Ben")
    expect(receipt).to_contain_text("3 (9.")
    assert serious(page) == []
    with page.expect_download() as download:
        receipt.get_by_role("button", name="Save as a file").click()
    assert b'"name": "Ben"' in Path(download.value.path()).read_bytes()
    expect(page.get_by_role("article", name="Ben")).to_have_count(0)
    expect(page.get_by_text("Ben was forgotten since the last tuning.")).to_be_visible()
    assert [call[:2] for call in daemon.calls] == [("DELETE", "speakers/2")]


@needs_browser
def test_editing_notices_what_others_changed(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice")
    page = open_page()
    visit(page, daemon, "people")
    daemon.speakers[1]["etag"] = "later"
    page.get_by_role("button", name="Edit Alice").click()
    dialog = page.get_by_role("dialog", name="Edit Alice")
    dialog.get_by_label("Name").fill("Alicia")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody else changed this person")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Edit Alice").click()
    dialog.get_by_label("Name").fill("Alicia")
    dialog.get_by_label("Agreed on").fill("2026-02-03")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("article", name="Alicia")).to_contain_text("3 Feb 2026")
    expect(page.get_by_role("button", name="Edit Alicia")).to_be_focused()
    assert daemon.calls[-1][2] == {"name": "Alicia", "consent": "2026-02-03", "note": ""}


@needs_browser
def test_a_clip_is_deleted_from_its_card(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice")
    page = open_page()
    visit(page, daemon, "people")
    page.locator("summary").filter(has_text="Clips").click()
    expect(page.get_by_text("like the others")).to_have_count(3)
    assert serious(page) == []
    page.get_by_role("button", name="Delete clip 11 of Alice").click()
    expect(page.get_by_role("article", name="Alice")).to_contain_text("2 clips")
    assert daemon.calls == [("DELETE", "speakers/1/clips/11", None)]


@needs_browser
def test_enrolling_from_files_asks_for_name_and_consent(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice")
    page = open_page(size=PHONE)
    main = visit(page, daemon, "enrol")
    clip = wav_bytes(0.1 * np.sin(np.arange(16_000 * 20) / 5))
    main.locator("input[type=file]").set_input_files(files(clip, clip, clip))
    expect(main.get_by_role("region", name="What to record next").get_by_text("done")).to_have_count(3)
    enrol = main.get_by_role("button", name="Enrol with 3 clips")
    enrol.click()
    expect(main.get_by_text("Give a name first.")).to_be_visible()
    expect(main.get_by_label("Name")).to_be_focused()
    page.keyboard.type("Felix")
    enrol.click()
    expect(main.get_by_role("checkbox")).to_be_focused()
    assert daemon.calls == []
    page.keyboard.press("Space")
    assert serious(page) == []
    enrol.click()
    expect(main.get_by_role("heading", name="Felix: 3 clips")).to_be_focused()
    expect(main.get_by_text("record one from across the room")).to_be_visible()
    expect(main.get_by_text("0.87 like the others")).to_have_count(3)
    assert serious(page) == []
    assert [call[:2] for call in daemon.calls] == [("POST", "speakers"), ("POST", "speakers/2/clips")]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", daemon.calls[0][2]["consent"])
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#notice")).to_contain_text("Undone: 3 clips of Felix and the person deleted.")


@needs_browser
def test_recording_shows_usable_speech_as_it_grows(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon], microphone: Microphone
) -> None:
    from playwright.sync_api import expect

    microphone.hear(0.3 * np.sin(np.arange(16_000 * 20) / 5))
    daemon = stub("Alice")
    page = open_page()
    measured: list[bytes] = []
    page.on(
        "request",
        lambda sent: measured.append(sent.post_data_buffer or b"") if "measure" in sent.url else None,
    )
    main = visit(page, daemon, "enrol")
    main.get_by_label("Name").fill("Alice")
    expect(main.get_by_text("Enrolled already with 3 clips, agreed on 1 Mar 2026")).to_be_visible()
    main.get_by_role("button", name="Record").click()
    speech = main.get_by_role("progressbar", name="Usable speech")
    expect(speech).to_have_attribute("aria-valuetext", re.compile(r"^[1-9]\.\d of 5 seconds"))
    level = int(main.get_by_role("meter").get_attribute("aria-valuenow") or 0)
    assert 70 < level < 95  # a peak of 0.3 is 10 dB under full scale, and the meter begins at -54 dB
    assert serious(page) == []
    main.get_by_role("button", name="Stop").click()
    main.get_by_role("button", name="Add 1 clip").click()
    expect(page.locator("#notice")).to_contain_text("Alice: 1 clip added.")
    samples, rate = soundfile.read(BytesIO(measured[-1]))
    assert rate >= 16_000
    assert len(measured) > 1
    assert [len(body) for body in measured] == sorted(len(body) for body in measured)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)


@needs_browser
def test_live_strip(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon], microphone: Microphone
) -> None:
    from playwright.sync_api import expect

    microphone.hear(0.3 * np.sin(np.arange(16_000 * 20) / 5))
    daemon = stub("Alice", "Ben")
    two = [
        {"name": "Alice", "probability": 0.9, "times": [[2.4, 2.8]]},
        {"name": "Ben", "probability": 0.8, "times": [[2.8, 3.0]]},
    ]
    daemon.utterances = [
        (0.2, 0.9, decision("Alice", "known", 0.97, {"unknown": 0.02, "Ben": 0.01})),
        (1.0, 1.6, decision(None, "unknown", 0.95, {"Alice": 0.05})),
        (
            1.7,
            2.2,
            decision("Ben", "unsure", 0.55, {"unknown": 0.45}, warnings=["a replay of a clip of Ben"]),
        ),
        (2.4, 3.0, decision("Alice", "known", 0.9, {"unknown": 0.1}, several=True, heard=two)),
    ]
    page = open_page()
    main = visit(page, daemon, "live")
    button = main.get_by_role("button", name="Start listening")
    button.click()
    expect(main.locator(".utterances li")).to_have_count(4)
    main.get_by_role("button", name="Stop").click()
    expect(button).to_be_visible()
    texts = main.locator(".utterances li").all_inner_texts()
    for text, part in zip(texts, ("Alice + Ben", "Ben?", "Stranger", "Alice"), strict=True):
        assert part in text
    assert "a replay of a clip of Ben" in texts[1]
    blocks = main.get_by_role("group", name="Who spoke when").get_by_role("img")
    expect(blocks).to_have_count(4)
    fills = [block.locator("rect").first.evaluate("e => getComputedStyle(e).fill") for block in blocks.all()]
    probe = """name => {
      const element = document.createElement('i');
      element.style.color = `var(${name})`;
      document.body.append(element);
      const { color } = getComputedStyle(element);
      element.remove();
      return color;
    }"""
    assert fills[0] == page.evaluate(probe, "--person0")
    assert fills[1] == page.evaluate(probe, "--stranger")
    assert blocks.nth(3).locator("rect").count() == 2
    blocks.nth(0).hover()
    expect(main.locator(".tip")).to_contain_text("Alice's voice, from 2.4 s of speech")
    expect(main.locator(".tip")).to_contain_text("97%")
    main.get_by_role("region", name="Strip of time").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(main.locator(".tip")).to_contain_text("like nobody enrolled; least unlike Alice")
    page.keyboard.press("Escape")
    expect(main.locator(".tip")).to_be_hidden()
    assert serious(page) == []


@needs_browser
def test_a_stream_that_is_refused_says_so(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice")
    daemon.full = True
    page = open_page()
    main = visit(page, daemon, "live")
    button = main.get_by_role("button", name="Start listening")
    button.click()
    expect(page.locator("#notice")).to_contain_text("The daemon is busy")
    expect(button).to_have_attribute("aria-pressed", "false")
    daemon.full = False
    button.click()
    expect(main.get_by_role("button", name="Stop")).to_have_attribute("aria-pressed", "true")


@needs_browser
def test_review(open_page: Callable[..., Page], stub: Callable[..., StubDaemon]) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice", "Ben")
    page = open_page()
    main = visit(page, daemon, "review")
    expect(main.get_by_role("heading", name="Nothing is kept")).to_be_visible()
    assert serious(page) == []
    main.get_by_role("switch").check()
    expect(main.get_by_role("heading", name="Nothing to review")).to_be_visible()
    assert daemon.calls == [("PUT", "review/settings", {"keep": True, "days": 30})]
    daemon.keep_review()
    go(page, "people")
    go(page, "review")
    first = main.get_by_role("article", name="Voice 1")
    first.get_by_role("button", name="Play the clip").first.click()
    first.get_by_role("button", name="Stop the clip").click()
    first.get_by_role("checkbox").nth(0).uncheck()
    first.get_by_role("button", name="It is Alice").click()
    expect(main.get_by_role("article")).to_have_count(1)
    assert daemon.calls[-1] == ("POST", "review/enroll", {"clips": [2], "name": "Alice"})
    main.get_by_role("button", name="Dismiss voice 1").click()
    expect(main.get_by_role("article")).to_have_count(0)
    assert daemon.calls[-1] == ("POST", "review/dismiss", {"clips": [3]})
    page.get_by_role("button", name="Undo").click()
    voice = main.get_by_role("article", name="Voice 1")
    voice.get_by_label("Who is voice 1?").get_by_role("combobox").fill("Rosa")
    page.keyboard.press("Enter")
    expect(voice.get_by_text("Tick that Rosa agreed")).to_be_visible()
    voice.get_by_role("checkbox", name="Rosa agreed").check()
    voice.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.locator("#notice")).to_contain_text("1 clip enrolled as Rosa.")
    assert daemon.calls[-1][2]["consent"]


@needs_browser
def test_quality_threshold(open_page: Callable[..., Page], stub: Callable[..., StubDaemon]) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice", "Ben")
    page = open_page()
    main = visit(page, daemon, "quality")
    slider, line = main.get_by_role("slider"), main.locator("line.threshold").first
    before = float(line.get_attribute("x1") or 0)
    expect(main.get_by_role("button", name="In use")).to_be_disabled()
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(main.locator("output")).to_have_text("2%")
    expect(slider).to_have_attribute(
        "aria-valuetext", re.compile(r"2% false accepts; \S+ misses before tuning")
    )
    assert float(line.get_attribute("x1") or 0) < before
    main.get_by_text("The numbers as a table").click()
    expect(main.get_by_role("row")).to_have_count(13)
    main.get_by_role("button", name="Use 2%").click()
    expect(page.locator("#notice")).to_contain_text("Calibrated: the tuned head wins.")
    assert daemon.calls == [("POST", "calibrate", {"far": 0.02})]
    expect(main.locator("output")).to_have_text("2%")


@needs_browser
def test_tuning_is_offered_and_followed(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    from playwright.sync_api import expect

    daemon = stub("Alice", "Ben")
    daemon.note = "Ben was enrolled since the last tuning"
    daemon.busy = 1  # one answer of 429, which the page waits out
    page = open_page()
    visit(page, daemon, "people")
    page.get_by_role("button", name="Tune now").click()
    expect(page.locator("#notice")).to_contain_text("Tuned: the tuned head wins.")
    expect(page.get_by_role("button", name="Tune now")).to_have_count(0)
    assert [call[:2] for call in daemon.calls] == [("POST", "tune")]


@needs_browser
def test_a_daemon_that_is_gone(open_page: Callable[..., Page], stub: Callable[..., StubDaemon]) -> None:
    from playwright.sync_api import expect

    daemon = stub()
    page = open_page()
    page.add_init_script("window.fetch = () => Promise.reject(new TypeError('refused'))")
    daemon.serve(page)
    page.goto(daemon.origin)
    expect(page.get_by_role("heading", name="Not connected")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


@needs_browser
def test_nobody_enrolled_leads_to_enrol(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    daemon = stub()
    page = open_page()
    daemon.serve(page)
    page.goto(daemon.origin)
    shown(page, "enrol")
    go(page, "people")
    assert page.get_by_role("link", name="Enrol the first person").is_visible()


@needs_browser
def test_det_axes_are_the_normal_quantiles(
    open_page: Callable[..., Page], stub: Callable[..., StubDaemon]
) -> None:
    page = open_page()
    visit(page, stub("Alice"), "people")
    rates = [1e-6, 0.001, 0.02, 0.024, 0.025, 0.3, 0.5, 0.97, 0.98, 0.9999]
    module = "async (rates) => rates.map((await import('/page/js/charts/axes.js')).probit)"
    np.testing.assert_allclose(page.evaluate(module, rates), norm.ppf(rates), rtol=2e-9, atol=1e-12)


@needs_browser
def test_times_and_numbers_in_words(open_page: Callable[..., Page], stub: Callable[..., StubDaemon]) -> None:
    page = open_page()
    visit(page, stub("Alice"), "people")
    module = """async (times) => {
      const f = await import('/page/js/format.js');
      return [...times.map((time) => f.ago(time)), f.probability(0.999), f.probability(1), f.probability(0.004),
              f.rate(0.0012), f.clock(125.9), f.listed(['A', 'B', 'C']), f.count(1, 'clip')];
    }"""
    got = page.evaluate(module, [moment(), moment(hours=-3), moment(hours=-50), moment(hours=-24 * 90)])
    assert got[:4] == ["just now", "3 hours ago", "2 days ago", "3 months ago"]
    assert got[4:] == [">99%", "100%", "<1%", "0.12%", "2:05", "A, B and C", "1 clip"]


# -- all of it


@dataclass(frozen=True)
class Voice:
    """What one of the household says: three recordings of two sentences each, and single ones in a noisy room."""

    long: list[np.ndarray]
    later: list[np.ndarray]


def household() -> tuple[dict[str, Voice], dict[str, Voice]]:
    """Five people, and strangers, by eSpeak."""
    from openkith.data.synthesis import household as synthesize

    clips: dict[str, dict[str, list[np.ndarray]]] = {}
    for clip in synthesize(people=5, strangers=6, enrol_clips=6, later_clips=3, seed=0):
        clips.setdefault(clip.speaker, {}).setdefault(clip.role, []).append(clip.audio.samples)
    people, strangers = {}, {}
    for name, said in clips.items():
        sentences = said.get("enroll", [])
        long = [np.concatenate(sentences[i : i + 2]) for i in range(0, len(sentences), 2)]
        (people if long else strangers)[name] = Voice(long, said["test"])
    return people, strangers


def with_pauses(clips: Sequence[np.ndarray], seconds: float = 1.5) -> np.ndarray:
    """One after the other, in a room that is never quite silent."""
    silence = 1e-3 * np.random.default_rng(0).standard_normal(round(seconds * 16_000))
    return np.concatenate([part for clip in clips for part in (silence, clip)] + [silence, silence])


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("KITH_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def record(page: Page, microphone: Microphone, samples: np.ndarray, name: str = "") -> None:
    """Press, listen until there is enough speech, press; with a name, a picture in between."""
    from playwright.sync_api import expect

    microphone.hear(samples)
    page.get_by_role("button", name="Record").click()
    speech = page.get_by_role("progressbar", name="Usable speech")
    if name:
        expect(speech).to_have_attribute("aria-valuenow", re.compile(r"^[34]\."), timeout=30_000)
        picture(page, name)
    expect(speech).to_have_attribute("aria-valuenow", "5.0", timeout=30_000)
    page.get_by_role("button", name="Stop").click()


@needs_browser
def test_a_household_from_enrolling_to_forgetting(
    open_page: Callable[..., Page],
    microphone: Microphone,
    start_daemon: Callable[..., Any],
    ge2e: object,  # noqa: ARG001  (or the daemon would have to fetch its weights)
) -> None:
    pytest.importorskip("parselmouth")
    from playwright.sync_api import expect

    people, strangers = household()
    host, second, *others = people
    daemon = start_daemon(encoder="ge2e")
    page = open_page()
    page.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    page.goto(daemon.url)
    main = shown(page, "enrol")  # nobody is there

    # Enrol one with the microphone, one from files, the others as a program would.
    main.get_by_label("Name").fill(host)
    main.get_by_role("checkbox").check()
    for take in range(3):
        record(page, microphone, with_pauses([people[host].long[take]], 0.3), "enrol" if take == 2 else "")
        expect(main.get_by_role("region", name="Clips to enrol").get_by_role("listitem")).to_have_count(
            take + 1
        )
    expect(main.get_by_role("region", name="What to record next").get_by_text("done")).to_have_count(3)
    assert serious(page) == []
    main.get_by_role("button", name="Enrol with 3 clips").click()
    expect(main.get_by_role("heading", name=f"{host}: 3 clips")).to_be_visible()
    expect(main.get_by_text("like the others")).to_have_count(3)
    assert serious(page) == []
    main.get_by_role("button", name="Enrol somebody else").click()
    page.keyboard.type(second)
    main.locator("input[type=file]").set_input_files(files(*map(wav_bytes, people[second].long)))
    main.get_by_role("checkbox").check()
    main.get_by_role("button", name="Enrol with 3 clips").click()
    expect(main.get_by_role("heading", name=f"{second}: 3 clips")).to_be_visible()
    for name in others:
        sent = {"name": name, "consent": "2026-03-01"}
        number = daemon.ask("POST", "/v1/speakers", value=sent).json()["id"]
        for samples in people[name].long:
            answer = daemon.send_clip(f"/v1/speakers/{number}/clips", wav_bytes(samples))
            assert answer.status == 201, answer.body

    # Tune.
    page.reload()
    shown(page, "people")
    page.get_by_role("button", name="Tune now").click()
    expect(page.get_by_role("progressbar", name="Tuning")).to_be_visible()
    expect(page.get_by_text(re.compile("^Tuned"))).to_be_visible(timeout=240_000)
    expect(page.get_by_role("button", name="Tune now")).to_have_count(0)

    # Live, while what gets no name is kept.
    main = go(page, "review")
    main.get_by_role("switch").check()
    expect(main.get_by_role("heading", name="Nothing to review")).to_be_visible()
    main = go(page, "live")
    guest, other = strangers["stranger-3"], strangers["stranger-6"]
    heard = [people[host], guest, people[others[0]], people[second], guest, other]
    microphone.hear(with_pauses([voice.later[i // 4] for i, voice in enumerate(heard)]))
    main.get_by_role("button", name="Start listening").click()
    rows = main.locator(".utterances li")
    expect(rows).to_have_count(len(heard), timeout=90_000)
    main.get_by_role("group", name="Who spoke when").locator("g[role=img]").nth(3).hover()
    expect(main.locator(".tip")).to_contain_text(f"{second}'s voice")
    picture(page, "live")
    assert serious(page) == []
    main.get_by_role("button", name="Stop").click()
    expect(main.get_by_role("button", name="Start listening")).to_be_visible()
    found = [" ".join(text.split()) for text in reversed(rows.all_inner_texts())]
    right = (host, "Stranger", others[0], second, "Stranger", "Stranger")
    for text, name in zip(found, right, strict=True):
        assert name in text, found

    # Review: two voices, one of them twice.
    main = go(page, "review")
    voices = main.get_by_role("article")
    expect(voices).to_have_count(2)
    voice = voices.filter(has_text="2 clips")
    expect(voice.get_by_role("listitem")).to_have_count(2)
    voice.get_by_role("button", name="Play the clip").first.click()
    voice.get_by_role("button", name="Stop the clip").click()
    assert serious(page) == []
    picture(page, "review")
    voice.get_by_role("combobox").fill("Rosa")
    voice.get_by_role("checkbox", name="Rosa agreed").check()
    voice.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.locator("#notice")).to_contain_text("2 clips enrolled as Rosa.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#notice")).to_contain_text("2 clips taken out of the profile.")
    voice.get_by_role("button", name="Dismiss").click()
    expect(voices).to_have_count(1)

    # People and quality, then one is forgotten.
    main = go(page, "people")
    expect(main.get_by_role("article")).to_have_count(len(people))
    expect(main.get_by_role("region", name="Told apart").get_by_role("img")).to_be_visible()
    assert serious(page) == []
    picture(page, "people")
    main = go(page, "quality")
    has_parts(main, "quality")
    assert serious(page) == []
    picture(page, "quality")
    main = go(page, "people")
    page.get_by_role("button", name=f"Forget {second}").click()
    page.get_by_role("dialog").get_by_role("button", name=f"Forget {second}").click()
    receipt = page.get_by_role("dialog", name="Forgotten: receipt")
    expect(receipt).to_contain_text("3 (")
    receipt.get_by_role("button", name="Done").click()
    expect(main.get_by_role("article")).to_have_count(len(people) - 1)
    left = daemon.ask("GET", "/v1/speakers").json()["speakers"]
    assert [speaker["name"] for speaker in left] == [name for name in people if name != second]
