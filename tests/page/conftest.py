"""A real browser, the API with `world` in it, and pages that must stay free of faults.

These tests run in an environment of their own (`make test-page`), which has Playwright and none of our code.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
#: Keeps what the policy refused, before any script of the page runs.
expect.set_options(timeout=10_000)
WATCH = """
    window.refused = [];
    addEventListener("securitypolicyviolation", (event) =>
        refused.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

#: Once in a tab: whoever signs out stays so.
SIGN_IN = """
    if (!sessionStorage.seen) {
        sessionStorage.seen = 1;
        sessionStorage.setItem("meterstone-key", %s);
    }
"""

#: Milliseconds that a test waits for what must come.
PATIENCE = 10_000

type Open = Callable[..., Page]


def browser_path() -> str:
    """Return the browser of this machine; without one there is nothing to test, and the run ends and says so."""
    found = os.environ.get("METERSTONE_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.exit(
            "No Chromium is installed, so the page cannot be tested. Install one (Debian: `apt-get install "
            "chromium`), or name one in METERSTONE_BROWSER.",
            returncode=3,
        )
    return found


@pytest.fixture(scope="session")
def world() -> Iterator[dict[str, Any]]:
    """Run the API of `server.py`, in the development environment.

    `METERSTONE_PAGE_WORLD` names a file with what one that runs already has printed.
    """
    if "METERSTONE_PAGE_WORLD" in os.environ:
        yield json.loads(Path(os.environ["METERSTONE_PAGE_WORLD"]).read_text())
        return
    command = [ROOT / ".venv/bin/python", Path(__file__).with_name("server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        told = next((line for line in process.stdout if line.startswith('{"keys"')), None)
        assert told, "the server of the tests did not start"
        # Its log lines follow; a full pipe would stop it.
        with contextlib.ExitStack() as cleanup:
            drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)  # noqa: S607
            cleanup.callback(drain.wait)
            process.stdout.close()
            yield json.loads(told)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the browser, with a profile of its own."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser_path(), args=list(ARGUMENTS))
        yield started
        started.close()


class Watched:
    """A page's faults: what it logged or threw, what its policy refused, whom it asked beside its own origin."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.faults: list[str] = []
        #: Statuses that a test expects, which the browser logs as errors.
        self.expected = False
        origin = "/".join(base.split("/")[:3])
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        page.on("request", lambda request: self._request(request.url, origin))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not (
            self.expected and "Failed to load resource" in message.text
        ):
            self.faults.append(f"{message.type}: {message.text}")

    def _request(self, url: str, origin: str) -> None:
        if not url.startswith((f"{origin}/", "data:", f"blob:{origin}/")):
            self.faults.append(f"asked {url}")

    def check(self) -> None:
        """Fail if there is any."""
        with contextlib.suppress(Exception):
            self.faults += [f"refused: {each}" for each in self.page.evaluate("window.refused")]
        assert self.faults == []


@pytest.fixture(scope="session")
def contexts() -> dict[str, BrowserContext]:
    """Profiles by their options: pages of one share the files of the page, and no key."""
    return {}


@pytest.fixture
def open_(browser: Browser, world: dict[str, Any], contexts: dict[str, BrowserContext]) -> Iterator[Open]:
    """Open the page at a fragment, signed in; each page must be without faults at the end of the test."""
    with contextlib.ExitStack() as cleanup:
        watched: list[Watched] = []

        def open_(
            fragment: str = "",
            *,
            key: str | None = "northwind",
            at: str = "plain",
            faults: bool = False,
            clock: bool = True,
            width: int = 1200,
            **options: Any,
        ) -> Page:
            screen = {"width": width, "height": 900}
            options = {"locale": "en-GB", "timezone_id": "Europe/Berlin", "viewport": screen} | options
            name = json.dumps([options, clock], sort_keys=True)
            if name not in contexts:
                contexts[name] = browser.new_context(**options)
            page = contexts[name].new_page()
            cleanup.callback(page.close)
            page.set_default_timeout(PATIENCE)
            page.add_init_script(WATCH)
            if clock:
                page.clock.set_fixed_time(world["now"] / 1000)
            if key is not None:
                page.add_init_script(SIGN_IN % json.dumps(world["keys"].get(key, key)))
            watching = Watched(page, world[at])
            watching.expected = faults
            watched.append(watching)
            page.goto(f"{world[at]}/dashboard{fragment}")
            return page

        yield open_
        for each in watched:
            each.check()


@pytest.fixture(scope="session")
def ask(world: dict[str, Any], browser: Browser) -> Iterator[Callable[..., Any]]:
    """Ask the API beside the page; numbers stay as they were sent, as text."""
    context = browser.new_context()

    def ask(path: str, query: dict[str, str] | None = None, body: Any = None, key: str = "northwind") -> Any:
        headers = {"authorization": f"Bearer {world['keys'][key]}", "x-api-key": world["keys"][key]}
        url = f"{world['plain']}/{path}"
        if body is None:
            answer = context.request.get(url, params=query, headers=headers)
        else:
            answer = context.request.post(
                url, data=json.dumps(body), headers=headers | {"content-type": "application/json"}
            )
        assert answer.ok, answer.text()
        return json.loads(answer.text(), parse_int=str, parse_float=str)

    yield ask
    context.close()
