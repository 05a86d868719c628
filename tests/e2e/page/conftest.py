"""A real server, a real worker and a real browser, once for all tests of the page.

Screenshots lie in the test's folder, or in DFAD_SCREENSHOTS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from testing.running_service import ROOT, end, start

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEACHER = ROOT / "examples" / "digits" / "teacher.safetensors"
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
MILLISECONDS = 60_000
SCREENSHOTS = os.environ.get("DFAD_SCREENSHOTS")
#: Receivers of the tests are on loopback, and are not waited for.
WEBHOOKS = {"DFAD_WEBHOOK_ALLOW": '["127.0.0.1"]'}
SMALL = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
WATCH = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: 'layout-shift', buffered: true });
"""


@dataclass
class Service:
    """Where the service is, and where its data lie."""

    url: str
    home: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def post(self, path: str, **body: Any) -> Any:
        """The answer's JSON."""
        return httpx.post(f"{self.url}{path}", json=body, timeout=30).raise_for_status().json()

    def teacher(self) -> str:
        """An inspected teacher; its id."""
        files = {"teacher": (TEACHER.name, TEACHER.read_bytes())}
        teacher_id = httpx.post(f"{self.url}/teachers", files=files).raise_for_status().json()["id"]
        self.wait(f"/teachers/{teacher_id}", lambda found: found["status"] == "ready")
        return str(teacher_id)

    def job(self, teacher_id: str, steps: int = 2, **more: Any) -> str:
        """A small job; its id."""
        student = {"architecture": "cnn8", "args": {"width": 4}}
        spec = {"student": student, "budget": {"steps": steps}, "training": SMALL, **more}
        return str(self.post("/jobs", teacher_id=teacher_id, **spec)["id"])

    def wait(self, path: str, holds: Callable[[Any], bool], seconds: float = 60) -> Any:
        """What lies at `path` once `holds` of it."""
        deadline = time.monotonic() + seconds
        while not holds(found := httpx.get(f"{self.url}{path}", timeout=30).json()):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found


def started(home: Path, *modules: str, port: int | None = None, **more: str) -> Service:
    """A migrated service of the named processes; they are waited for, not ended."""
    url, processes = start(home, *modules, port=port, DFAD_UPLOAD_PART_BYTES=str(2**20), **more)
    return Service(url, home, processes)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    found = started(tmp_path_factory.mktemp("page"), "app", "worker", **WEBHOOKS)
    yield found
    end(found.processes)


@pytest.fixture(autouse=True)
def nothing_left_running(service: Service) -> Iterator[None]:
    """What a test that failed has left behind does not keep the worker from the next."""
    yield
    for status in ("running", "queued", "paused"):
        for job in httpx.get(f"{service.url}/jobs?status={status}", timeout=30).json()["data"]:
            httpx.post(f"{service.url}/jobs/{job['id']}/cancel", timeout=30)


@pytest.fixture(scope="session")
def teacher_id(service: Service) -> str:
    return service.teacher()


@pytest.fixture(scope="session")
def done(service: Service, teacher_id: str) -> str:
    """A job that has succeeded; its id."""
    job_id = service.job(teacher_id, metadata={"team": "vision"})
    service.wait(f"/jobs/{job_id}", lambda job: job["terminal"])
    return job_id


@pytest.fixture(scope="module")
def browser(missing: Callable[[str], None]) -> Iterator[Browser]:
    """Chromium. No longer than a module: meanwhile Playwright's event loop keeps asyncio from the thread."""
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("Chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root; what it opens here is ours.
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained of."""
    return []


def _is_fault(said: Any) -> bool:
    """Not what is said of a request that ended because its page was left, or its network."""
    return said.type == "error" and not said.text.startswith(("htmx:sendError", "htmx:afterRequest"))


@pytest.fixture
def page(service: Service, browser: Browser, faults: list[str]) -> Iterator[Page]:
    context = browser.new_context(base_url=service.url, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_init_script(WATCH)
    found = context.new_page()
    found.set_default_timeout(MILLISECONDS)
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("console", lambda said: faults.append(said.text) if _is_fault(said) else None)
    known = (service.url, "data:", "blob:")
    context.on("request", lambda one: None if one.url.startswith(known) else faults.append(one.url))
    yield found
    context.close()


def shot(page: Page, name: str, folder: Path) -> None:
    page.screenshot(path=Path(SCREENSHOTS or folder) / f"{name}.png", full_page=True)


def check(page: Page) -> None:
    """Nothing moved by itself; accessible in light and dark; no wider than a small telephone."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("window.shifted") < 0.01, page.url
    before: Any = page.viewport_size
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        violations = Axe().run(page, options=WCAG).response["violations"]
        told = [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in violations]
        assert told == [], (page.url, scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, page.url
    page.set_viewport_size(before)
