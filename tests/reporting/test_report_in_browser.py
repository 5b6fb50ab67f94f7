"""The page in a real browser: nothing is fetched, nothing complains, filters filter, and it fits its window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from cmt_cli.reporting.html_report import compared, write_report
from tests.reporting.browser import Browser, executable
from tests.reporting.runs import ROWS, write_run

pytestmark = pytest.mark.browser
EVIL = "</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = executable()
    if program is None:
        pytest.skip("no Chromium was found: install one, or name it in CMT_CHROMIUM")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which `cmt` answers even questions and `ewc` those of the first two tests, 40 in each test."""
    folder = tmp_path_factory.mktemp("report")
    for seed in (0, 1):
        better = tuple(tuple(min(1.0, (v or 0.0) + 0.05 * (seed + 1)) for v in row) for row in ROWS)
        write_run(
            folder / "runs" / f"cmt-{seed}",
            "cmt",
            seed=seed,
            rows=better,
            questions=40,
            answer=lambda row, task, q: ("flute", 1.0) if task < row and q % 2 == 0 else (f"drum {q}", 0.0),
        )
        write_run(
            folder / "runs" / f"ewc-{seed}",
            "ewc" + EVIL,
            seed=seed,
            questions=40,
            answer=lambda row, task, q: ("flute", 1.0) if task < min(row, 2) else (f"{EVIL}{q}", 0.0),
            rows=(*ROWS[:1], (0.9, None, None), *ROWS[2:]),
        )
    write_run(folder / "runs" / "real", "cmt", source="real")
    write_report(compared([folder / "runs"]), folder / "report.html")
    return folder / "report.html"


def tiles(browser: Browser) -> dict[str, int]:
    kinds = browser.evaluate("[...document.querySelectorAll('#tiles button')].map((one) => one.dataset.kind)")
    return dict(zip(kinds, map(int, browser.texts("#tiles b")), strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_and_stays_quiet(browser: Browser, report: Path, width: int, dark: bool) -> None:
    browser.open(report, width=width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    assert browser.requests == [f"{report.as_uri()}"]
    assert browser.complaints == []
    assert browser.evaluate("document.querySelectorAll('figure svg path').length") > 20
    assert browser.evaluate("document.querySelectorAll('.heat td').length") >= 24


def test_every_figure_and_table_says_that_data_are_generated(browser: Browser, report: Path) -> None:
    browser.open(report)
    notes = browser.texts("figure > .note")
    assert len(notes) == 8 and all("GENERATED data" in note for note in notes)
    assert browser.text(".badge.warn") == "GENERATED data" and "GENERATED" in browser.text("#example-status")
    browser.open(report, "d=toy-real-data")
    assert not any("GENERATED" in note for note in browser.texts("figure > .note"))


def test_text_from_runs_is_never_markup(browser: Browser, report: Path) -> None:
    browser.open(report, "b=ewc-script-img-src-x-onerror-document-title-owned.0&changed=wrong&s=all")
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert "owned" not in browser.evaluate("document.title")
    assert EVIL + "1" in browser.texts(".example dd")
    assert any(EVIL in name for name in browser.texts("#summary-table th"))


def test_filters_choose_examples(browser: Browser, report: Path) -> None:
    other = "ewc-script-img-src-x-onerror-document-title-owned.1"
    browser.open(report, urlencode({"a": "cmt.1", "b": other}))
    assert tiles(browser) == {"all": 120, "right": 40, "lost": 20, "gained": 40, "wrong": 20, "differ": 80}
    browser.open(report, urlencode({"a": "cmt.1", "b": other, "changed": "lost"}))
    assert set(browser.texts(".example .meta")) == {f"task2 · q2-{q}" for q in range(0, 40, 2)}
    browser.open(report, urlencode({"a": "cmt.1", "b": other, "test": "task0", "q": "DRUM 7"}))
    assert browser.texts(".example pre") == ["Question 0.7?"]
    browser.open(report, urlencode({"a": "cmt.1", "b": "cmt.1", "ra": "3", "rb": "1", "changed": "lost"}))
    assert tiles(browser)["lost"] == 40  # what was learned after task 1
    assert "after task 3" in browser.text("#example-status") and "after task 1" in browser.text("#example-status")


def test_controls_change_the_address_and_long_lists_have_pages(browser: Browser, report: Path) -> None:
    browser.open(report, urlencode({"q": "question"}))
    assert len(browser.texts(".example")) == 25 and "page 1 of 5" in browser.text("#pager")
    browser.evaluate("document.querySelector('#pager button:last-child').click()")
    browser.wait("document.querySelector('#pager').innerText.includes('page 2 of 5')")
    assert "page=2" in browser.evaluate("location.hash") and "q1-" not in browser.texts(".example .meta")[0]
    browser.evaluate("document.querySelector('[data-kind=gained]').click()")
    browser.wait("document.querySelectorAll('.example').length === 25 && location.hash.includes('changed=gained')")
    assert "page=2" not in browser.evaluate("location.hash")


def test_scores_methods_and_theme_can_be_chosen_by_keyboard(browser: Browser, report: Path) -> None:
    browser.open(report, "m=f1&sort=fgt")
    assert browser.texts("#summary-table tbody th")[0].startswith("cmt")
    assert "scored by f1" in browser.text("#chart-so-far .note")
    browser.evaluate("document.querySelector('#chips button').focus()")
    browser.press("Enter")
    assert browser.evaluate("document.querySelector('#chips button').getAttribute('aria-pressed')") == "false"
    assert browser.evaluate("document.activeElement.closest('#chips') !== null")
    assert len(browser.texts("#matrix-grid figure")) == 1
    browser.evaluate("document.querySelector('#theme').focus()")
    browser.press("Enter")
    assert browser.evaluate("document.documentElement.dataset.theme") == "dark"
    browser.press("Tab", "Tab")
    assert browser.evaluate("document.activeElement.tagName") == "SELECT"


def test_a_missing_cell_is_hatched_and_says_why(browser: Browser, report: Path) -> None:
    browser.open(report, "seed=0")
    labels = "[...document.querySelectorAll('.heat td.none')].map((cell) => cell.getAttribute('aria-label'))"
    assert browser.evaluate(labels) == [
        "task1, after 1 task: no score, this test was not evaluated at that time",
        "task2, after 1 task: no score, this test was not evaluated at that time",
    ]
    assert browser.evaluate("getComputedStyle(document.querySelector('.heat td.none')).backgroundImage").startswith(
        "rep"
    )


def test_settings_and_provenance_are_there(browser: Browser, report: Path) -> None:
    browser.open(report)
    text = browser.text("#provenance-body")
    assert all(part in text for part in ("ab" * 32, "abc123", "c0ffee" * 8, "mean_j a[T,j]", "GENERATED data"))
    assert "method._target_" in browser.text("#config-pair")
    assert "agree in every setting" in browser.text("#config-all")
