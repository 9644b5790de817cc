"""The page in headless Chromium: what a person sees, and that nothing comes from or goes elsewhere (`make browser`)."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster
from tests.web.conftest import Serve, stopped_copy

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make browser")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: make browser")

FLAGS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-first-run", "--no-pings",
    "--disable-domain-reliability", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """visit(address): the page.  At the end nothing was wrong in it, and nothing went elsewhere."""
    contexts, complaints, requests = [], [], []

    def open_page(address: str, width: int = 1280, height: int = 800, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(PATIENCE_S * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        return page

    yield open_page
    assert complaints == []
    assert [url for url in requests if not url.startswith("http://127.0.0.1:")] == []
    for context in contexts:
        context.close()


def test_the_tree_appears_and_a_node_that_dies_is_shown_down(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--orphan-timeout=4")
    try:
        cluster.slave(1)
        dying = cluster.slave(2)
        page = visit(serve("--socket", str(cluster.socket)).opening)
        page.wait_for_selector("[data-node='2'].up")
        cluster.end(dying, signal.SIGKILL)
        page.wait_for_selector("[data-node='2'].unreachable, [data-node='2'].down")
        page.wait_for_selector("[data-node='2'].down")
        page.get_by_label("Show").select_option("not-up")
        page.wait_for_selector("[data-node='1']", state="detached")
        page.click("[data-node='2']")
        assert "down" in page.inner_text("#facts")
    finally:
        cluster.stop()


def test_a_log_follows_a_job_and_the_job_is_killed_from_the_page(tree: Cluster, serve: Serve, visit: Visit) -> None:
    line = "echo first; read -r n < /dev/zero & sleep 1; echo second >&2; exec sleep 1000"
    job = tree.exec("-d", "1", "/bin/sh", "-c", line).stdout.split()[-1].decode()
    page = visit(serve("--control").opening)
    page.get_by_role("button", name=f"Job {job}").click()
    log = page.locator("#log")
    sync_api.expect(log).to_contain_text("1: first", timeout=PATIENCE_S * 1000)
    sync_api.expect(log).to_contain_text("1: second", timeout=PATIENCE_S * 1000)
    page.get_by_role("button", name="Kill").click()
    sync_api.expect(log).to_contain_text("killed by SIGKILL", timeout=PATIENCE_S * 1000)
    sync_api.expect(page.locator("#facts")).to_contain_text("failed, status 137", timeout=PATIENCE_S * 1000)
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible()
    assert tree.command("wait", job).returncode == 137


def test_without_control_there_is_nothing_to_end_a_job_with(tree: Cluster, serve: Serve, visit: Visit) -> None:
    job = tree.exec("-d", "1", "/bin/echo", "x").stdout.split()[-1].decode()
    page = visit(serve().opening)
    page.get_by_role("button", name=f"Job {job}").click()
    sync_api.expect(page.locator("#log")).to_contain_text("1: x", timeout=PATIENCE_S * 1000)
    assert page.get_by_role("button", name="Kill").count() == 0


def test_a_transfer_is_shown_with_its_bytes_and_is_gone_when_it_is_over(
    tree: Cluster, serve: Serve, visit: Visit
) -> None:
    with stopped_copy(tree) as (copying, number):
        page = visit(serve().opening, 390, 844)
        shown = page.locator("#transfers")
        sync_api.expect(shown).to_contain_text("copy to nodes", timeout=PATIENCE_S * 1000)
        sync_api.expect(shown).to_contain_text("of 128.0 MiB")
        assert page.get_by_role("progressbar", name=f"Job {number}, bytes").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        copying.send_signal(signal.SIGCONT)
        sync_api.expect(shown).to_be_hidden(timeout=PATIENCE_S * 1000)


def test_it_fits_a_telephone_and_the_keyboard_reaches_everything(tree: Cluster, serve: Serve, visit: Visit) -> None:
    tree.exec("1", "/bin/true")
    page = visit(serve().opening, 390, 844, "dark")
    page.wait_for_selector("[data-node='1']")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.node") == "1":
            break
    page.keyboard.press("Enter")
    assert "Node 1" in page.inner_text("#panel-title")
    background, text = page.evaluate(
        "[getComputedStyle(document.body).colorScheme, getComputedStyle(document.body).color]"
    )
    assert "dark" in background
    assert re.findall(r"\d+", text)[:3] == ["255", "255", "255"]


def test_names_from_nodes_are_text_and_never_html(tree: Cluster, serve: Serve, visit: Visit) -> None:
    job = tree.exec("-d", "1", "/bin/sh", "-c", "echo '<img src=x onerror=alert(1)>'").stdout.split()[-1].decode()
    page = visit(serve().opening)
    page.get_by_role("button", name=f"Job {job}").click()
    sync_api.expect(page.locator("#log")).to_contain_text("<img src=x", timeout=PATIENCE_S * 1000)
    assert page.locator("#log img, #jobs img").count() == 0


def test_the_token_leaves_the_address_bar_and_outlives_a_reload(tree: Cluster, serve: Serve, visit: Visit) -> None:
    site = serve()
    page = visit(site.opening)
    page.wait_for_selector("[data-node='1']")
    assert page.url == f"{site.origin}/"
    page.reload()
    page.wait_for_selector("[data-node='1']")
    assert page.context.cookies() == []


def test_a_page_without_the_token_says_what_to_open(browser: Any, serve: Serve) -> None:
    page = browser.new_page()
    page.goto(serve().origin)
    sync_api.expect(page.locator("#link")).to_contain_text("Open the address", timeout=PATIENCE_S * 1000)
    page.close()
