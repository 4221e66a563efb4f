"""A person at the browser: upload, look, train, refresh, numbers, heatmaps, downloads. All of it real."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served import Served, serve

from easydl.errors import RESEARCH_USE

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = "<img src=x onerror=window.evil=1>"
MINUTES = 60_000
expect.set_options(timeout=2 * MINUTES)  # a busy machine draws the first image late; nothing here waits for a clock

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"),
        reason="chromium is not on this computer (Debian: chromium)",
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("app") / "workspace") as served:
        yield served
    assert "Traceback" not in served.words.read_text()
    assert "Traceback" not in (served.workspace / "app-log.txt").read_text()
    assert not (served.workspace / "error.txt").exists()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "CI needs chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """A window that fails its test when the app asks anybody but itself for anything."""
    outside: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(2 * MINUTES)
    own = (f"http://127.0.0.1:{served.port}/", f"ws://127.0.0.1:{served.port}/", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else outside.append(request.url))
    yield page
    context.close()
    assert outside == []


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small zip of class folders with DICOM slices of the simulated study, as a person would pack it."""
    from easydl.simulation import simulate

    folder = tmp_path_factory.mktemp("films")
    images = simulate(folder / "study", patients=24, size=64, seed=1).parent / "images"
    with zipfile.ZipFile(folder / "chest.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(images.rglob("*")):
            if path.is_file():
                packed.write(path, Path("chest") / path.relative_to(images))
        packed.writestr("__MACOSX/chest/._1", b"junk")
    return folder / "chest.zip"


def upload(page: Page, served: Served, packed: Path) -> None:
    page.goto(served.url)
    page.get_by_role("tab", name="Upload a zip").click()
    page.locator("[role=tabpanel]:visible input[type=file]").set_input_files(packed)
    expect(page.get_by_text("First images")).to_be_visible(timeout=MINUTES)


def upload_folder(page: Page, served: Served, packed: Path) -> None:
    folder = packed.with_suffix("")
    with zipfile.ZipFile(packed) as content:
        content.extractall(folder)
    page.goto(served.url)
    page.get_by_role("tab", name="Upload images").click()
    page.locator("[role=tabpanel]:visible input[type=file]").set_input_files(folder / "chest")
    expect(page.get_by_text("First images")).to_be_visible(timeout=MINUTES)
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("48")
    assert list((served.workspace / "incoming").iterdir()) == [], "nothing stays on the way"


def begin(page: Page, epochs: int) -> str:
    """Choose a network that trains in seconds, set the epochs, double-click Train, and give the run's id from the address."""
    network = page.get_by_role("combobox", name=re.compile("Model")).first
    network.click()
    network.fill("tiny: ")
    network.press("Enter")
    expect(network).to_have_value(re.compile("^tiny: "))
    field = page.get_by_role("spinbutton", name="Epochs")
    field.fill(str(epochs))
    field.press("Tab")
    page.get_by_text("More options", exact=True).click()
    field = page.get_by_role("spinbutton", name="Heatmaps")
    field.fill("1")
    field.press("Tab")
    page.get_by_role("button", name="Train", exact=True).dblclick()
    page.wait_for_url(re.compile(r"run="))
    return re.search(r"run=([^&]+)", page.url)[1]  # type: ignore[index]


def runs(served: Served) -> list[str]:
    return [path.name for path in (served.workspace / "runs").iterdir() if (path / "config.json").exists()]


def status(served: Served, run: str) -> dict:
    return json.loads((served.workspace / "runs" / run / "status.json").read_text())


def test_from_a_zip_to_a_model_a_report_and_heatmaps(page: Page, browser: Browser, served, films) -> None:
    upload(page, served, films)
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("48")
    expect(page.locator("[data-testid=stImage] img, [data-testid=stImageContainer] img").first).to_be_visible()
    page.get_by_role("button", name="Continue to Check").click()
    expect(page.get_by_text("No patient is in two parts").first).to_be_visible(timeout=MINUTES)
    page.get_by_role("button", name="Continue to Train").click()
    run = begin(page, epochs=30)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_text(re.compile(r"epoch [1-9]\d* of \d+")).first).to_be_visible(timeout=4 * MINUTES)
    assert runs(served) == [run], "a double click begins one training"
    before = status(served, run)
    page.reload()
    expect(page.get_by_text(re.compile(r"epoch \d+ of \d+|Testing|heatmaps")).first).to_be_visible()
    after = status(served, run)
    assert (after["pid"], after["started"]) == (before["pid"], before["started"]), "a refresh loses nothing"
    assert after["epoch"] >= before["epoch"]
    phone = browser.new_context().new_page()
    phone.goto(page.url)
    expect(phone.get_by_text("opens only with the whole address")).to_be_visible()
    phone.goto(f"{page.url}&{urlsplit(served.url).query}")
    expect(phone.get_by_role("heading", name="Train")).to_be_visible()
    expect(phone.get_by_text("tiny").first).to_be_visible()
    phone.context.close()

    # What speaks against the model is said instead of "trained, tested and explained", and does with so few patients.
    expect(page.get_by_text(re.compile(r"Finished[:.]")).first).to_be_visible(timeout=4 * MINUTES)
    page.get_by_role("button", name="Continue to Results").click()
    expect(page.get_by_role("heading", name=re.compile(r"AUC .*95% CI .* patients"))).to_be_visible()
    expect(page.get_by_role("cell", name="sensitivity", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ of \d+ answers differ from the reference"))).to_be_visible()
    assert page.get_by_text(RESEARCH_USE).count() == 1, "once a page"
    page.get_by_role("button", name="Continue to Heatmaps").click()
    page.wait_for_function(
        "() => { const image = document.querySelector(\"img[alt^='Image 1: the original next to']\");"
        " return image && image.complete && image.naturalWidth > 100 }"
    )
    page.get_by_role("button", name="Continue to Export").click()

    model = download(page, "Download the model")
    with zipfile.ZipFile(model) as content:
        assert {"easydl.json", "config.json", "model.weights.h5"} <= set(content.namelist())
        assert json.loads(content.read("easydl.json"))["metadata"]["classes"] == ["no nodule", "nodule"]
    report = download(page, "Download the report").read_text(encoding="utf-8")
    assert RESEARCH_USE in report
    assert len(report) > 20_000
    predictions = download(page, "Download the predictions").read_text(encoding="utf-8")
    assert predictions.count("\n") > 5
    notebook = json.loads(download(page, "Download the notebook").read_text(encoding="utf-8"))
    assert any("easydl.fit" in "".join(cell["source"]) for cell in notebook["cells"])
    expect(page.get_by_text("easydl.classifier").first).to_be_visible()
    use_on_a_new_case(page, served, films)


def use_on_a_new_case(page: Page, served: Served, films: Path) -> None:
    if importlib.util.find_spec("easydl.reporting.case_page") is None:
        return
    with zipfile.ZipFile(films) as content:
        name = next(name for name in content.namelist() if name.startswith("chest/nodule/"))
        (films.parent / "one.dcm").write_bytes(content.read(name))
    page.get_by_role("link", name="Use on a new case").click()
    page.locator("input[type=file]").set_input_files(films.parent / "one.dcm")
    expect(page.get_by_role("button", name="Another case")).to_be_visible(timeout=4 * MINUTES)
    assert page.get_by_test_id("stAlertContentError").count() == 0
    expect(page.get_by_role("cell", name="nodule", exact=True)).to_be_visible()
    page.wait_for_function(
        "() => { const image = document.querySelector(\"img[alt^='Figure 1']\"); return image && image.naturalWidth > 100 }"
    )
    assert RESEARCH_USE in download(page, "Download this page").read_text(encoding="utf-8")
    page.get_by_role("button", name="Another case").click()
    expect(page.get_by_text("all files of one series")).to_be_visible()
    assert list((served.workspace / "cases").iterdir()) == [], "the copies are gone"


def download(page: Page, label: str) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=label).click()
    assert waiting.value.failure() is None
    return Path(waiting.value.path())


@pytest.mark.everything
def test_stop_ends_the_process_and_keeps_the_model(page: Page, served: Served, films: Path) -> None:
    upload_folder(page, served, films)
    page.get_by_role("link", name="Train").click()
    another = page.get_by_role("button", name="Train another model")
    if another.is_visible():
        another.click()
    run = begin(page, epochs=500)
    expect(page.get_by_text(re.compile(r"epoch [2-9]\d* of 500")).first).to_be_visible(timeout=2 * MINUTES)
    pid = status(served, run)["pid"]
    page.get_by_role("button", name="Stop").click()
    asked = time.monotonic()
    expect(page.get_by_text(re.compile("Stopped by you after epoch"))).to_be_visible()
    while alive(pid) and time.monotonic() - asked < 60:
        time.sleep(0.2)
    assert not alive(pid)
    assert (served.workspace / "runs" / run / "model.keras").stat().st_size > 10_000
    assert page.get_by_test_id("stAlertContentError").count() == 0, "a stop that was asked for is no error"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


@pytest.mark.everything
def test_names_from_a_zip_are_only_text_in_a_real_browser(page: Page, served: Served, films: Path) -> None:
    tricky = films.parent / "tricky.zip"
    names = {"no nodule": "![x](http://127.0.0.1:9/x.png) $x$ :red[y]", "nodule": "<b>bold</b> & `code`"}
    with zipfile.ZipFile(films) as source, zipfile.ZipFile(tricky, "w") as target:
        for member in source.namelist():
            parts = member.split("/")
            if parts[0] == "chest":
                name = names[parts[1]].replace("/", "\u2215")
                target.writestr("/".join([parts[0], name, *parts[2:]]), source.read(member))
    disguised = films.parent / f"{EVIL}.zip"
    shutil.copyfile(tricky, disguised)
    upload(page, served, disguised)
    for step in ("Check", "Train"):
        page.get_by_role("link", name=step).click()
        expect(page.get_by_role("heading", name=step)).to_be_visible()
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)  # the page is no longer running
        assert page.evaluate("window.evil") is None
        assert page.locator("img[src='x'], main b, .katex").count() == 0
    assert page.get_by_text("<img src=x onerror").count() > 0, "the name is there, as text"
