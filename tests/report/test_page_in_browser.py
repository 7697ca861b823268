"""The page as a reader uses it: a real browser, the file opened from disk, no network."""

import dataclasses
import time

import numpy as np
import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report import compare
from hybrid_attention.report import page as report_page
from hybrid_attention.report.matched_runs import match_runs
from hybrid_attention.report.page import embedded_cases, picture_kinds

from tests.evaluation.drawn_runs import speckled, write_run

NO_TABLES = dict.fromkeys(("Summary", "Significance", "Classes", "All scores", "Runs and settings"), ())


@pytest.fixture(scope="module")
def address(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    runs = [f"good={written(error=1, gradcam=True)}", f"poor={written(error=5)}", f"bare={written(pictures=False)}"]
    return compare(runs, folder / "report").as_uri()


@pytest.fixture
def page(browser, address):
    browser.get_log("browser")  # empties it
    start = time.monotonic()
    browser.get(address)
    shown(browser)
    browser.opened_in = time.monotonic() - start
    yield browser
    # the tests' own reading of pixels is remarked on
    assert [entry for entry in browser.get_log("browser") if "willReadFrequently" not in entry["message"]] == []


def shown(browser):
    """Wait until the pictures of the case in the title are drawn; return the case."""
    script = """
        const done = arguments[0];
        const rows = [...document.querySelectorAll("#case-table tbody tr")];
        const check = () => {
          const place = document.getElementById("case-pictures").dataset.shown;
          const data = JSON.parse(document.getElementById("data").textContent);
          const title = document.getElementById("case-title").textContent;
          if (place !== undefined && title.startsWith(data.cases[place].id + " (")) done(data.cases[place].id);
          else setTimeout(check, 10);
        };
        check();
    """
    return browser.execute_async_script(script)


def pixel(browser, label, x, y):
    """Colour of a canvas at a place of the 64 x 64 image; a pixel is eight wide on the canvas."""
    script = """
        const canvas = document.querySelector(`canvas[aria-label="${arguments[0]}"]`);
        const place = [arguments[1] * 8 + 4, arguments[2] * 8 + 4, 1, 1];
        return [...canvas.getContext("2d").getImageData(...place).data].slice(0, 3);
    """
    return browser.execute_script(script, label, x, y)


def keys(browser, *names):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*names).perform()


def column(browser, index):
    rows = "[...document.querySelectorAll('#case-table tbody tr')]"
    return browser.execute_script(f"return {rows}.map((row) => row.cells[{index}].textContent)")


def open_case(browser, case):
    """Click on a case in the table."""
    browser.find_element("xpath", f"//table[@id='case-table']//button[text()='{case}']").click()
    assert shown(browser) == case


def choose(browser, control, title):
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", control)).select_by_visible_text(title)


def test_opens_quickly_and_fetches_nothing(page):
    assert page.opened_in < 3
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_table_is_sorted_by_clicks_and_by_keys(page):
    from selenium.webdriver.common.keys import Keys

    heads = page.find_elements("css selector", "#case-table thead th")
    assert [head.text for head in heads] == ["case", "class", "lesion, % of image", "good", "poor", "bare", "spread"]
    button = heads[4].find_element("tag name", "button")
    button.click()
    up = column(page, 4)
    assert heads[4].get_attribute("aria-sort") == "ascending"
    assert up[-2:] == ["n/a", "n/a"]
    assert [float(text) for text in up[:-2]] == sorted(float(text) for text in up[:-2])
    button.send_keys(Keys.ENTER)
    down = column(page, 4)
    assert heads[4].get_attribute("aria-sort") == "descending"
    assert down[:-2] == up[-3::-1]
    assert down[-2:] == ["n/a", "n/a"]  # undefined stays last
    heads[0].find_element("tag name", "button").send_keys(Keys.SPACE)
    assert heads[4].get_attribute("aria-sort") is None
    assert column(page, 0)[0] == "benign/benign (0).png"


def test_arrow_keys_step_through_the_cases(page):
    from selenium.webdriver.common.keys import Keys

    spreads = dict(zip(column(page, 0), column(page, 6), strict=True))
    seen = [shown(page)]
    for _ in range(3):
        keys(page, Keys.ARROW_RIGHT)
        seen.append(shown(page))
    values = [float(spreads[case]) for case in seen]
    assert len(set(seen)) == 4
    assert values == sorted(values, reverse=True)  # largest disagreement first
    assert page.find_element("id", "position").text == "4 of 8"
    keys(page, Keys.ARROW_LEFT)
    assert shown(page) == seen[2]


def test_orders(page):
    poor = {case: value for case, value in zip(column(page, 0), column(page, 4), strict=True) if value != "n/a"}
    choose(page, "order", "worst first")
    choose(page, "judge", "poor")
    assert float(poor[shown(page)]) == min(map(float, poor.values()))
    assert not page.find_element("id", "previous").is_enabled()
    choose(page, "order", "best first")
    assert float(poor[shown(page)]) == max(map(float, poor.values()))
    page.find_element("id", "next").click()
    assert page.find_element("id", "position").text == "2 of 8"
    choose(page, "order", "all, as the table is sorted")
    assert shown(page) == column(page, 0)[0]
    assert not page.find_element("id", "judge").is_displayed()


def test_a_case_of_the_table_is_opened(page):
    from selenium.webdriver.common.keys import Keys

    open_case(page, "normal/normal (3).png")
    assert page.find_element("id", "case-title").text == "normal/normal (3).png (normal, no lesion)"
    assert page.find_element("id", "case-pictures").text.count("no Grad-CAM of this case") == 1  # of "good" alone
    keys(page, Keys.ARROW_LEFT)  # the focus has left the table
    assert shown(page) != "normal/normal (3).png"


def test_overlay_colours(page):
    # case 0: a disc of radius 32/3 around (32, 21.3); the mask of "poor" lies 5 pixels to the right
    case = "benign/benign (0).png"
    open_case(page, case)
    right, too_much, missed = (pixel(page, f"poor, {case}: overlay", x, 21) for x in (34, 45, 23))
    assert right[1] > right[0] + 40 and right[1] > right[2] + 40
    assert too_much[0] > too_much[1] + 40 and too_much[0] > too_much[2] + 40
    assert missed[2] > missed[0] + 40 and missed[2] > missed[1] + 40
    grey = pixel(page, f"poor, {case}: overlay", 5, 50)
    assert max(grey) - min(grey) <= 4
    truth = pixel(page, f"{case}: truth", 23, 21)
    assert truth[1] > truth[0] + 40
    low, high = (pixel(page, f"good, {case}: probability", *place) for place in ((5, 50), (34, 21)))
    assert low[2] > low[1] and high[1] > high[2] + 100  # from violet to yellow
    assert page.find_elements("css selector", f'canvas[aria-label="good, {case}: Grad-CAM"]')
    assert not page.find_elements("css selector", f'canvas[aria-label="poor, {case}: Grad-CAM"]')
    text = page.find_element("id", "case-pictures").text
    assert "no pictures in this run" in text and "no Grad-CAM of this case" not in text


def test_nothing_is_wider_than_the_window(page):
    for width in (700, 1366):
        page.set_window_size(width, 900)
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_ten_runs_of_650_cases(browser, tmp_path):
    """Speckled pictures of three cases, repeated, and scores of chance: 46 MB."""
    folder = speckled(write_run(tmp_path / "run", cases=3, size=256, gradcam=True))
    runs = [read_evaluation(f"run {index}={folder}") for index in range(10)]
    few = match_runs(runs)
    kinds = {run.name: picture_kinds(run) for run in runs}
    pictures = list(embedded_cases(few, kinds))
    generator = np.random.default_rng(0)
    many = tuple(
        dataclasses.replace(
            run,
            cases=run.cases.iloc[np.arange(650) % 3].assign(
                case_id=[f"benign/benign ({index}).png" for index in range(650)], dice=generator.random(650)
            ),
        )
        for run in runs
    )
    comparison = dataclasses.replace(few, runs=many)
    cases = [pictures[index % 3] for index in range(650)]
    path = tmp_path / "report.html"
    path.write_text(report_page.render(comparison, [], NO_TABLES, {}, kinds, cases, ""), encoding="utf-8")
    assert 20e6 < path.stat().st_size < 60e6
    start = time.monotonic()
    browser.get(path.as_uri())
    case = shown(browser)
    opened_in = time.monotonic() - start
    assert opened_in < 10  # the aim is 3 on a quiet machine
    assert len(column(browser, 0)) == 650
    browser.find_element("id", "next").click()
    assert shown(browser) != case
