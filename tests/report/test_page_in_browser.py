"""The page as a reader uses it: a real browser, the file opened from disk, no network."""

import pytest
from hybrid_attention.report import compare
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

FIRST, NORMAL = "benign/benign (0).png", "normal/normal (3).png"


@pytest.fixture(scope="module")
def page(browser, written, tmp_path_factory):
    """The report of three runs; nothing but the tests' own reading of pixels is remarked on."""
    runs = [f"good={written(error=1, gradcam=True)}", f"poor={written(error=5)}", f"bare={written(pictures=False)}"]
    browser.get(compare(runs, tmp_path_factory.mktemp("browser")).as_uri())
    yield browser
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0  # nothing is fetched
    assert [entry for entry in browser.get_log("browser") if "willReadFrequently" not in entry["message"]] == []


def shown(browser):
    """Wait until the pictures of the case in the title are drawn; return the case."""
    script = """
        const done = arguments[0];
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


def column(browser, index):
    rows = "[...document.querySelectorAll('#case-table tbody tr')]"
    return browser.execute_script(f"return {rows}.map((row) => row.cells[{index}].textContent)")


def open_case(browser, case):
    """Click on a case in the table."""
    browser.find_element("xpath", f"//table[@id='case-table']//button[text()='{case}']").click()
    assert shown(browser) == case


def test_keys_and_orders(page):
    spreads = dict(zip(column(page, 0), column(page, 6), strict=True))
    seen = [shown(page)]
    for _ in range(3):
        ActionChains(page).send_keys(Keys.ARROW_RIGHT).perform()
        seen.append(shown(page))
    values = [float(spreads[case]) for case in seen]
    assert len(set(seen)) == 4 and values == sorted(values, reverse=True)  # largest disagreement first
    assert page.find_element("id", "position").text == "4 of 8"
    ActionChains(page).send_keys(Keys.ARROW_LEFT).perform()
    assert shown(page) == seen[2]

    poor = {case: value for case, value in zip(column(page, 0), column(page, 4), strict=True) if value != "n/a"}
    order, judge = (Select(page.find_element("id", name)) for name in ("order", "judge"))
    order.select_by_visible_text("worst first")
    judge.select_by_visible_text("poor")
    assert float(poor[shown(page)]) == min(map(float, poor.values()))
    assert not page.find_element("id", "previous").is_enabled()
    order.select_by_visible_text("best first")
    assert float(poor[shown(page)]) == max(map(float, poor.values()))
    page.find_element("id", "next").click()
    assert page.find_element("id", "position").text == "2 of 8"
    order.select_by_visible_text("all, as the table is sorted")
    assert shown(page) == column(page, 0)[0]
    assert not page.find_element("id", "judge").is_displayed()


def test_table_is_sorted_by_clicks_and_by_keys(page):
    heads = page.find_elements("css selector", "#case-table thead th")
    assert [head.text for head in heads] == ["case", "class", "lesion, % of image", "good", "poor", "bare", "spread"]
    button = heads[4].find_element("tag name", "button")
    button.click()
    up = column(page, 4)
    assert heads[4].get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in up[:-2]] == sorted(float(text) for text in up[:-2])
    button.send_keys(Keys.ENTER)
    assert heads[4].get_attribute("aria-sort") == "descending"
    assert column(page, 4) == [*up[-3::-1], "n/a", "n/a"] and up[-2:] == ["n/a", "n/a"]  # undefined stays last
    heads[0].find_element("tag name", "button").send_keys(Keys.SPACE)
    assert heads[4].get_attribute("aria-sort") is None and column(page, 0)[0] == FIRST
    open_case(page, NORMAL)
    assert page.find_element("id", "case-title").text == f"{NORMAL} (normal, no lesion)"
    assert page.find_element("id", "case-pictures").text.count("no Grad-CAM of this case") == 1  # of "good" alone
    ActionChains(page).send_keys(Keys.ARROW_LEFT).perform()  # the focus has left the table
    assert shown(page) != NORMAL


def test_overlay_colours(page):
    # case 0: a disc of radius 32/3 around (32, 21.3); the mask of "poor" lies 5 pixels to the right
    open_case(page, FIRST)
    colours = [pixel(page, f"poor, {FIRST}: overlay", x, 21) for x in (45, 34, 23)]
    colours.append(pixel(page, f"{FIRST}: truth", 23, 21))
    for colour, brightest in zip(colours, (0, 1, 2, 1), strict=True):  # false positive, true, missed; true outline
        assert colour[brightest] > 40 + max(level for place, level in enumerate(colour) if place != brightest)
    grey = pixel(page, f"poor, {FIRST}: overlay", 5, 50)
    assert max(grey) - min(grey) <= 4
    low, high = (pixel(page, f"good, {FIRST}: probability", *place) for place in ((5, 50), (34, 21)))
    assert low[2] > low[1] and high[1] > high[2] + 100  # from violet to yellow
    for run, maps in (("good", 1), ("poor", 0)):
        assert len(page.find_elements("css selector", f'canvas[aria-label="{run}, {FIRST}: Grad-CAM"]')) == maps
    text = page.find_element("id", "case-pictures").text
    assert "no pictures in this run" in text and "no Grad-CAM of this case" not in text
    for width in (700, 1366):
        page.set_window_size(width, 900)
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
