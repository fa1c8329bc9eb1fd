"""A real server on a free port with a cache of its own, and a real Chromium that fails the test on any complaint."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Download,
    Page,
    Request,
    expect,
    sync_playwright,
)
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from brainviz.config import REPOSITORY
from brainviz.runs import queue
from brainviz.runs.store import ENDED, Store

#: As in scripts/install_chromium.sh.
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
START_SECONDS, PAGE_SECONDS = 60, 60
expect.set_options(timeout=1000 * PAGE_SECONDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Server:
    """A running dashboard.

    Attributes
    ----------
    url : str
    cache : Path
        Its BRAINVIZ_CACHE.
    """

    url: str
    cache: Path

    @property
    def store(self) -> Store:
        return Store(self.cache)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the server did not come up")


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a dashboard which serves the named data sets; all end with the module."""
    processes: list[subprocess.Popen[bytes]] = []
    servers: list[Server] = []

    def start(**datasets: Path) -> Server:
        folder = tmp_path_factory.mktemp("server")
        config, cache, url = folder / "brainviz.toml", folder / "cache", f"http://127.0.0.1:{_free_port()}"
        config.write_text("[datasets]\n" + "".join(f"{name} = {str(root)!r}\n" for name, root in datasets.items()))
        environment = {**os.environ, "BRAINVIZ_CACHE": str(cache), "BRAINVIZ_CONFIG": str(config)}
        for name in datasets:
            subprocess.run(
                [sys.executable, "-m", "brainviz.runs.preparation", name], cwd=REPOSITORY, env=environment, check=True
            )
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                "app.py",
                "--server.headless=true",
                f"--server.port={urlsplit(url).port}",
            ],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        processes.append(process)
        servers.append(Server(url, cache))
        _wait_until_up(url, process)
        return servers[-1]

    yield start
    for server in servers:
        for run in server.store.runs():
            if run.state not in ENDED:
                queue.cancel(run.id, store=server.store)
    for process in processes:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def tiny_server(start_server: Callable[..., Server], tiny_root: Path) -> Server:
    """Return a dashboard on the tiny data set, which has been read."""
    return start_server(tiny=tiny_root)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Return a real Chromium, or skip where there is none."""
    program = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if program is None:
        pytest.skip("needs Chromium: `make chromium` installs it, or says what to install")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody with a browser of their own.

    Attributes
    ----------
    page : playwright Page
    complaints : list of str
        Errors in the console or on the page, and requests to other hosts.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    def go(self, url: str) -> None:
        """Open a page and wait until it is drawn."""
        self.page.goto(url)
        self.settle()

    def settle(self) -> None:
        """Wait until the page is drawn, and fail if it shows a traceback."""
        idle = self.page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')
        expect(idle).to_be_attached()
        assert self.page.get_by_test_id("stException").all_inner_texts() == []

    def button(self, name: str) -> None:
        """Press a button, and wait for the page."""
        self.page.get_by_role("button", name=name).click()
        self.settle()

    def download(self, name: str) -> Download:
        """Press a download's button, and return what comes.

        A page that is being drawn anew loses the click, or the file that is made for it: then the button is pressed
        again, as anybody would.
        """
        for attempt in range(3):
            self.settle()
            self.page.wait_for_timeout(500)  # what a viewer or a fragment tells may still have it drawn anew
            self.settle()
            try:
                with self.page.expect_download(timeout=1000 * PAGE_SECONDS / (1 if attempt == 2 else 4)) as found:
                    self.page.get_by_role("button", name=name).click()
            except PlaywrightTimeout:
                if attempt == 2:
                    raise
            else:
                break
        return found.value

    def see(self, text: str, seconds: float = PAGE_SECONDS) -> None:
        """Wait until a text is on the page."""
        expect(self.page.get_by_text(text).first).to_be_visible(timeout=1000 * seconds)


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Callable[[], Visitor]]:
    """Return a function that brings a visitor; the test fails if the browser of one complained."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def bring() -> Visitor:
        contexts.append(chromium.new_context(viewport={"width": 1400, "height": 1000}))
        one = Visitor(contexts[-1].new_page())
        one.page.set_default_timeout(1000 * PAGE_SECONDS)

        def on_console(message: ConsoleMessage) -> None:
            # On a link to a page, Streamlit looks for its own address below the page's first; that answer is a 404.
            if message.type == "error" and "/_stcore/" not in message.location.get("url", ""):
                one.complaints.append(message.text)

        def on_request(request: Request) -> None:
            if urlsplit(request.url).hostname not in (None, "127.0.0.1"):
                one.complaints.append(f"asked another host: {request.url}")

        one.page.on("console", on_console)
        one.page.on("request", on_request)
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        visitors.append(one)
        return one

    yield bring
    for context in contexts:
        context.close()
    assert [complaint for one in visitors for complaint in one.complaints] == []
