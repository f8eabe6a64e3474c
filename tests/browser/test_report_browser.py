"""The report as a reader has it: in a browser, from its file, sorted, filtered, on a phone, in the dark, printed."""

import math
import shutil

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from records import FOUR, HOSTILE, frame, synthetic, timed

from bnbench.folder import Folder
from bnbench.report import html, records, tables
from bnbench.report.plots import draw

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
ENVIRONMENT = {"machine": {"cpu": "a processor", "processors": 2}, "plan": {"N": [10, 1000]}, "warnings": ["a load"]}
SETTINGS = {"N": (10, 1000, 100_000), "p1": (4, 64), "p2": (4,), "dtypes": ("float64", "float32")}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; Debian's package chromium adds it")


@pytest.fixture(scope="module")
def table():
    """Two settings with medians from microseconds to seconds, rows without any, noise and a hostile name."""
    odd = timed(HOSTILE, "loops", 10, [2e-3], status="invalid", reason="dG1: " + HOSTILE)
    names = ["loops-python", "loops-numba", "matrix-numpy", "fused-numba", "torch-eager"]
    found = frame([*synthetic(names, **SETTINGS), odd])
    found["noise"] = ["noisy, drift" if place % 9 == 0 else "drift" if place % 9 == 4 else "" for place in found.index]
    return found


@pytest.fixture(scope="module")
def address(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    plots, _ = draw(frame(FOUR), Folder(folder))
    page = html.page(table, plots, ENVIRONMENT, f"python -m bnbench sweep --plugin '{HOSTILE}'", ["a remark"])
    Folder(folder).put("report.html", page)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def opened(browser, address):
    """Open the report in a context of its own; what went wrong in it or was asked for is in `heard`."""
    contexts = []

    def open_page(**options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.heard = []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("dialog", lambda dialog: (page.heard.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith("data:") or page.heard.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


def shown(page, name, column_names):
    """The texts of a column in the rows that are visible, in order."""
    place = column_names.index(name)
    return page.evaluate(
        "place => [...document.querySelectorAll('#records tbody tr')].filter(row => row.checkVisibility())"
        ".map(row => row.cells[place].textContent.trim())",
        place,
    )


@pytest.fixture
def names(table):
    return [column.name for column in records.columns(table)]


def test_it_opens_without_an_error_and_asks_for_nothing_else(opened, address):
    # catches: a script error, a policy that blocks our own script, a font or script from elsewhere, markup from data
    page = opened()
    assert page.heard == [address]
    assert page.locator("#controls").is_visible()
    assert all(page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)"))


def test_sorting_goes_by_the_number_and_leaves_empty_ones_last(opened, table, names):
    # catches: sorting by text (9 µs after 89 ms), empty ones first in descending order, a key that does nothing
    page = opened()
    button = page.locator("#records th", has_text="median").get_by_role("button")
    values = table["median_s"].dropna()
    texts = {
        order: records.rows(table.loc[values.sort_values(ascending=order).index], records.columns(table))
        for order in (True, False)
    }
    place, empty = names.index("median_s"), [""] * int(table["median_s"].isna().sum())
    assert empty
    for key, ascending, said in (("Enter", True, "ascending"), ("Space", False, "descending")):
        button.focus()
        page.keyboard.press(key)
        assert shown(page, "median_s", names) == [row[place].marked for row in texts[ascending]] + empty
        assert page.locator("th[aria-sort]").all_inner_texts() == ["median"]
        assert page.locator("th[aria-sort]").get_attribute("aria-sort") == said
    page.locator("#records th", has_text="variant").get_by_role("button").click()
    assert shown(page, "variant", names) == sorted(shown(page, "variant", names), key=str.casefold)
    assert page.locator("th[aria-sort]").all_inner_texts() == ["variant"]


def test_filters_show_exactly_the_rows_that_match(opened, table, names):
    # catches: a filter that matches a part of a value (N 10 in 1000), filters joined by "or", a count that lies,
    # a choice that occurs nowhere, a reset that forgets the order
    page = opened()
    before = shown(page, "median_s", names)

    def visible():
        return list(zip(*(shown(page, name, names) for name in ("variant", "N", "dtype")), strict=True))

    def wanted(rows):
        return [(row["variant"], records.say("N", row["N"]), row["dtype"]) for row in rows.to_dict("records")]

    page.get_by_role("combobox", name="N", exact=True).select_option("10")
    assert visible() == wanted(table[table["N"] == 10])
    page.get_by_role("combobox", name="dtype", exact=True).select_option("float32")
    rows = table[(table["N"] == 10) & (table["dtype"] == "float32")]
    assert visible() == wanted(rows)
    assert page.locator("#count").inner_text() == f"{len(rows)} of {len(table)} records are shown."
    page.get_by_role("searchbox", name="contains").fill("NUMBA loops")
    assert visible() == wanted(rows[rows["variant"] == "loops-numba"])
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("combobox", name="status", exact=True).select_option("pruned")
    assert visible() == wanted(table[table["status"] == "pruned"]) != []
    page.get_by_role("combobox", name="status", exact=True).select_option("")
    page.get_by_role("combobox", name="noise", exact=True).select_option("drift")
    assert len(visible()) == int(table["noise"].str.contains("drift").sum())
    page.locator("#records th", has_text="median").get_by_role("button").click()
    page.get_by_role("button", name="Reset").click()
    assert shown(page, "median_s", names) == before
    assert page.locator("th[aria-sort]").count() == 0
    choices = page.get_by_role("combobox", name="variant", exact=True).locator("option").all_inner_texts()
    assert choices == ["all", *table["variant"].unique()]


def test_it_can_be_used_with_the_keyboard_alone(opened):
    # catches: no skip link, a link to nowhere, a scrolling box that no key reaches
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answers"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert (
        page.evaluate(
            "[...document.querySelectorAll('*')].filter(e => /auto|scroll/.test(getComputedStyle(e).overflowX))"
            ".filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0).length"
        )
        == 0
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(opened, scheme):
    # catches: too little contrast, an image without words, a heading level left out, a box without a name,
    # and on a phone a page that scrolls sideways
    page = opened(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    found = Axe().run(page).response["violations"]
    assert [(one["id"], node["html"][:200]) for one in found for node in one["nodes"]] == []


def test_it_prints_whole_and_reads_without_scripts(opened, table):
    # catches: folded or cut parts on paper, controls that need a script where none runs, rows that a script makes
    page = opened(viewport={"width": 1040, "height": 740})
    folded = page.locator("details:not([open])").count()
    assert folded > 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("#controls").is_visible()
    cut = "e => e.scrollWidth > innerWidth || e.scrollHeight > e.clientHeight + 1"
    assert page.evaluate(f"[...document.querySelectorAll('.scroll')].filter({cut}).map(e => e.ariaLabel)") == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded

    page = opened(java_script_enabled=False)
    assert not page.locator("#controls").is_visible()
    assert page.locator("#records tbody tr").count() == len(table)
    assert page.get_by_text("A single run cannot say.").is_visible()
    slowest = table.loc[table["median_s"].idxmax()]
    assert page.locator("#records td", has_text=tables.median(slowest).text).count() > 0
    assert math.isfinite(slowest["median_s"])
    assert pd.isna(table["median_s"]).any()
