"""The status page as people meet it: Chromium, a server that wants tokens, a job at work under a hostile name."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe
from cluster import Cluster, eventually
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.expected_conditions import text_to_be_present_in_element
from selenium.webdriver.support.wait import WebDriverWait

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
STEPS = 3000  # more than the tests take


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cluster")
    secret = directory / "admin"
    os.environ["QZO_TOKEN_FILE"] = str(secret)  # of qzoctl and the worker
    running = Cluster(directory, "--admin-token-file", secret, "--page-address", "127.0.0.1:0")
    running.secret = secret.read_text().strip()
    running.page = "http://localhost:" + running.server.find(r"status page on port (\d+)")
    running.start_worker("w1")
    running.submit("spam", STEPS, display_name=HOSTILE)
    eventually(lambda: running.step("spam") >= 10)
    yield running
    running.close()
    del os.environ["QZO_TOKEN_FILE"]


def chromium(scripts: bool = True):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1100,900", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


@pytest.fixture
def browser():
    driver = chromium()
    yield driver
    entries = [entry for entry in driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
    complaints = [entry["message"] for entry in entries if "Failed to load resource" not in entry["message"]]
    driver.quit()
    assert not complaints, "scripts and policies have nothing to complain about"


def wait_for_title(driver, text: str):
    """Through the moments between two pages, in which an element is of the one before or of none."""
    wait = WebDriverWait(driver, 30, ignored_exceptions=(NoSuchElementException, StaleElementReferenceException))
    wait.until(text_to_be_present_in_element((By.TAG_NAME, "h1"), text))


def sign_in(driver, cluster):
    driver.get(cluster.page)
    driver.find_element(By.ID, "token").send_keys(cluster.secret)
    driver.find_element(By.CSS_SELECTOR, "main button").click()
    wait_for_title(driver, "Jobs")


def colours(driver, scheme: str):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    return driver.execute_script("return getComputedStyle(document.body).backgroundColor")


def picture(driver, name: str):
    """Small enough for a repository: as many colours as such a page has."""
    if directory := os.environ.get("QZO_SCREENSHOTS"):
        image = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
        image.quantize(48, dither=Image.Dither.NONE).save(Path(directory) / f"{name}.png", optimize=True)


def test_a_token_opens_the_list_and_a_job_is_watched_without_reloading(browser, cluster):
    sign_in(browser, cluster)
    row = browser.find_element(By.CSS_SELECTOR, "tbody tr")
    assert "RUNNING" in row.text and HOSTILE in row.text, "names are shown as they are"
    assert browser.find_element(By.CSS_SELECTOR, "tbody svg.sparkline polyline").get_attribute("points")
    picture(browser, "jobs")
    browser.find_element(By.LINK_TEXT, "spam").click()
    browser.execute_script("window.still_here = true")

    def curve() -> str:
        return browser.find_element(By.CSS_SELECTOR, "svg.curve polyline.training").get_attribute("points")

    before, steps = curve(), browser.find_element(By.TAG_NAME, "progress").get_attribute("value")
    eventually(lambda: curve() != before, what="a longer curve")
    assert int(browser.find_element(By.TAG_NAME, "progress").get_attribute("value")) > int(steps)
    assert browser.execute_script("return window.still_here"), "exchanged in place"
    assert browser.execute_script("return window.hacked === undefined")
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "svg.curve circle")) >= 3, what="validations")
    for scheme in ("light", "dark"):
        colours(browser, scheme)
        picture(browser, f"job-{scheme}")


def test_signing_out_ends_it(browser, cluster):
    sign_in(browser, cluster)
    assert browser.get_cookie("qzo_token")["httpOnly"]
    browser.find_element(By.XPATH, "//button[text()='Sign out']").click()
    wait_for_title(browser, "Sign in")
    assert browser.get_cookie("qzo_token") is None
    browser.get(f"{cluster.page}/projects/default/jobs/spam")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Sign in"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_in_light_and_dark(browser, cluster, scheme):
    for path in ("sign in", "/", "/workers", "/projects/default/jobs/spam", "/nothing"):
        if path == "/":
            sign_in(browser, cluster)
        browser.get(cluster.page + (path if path.startswith("/") else ""))
        background = colours(browser, scheme)
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        violations = Axe().run(browser)["violations"]
        assert not violations, [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations]


def test_tables_need_no_scripts(cluster):
    driver = chromium(scripts=False)
    try:
        driver.execute_cdp_cmd("Network.setCookie", {"name": "qzo_token", "value": cluster.secret, "url": cluster.page})
        driver.get(cluster.page)
        assert "spam" in driver.find_element(By.TAG_NAME, "table").text
        driver.get(driver.find_element(By.LINK_TEXT, "spam").get_attribute("href"))
        headings = [heading.text for heading in driver.find_elements(By.TAG_NAME, "h2")]
        assert headings == ["Evaluations", "Workers", "Events"]
        assert len(driver.find_elements(By.CSS_SELECTOR, "main table")) == 3
        assert driver.find_element(By.CSS_SELECTOR, "svg.curve polyline.training").get_attribute("points")
        driver.get(driver.find_element(By.LINK_TEXT, "Workers").get_attribute("href"))
        assert "w1" in driver.find_element(By.TAG_NAME, "table").text
    finally:
        driver.quit()
