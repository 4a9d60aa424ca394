"""The page of a board in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.config.board_file import About
from harness.leaderboard import build, find_results, to_frame
from harness.leaderboard.files import render
from harness.leaderboard.web import page as module
from harness.leaderboard.web.stated import Stated

BOARDS = Path(__file__).parents[2] / "leaderboards"
GEMMA = BOARDS / "gemma-real/leaderboard.html"
LANGUAGES = BOARDS / "crosslingual/leaderboard.html"
CLAIMS = BOARDS / "interpretation/claims.html"

PHONE, LAPTOP, PROJECTOR = (390, 844), (1366, 768), (1920, 1080)


def cells(opened: Any, key: str) -> list[str]:
    """The texts of a column, from above."""
    found = opened.page.locator(f'.tabulator-row .tabulator-cell[tabulator-field="{key}"]')
    return [text.strip() for text in found.all_inner_texts()]


def head(opened: Any, key: str) -> Any:
    return opened.page.locator(f'.tabulator-col[tabulator-field="{key}"] button')


def choose(opened: Any, label: str, value: str) -> None:
    opened.page.locator("#filters > label").filter(has_text=re.compile(f"^{label}")).locator(
        "select"
    ).select_option(value)
    opened.wait_until_drawn()


def view(opened: Any, name: str) -> None:
    opened.page.locator("#views").get_by_role("button", name=name).click()
    opened.wait_until_drawn()


# ── every published page ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", sorted(BOARDS.rglob("leaderboard.html")), ids=lambda path: path.parent.name)
def test_every_published_page_opens_without_an_error_and_asks_for_nothing(path: Path, open_page: Any) -> None:
    opened = open_page(path)
    assert opened.said == [] and opened.asked == [path.resolve().as_uri()]
    assert opened.page.locator(".tabulator-row").count() > 0
    assert opened.page.locator("#overview table").count() > 0
    for plot in opened.page.locator("figure svg").all():
        box = plot.bounding_box()
        assert box and box["width"] > 200 and box["height"] > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, LAPTOP, PROJECTOR], ids=["phone", "laptop", "projector"])
@pytest.mark.parametrize("path", [GEMMA, LANGUAGES], ids=["gemma-real", "crosslingual"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    path: Path, size: tuple[int, int], scheme: str, open_page: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened = open_page(path, size=size, color_scheme=scheme)
    for summary in opened.page.locator("summary").all():
        summary.click()
    violations = Axe().run(opened.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_a_page_of_claims_opens_without_scripts_and_axe_finds_nothing(
    size: tuple[int, int], scheme: str, browse: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened = browse(CLAIMS, size=size, color_scheme=scheme)
    assert opened.said == [] and opened.asked == [CLAIMS.resolve().as_uri()]
    assert (
        opened.page.locator("#overview tbody tr").count() >= 5 and opened.page.locator("script").count() == 0
    )
    for summary in opened.page.locator("summary").all():
        summary.click()
    violations = Axe().run(opened.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_axe_finds_nothing_in_the_details_of_a_row(open_page: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened = open_page(GEMMA)
    opened.page.locator(".tabulator-row .open").first.click()
    assert Axe().run(opened.page).response["violations"] == []


# ── sorting ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_click_on_a_head_sorts_and_rows_without_a_value_are_last_either_way(open_page: Any) -> None:
    frame = to_frame(build(find_results(GEMMA.parent)))
    real = frame[~frame["toys"]]
    opened = open_page(GEMMA)
    for ascending in (True, False):
        head(opened, "delta_vs_hidden").click()
        shown = cells(opened, "representation")
        known = real.dropna(subset="delta_vs_hidden").sort_values("delta_vs_hidden", ascending=ascending)
        assert shown[: len(known)] == list(known["representation"])
        assert set(cells(opened, "delta_vs_hidden")[len(known) :]) == {"—"}


def test_a_head_is_reached_and_pressed_by_keyboard(open_page: Any) -> None:
    opened = open_page(GEMMA)
    before = cells(opened, "macro_f1")
    head(opened, "macro_f1").focus()
    opened.page.keyboard.press("Enter")
    assert cells(opened, "macro_f1") == before[::-1]
    column = opened.page.locator('.tabulator-col[tabulator-field="macro_f1"]')
    assert column.get_attribute("aria-sort") == "ascending"
    opened.page.keyboard.press("Space")
    assert cells(opened, "macro_f1") == before


def test_ranks_and_widths_are_in_the_order_of_numbers(open_page: Any) -> None:
    opened = open_page(BOARDS / "mosaic-widths/leaderboard.html")
    head(opened, "width").click()
    widths = [int(text.replace(",", "")) for text in cells(opened, "width") if text != "—"]
    assert widths == sorted(widths) and widths[-1] > 1_000
    head(opened, "places").click()
    ranks = [int(text.partition("–")[0]) for text in cells(opened, "places") if text != "—"]
    assert ranks == sorted(ranks) and ranks[-1] >= 10


# ── filters, addresses ───────────────────────────────────────────────────────────────────────────────────


def test_filters_leave_the_lines_that_have_all_of_it(open_page: Any) -> None:
    opened = open_page(GEMMA)
    view(opened, "Task by task")
    choose(opened, "task", "banking77")
    assert set(cells(opened, "task")) == {"banking77"} and len(cells(opened, "task")) == 7
    choose(opened, "kind", "dictionary")
    assert cells(opened, "representation") == ["gemma-3-270m-scope"]
    assert opened.page.locator("#card").inner_text().startswith("Task banking77")
    assert "1 of 98 lines, Models" in opened.page.locator("#selection").inner_text()
    opened.page.get_by_role("button", name="reset").click()
    opened.wait_until_drawn()
    assert len(set(cells(opened, "task"))) > 1


def test_toys_and_other_models_are_never_shown_together(open_page: Any) -> None:
    opened = open_page(GEMMA)
    for name in ("All rows", "Task by task", "Ablation"):
        view(opened, name)
        for group in ("Models", "Models trained here (toys)"):
            choose(opened, "models", group)
            opened.wait_until_drawn()
            models = {model for model in cells(opened, "model") if model != "—"}
            assert models and {model.startswith("mini") for model in models} == {group != "Models"}


def test_a_search_finds_words_in_any_order(open_page: Any) -> None:
    opened = open_page(GEMMA)
    opened.page.locator("#filters input[type=search]").fill("SAE random")
    assert cells(opened, "representation") == ["random_sae[width=2560,k=50]"]
    opened.page.locator("#filters input[type=search]").fill("nothing has this")
    assert cells(opened, "representation") == []
    assert "0 of 7 lines, Models" in opened.page.locator("#selection").inner_text()


def test_the_address_leads_back_to_what_is_shown(open_page: Any) -> None:
    opened = open_page(GEMMA)
    view(opened, "Task by task")
    choose(opened, "models", "Models trained here (toys)")
    opened.wait_until_drawn()
    choose(opened, "task", "ioi")
    head(opened, "macro_f1").click()
    head(opened, "macro_f1").click()
    opened.page.get_by_text("columns", exact=True).click()
    opened.page.get_by_label("chance").check()
    place = opened.page.evaluate("location.hash")
    shown = [cells(opened, key) for key in ("task", "model", "representation", "macro_f1", "chance")]
    assert all(shown)
    again = open_page(GEMMA, place=place)
    assert [cells(again, key) for key in ("task", "model", "representation", "macro_f1", "chance")] == shown
    assert again.page.evaluate("location.hash") == place
    assert again.page.evaluate("scrollY") > 0  # the address leads to the table, not to the top


@pytest.mark.parametrize(
    "place",
    [
        "#tables?view=nothing&task=x&sort=-y&columns=z",
        "#tables?view=constructor",
        "#tables?%%%",
        "#elsewhere",
    ],
)
def test_an_address_of_nothing_shows_the_board(place: str, open_page: Any) -> None:
    opened = open_page(GEMMA, place=place)
    assert len(cells(opened, "model")) == 7 and opened.said == []


def test_a_filter_that_no_line_has_can_be_seen_and_taken_back(open_page: Any) -> None:
    opened = open_page(GEMMA, place="#tables?view=results&task=nowhere")
    assert cells(opened, "task") == []
    assert opened.page.locator("#filters select").filter(has_text="nowhere").input_value() == "nowhere"
    choose(opened, "task", "")
    assert len(set(cells(opened, "task"))) > 1


def test_other_models_keep_the_filters_that_their_lines_have(open_page: Any) -> None:
    opened = open_page(GEMMA)
    choose(opened, "kind", "control")
    choose(opened, "representation", "random_sae[width=2560,k=50]")
    choose(opened, "models", "Models trained here (toys)")
    assert cells(opened, "representation") and "kind=control" in opened.page.url
    assert "representation" not in opened.page.url.partition("?")[2]


def test_the_first_column_that_is_shown_opens_a_row(open_page: Any) -> None:
    opened = open_page(GEMMA)
    opened.page.get_by_text("columns", exact=True).click()
    opened.page.get_by_label("rank", exact=True).uncheck()
    opener = opened.page.locator(".tabulator-row .open").first
    assert opener.inner_text() == "gemma-3-270m[max_length=256]"
    assert "gemma-3-270m-scope" in str(opener.get_attribute("aria-label"))
    opener.click()
    assert opened.page.locator("#row").is_visible()


def test_who_tabs_into_a_table_keeps_the_focus(open_page: Any) -> None:
    """A table that draws itself anew when it is scrolled to would take it."""
    opened = open_page(GEMMA)
    opened.page.wait_for_timeout(500)
    opened.page.locator(".tabulator-row .open").first.focus()
    opened.page.wait_for_timeout(500)
    assert opened.page.evaluate("document.activeElement.className") == "open"


def test_columns_can_be_chosen(open_page: Any) -> None:
    opened = open_page(GEMMA)
    assert not cells(opened, "auroc")
    opened.page.get_by_text("columns", exact=True).click()
    opened.page.get_by_label("AUROC").check()
    assert cells(opened, "auroc")[0] == ".862"
    opened.page.get_by_label("AUROC").uncheck()
    assert not cells(opened, "auroc")


def test_what_is_shown_can_be_downloaded(open_page: Any, tmp_path: Path) -> None:
    opened = open_page(GEMMA)
    choose(opened, "kind", "dictionary")
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="CSV of these").click()
    download.value.save_as(tmp_path / "shown.csv")
    frame = pd.read_csv(tmp_path / "shown.csv")
    assert list(frame["representation"]) == ["gemma-3-270m-scope"] and frame["macro_f1"][0] == 0.707085
    assert frame["macro_f1_low"][0] < 0.707085 < frame["macro_f1_high"][0]


# ── one row ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_opens_by_keyboard_says_all_and_gives_the_focus_back(open_page: Any) -> None:
    opened = open_page(GEMMA)
    opened.page.locator(".tabulator-row .open").first.focus()
    opened.page.keyboard.press("Enter")
    dialog = opened.page.locator("dialog[open]")
    text = dialog.inner_text()
    assert "harness run gemma-real -m gemma-3-270m" in text
    assert "n of m rows of a task were drawn" in text and "subset:1109/3190" in text
    assert "explained variance\n.908" in text
    opened.page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert opened.page.evaluate("document.activeElement.className") == "open"


def test_a_row_says_which_plugins_stand_behind_it(open_page: Any, tmp_path: Path) -> None:
    page = render(build(find_results(BOARDS / "planted")))["leaderboard.html"]
    (tmp_path / "leaderboard.html").write_text(page, "utf-8")
    opened = open_page(tmp_path / "leaderboard.html")
    opened.page.locator(".tabulator-row .open").first.click()
    dialog = opened.page.locator("dialog[open]")
    assert dialog.locator("ul li").count() == 1
    line = dialog.locator("ul li").inner_text()
    assert line.startswith("sae-harness 0.1.0 (") and line.endswith("): interface and check not recorded")
    assert opened.said == []


def test_flags_have_their_reason_beside_them(open_page: Any) -> None:
    opened = open_page(GEMMA)
    flag = opened.page.locator(".tabulator-row .flag").first
    assert flag.inner_text() == "near-leaks"
    title = flag.get_attribute("title")
    assert title.startswith("n texts are in an earlier split as well") and "near-leaks:11" in title


def test_the_reason_of_a_flag_is_shown_while_it_has_the_focus(open_page: Any) -> None:
    opened = open_page(GEMMA)
    flag = opened.page.locator(".tabulator-row .flag").first
    shown = "flag => getComputedStyle(flag, '::after').content"
    assert flag.evaluate(shown) == "none"
    flag.focus()
    assert "in an earlier split as well" in flag.evaluate(shown)


@pytest.mark.parametrize(("answer", "said"), [("resolve", "copied"), ("reject", "could not be copied")])
def test_a_command_that_cannot_be_copied_says_so(answer: str, said: str, open_page: Any) -> None:
    opened = open_page(GEMMA)
    clipboard = f"{{writeText: (text) => {{ window.written = text; return Promise.{answer}() }}}}"
    opened.page.evaluate(f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}})")
    opened.page.locator(".tabulator-row .open").first.click()
    opened.page.get_by_role("button", name="Copy").click()
    assert opened.page.locator("dialog [role=status]").inner_text().strip() == said
    assert opened.page.evaluate("window.written") == "harness run gemma-real -m gemma-3-270m"
    assert opened.said == []


# ── heat maps, colours, scripts ──────────────────────────────────────────────────────────────────────────


def test_a_heat_map_has_the_numbers_of_the_matrix_and_is_walked_by_arrow_keys(open_page: Any) -> None:
    matrix = pd.read_csv(LANGUAGES.parent / "matrix.csv")
    opened = open_page(LANGUAGES)
    opened.page.locator("#matrix-choice").get_by_label("row").select_option("minigemma-s hidden 64")
    found = opened.page.locator("#matrix td")
    title = found.nth(1).get_attribute("title")
    ((trained, tested),) = re.findall(r"trained in (\S+), tested in (\S+): ", title)
    (line,) = matrix[
        (matrix["model"] == "minigemma-s")
        & (matrix["representation"] == "hidden")
        & (matrix["train_language"] == trained.strip("*"))
        & (matrix["test_language"] == tested.strip("*"))
        & matrix["regime"].isin(["native", "zero_shot"])
    ].to_dict("records")
    assert found.nth(1).inner_text() == f"{line['macro_f1']:.3f}".removeprefix("0")
    found.first.focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.evaluate("document.activeElement.title") == title
    opened.page.keyboard.press("ArrowLeft")
    opened.page.keyboard.press("ArrowLeft")  # at the edge it stays
    assert opened.page.evaluate("document.activeElement.cellIndex") == 1


def test_each_heat_map_is_one_stop_of_the_tab_key(open_page: Any) -> None:
    opened = open_page(GEMMA.parent / "languages/leaderboard.html")
    for map_ in opened.page.locator("#matrix table").all():
        assert map_.locator('td[tabindex="0"]').count() == 1
        assert map_.locator('td[tabindex="0"]').inner_text()  # one with a value, though others are empty
        assert "" in map_.locator("td").all_inner_texts()


def test_colours_follow_the_system_and_the_button(open_page: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (open_page(GEMMA, color_scheme=scheme) for scheme in ("light", "dark"))
    colours = [opened.page.evaluate(paper) for opened in (light, dark)]
    assert colours[0] != colours[1]
    for opened, other in ((light, colours[1]), (dark, colours[0])):
        opened.page.get_by_role("button", name="Dark").click()
        assert opened.page.evaluate(paper) == other


def test_without_scripts_overview_rows_and_downloads_are_there(open_page: Any) -> None:
    opened = open_page(GEMMA, java_script_enabled=False)
    assert opened.page.locator("#overview").is_visible() and not opened.page.locator("#explorer").is_visible()
    rows = opened.page.locator("#tables tbody tr")
    assert rows.count() == 20 and "gemma-3-270m-scope" in rows.first.inner_text()
    assert opened.page.get_by_role("link", name="leaderboard.csv").is_visible()
    assert opened.page.locator("figure svg").count() > 3


# ── hostile names, large boards ──────────────────────────────────────────────────────────────────────────


HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    '=HYPERLINK("x","y")',
    "safe\u202egpj.exe\u2066",
    "\x1b[2J\x07red",
    "x" * 10_000,
)


@pytest.mark.parametrize("name", HOSTILE, ids=["markup", "formula", "right-to-left", "escape", "10 kB"])
def test_hostile_names_are_text(name: str, open_page: Any, tmp_path: Path) -> None:
    from test_leaderboard import Run

    run = Run(tmp_path / "run")
    fields = {"task": name, "model": name, "suite": name, "transform": name, "flags": (name,)}
    for number, (train, test) in enumerate((("en", "en"), ("en", name), (name, name))):
        for arm in ("hidden", name):
            languages = {"train_language": train, "test_language": test}
            run.put(arm, cell_id=f"{number}{arm == name}", width=64, **fields, **languages)
    texts = render(build([run]), about=About(text=name), stated=Stated(author=name))
    (tmp_path / "leaderboard.html").write_text(texts["leaderboard.html"], "utf-8")
    opened = open_page(tmp_path / "leaderboard.html")
    view(opened, "Task by task")
    opened.page.locator(".tabulator-row .open").first.click()
    assert opened.said == [] and len(opened.asked) == 1
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= LAPTOP[0]
    assert "\u202e" not in opened.page.content()
    assert opened.page.locator("img, script[src]").count() == 0


def test_a_table_of_5000_lines_draws_those_that_are_seen(
    large: Callable[[int], Path], open_page: Any
) -> None:
    path = large(5_000)
    assert path.stat().st_size < 8_000_000
    opened = open_page(path)
    assert 0 < opened.page.locator(".tabulator-row").count() < 100
    head(opened, "macro_f1").click()
    assert cells(opened, "macro_f1")[0].startswith(".000")
    opened.page.locator(".tabulator-tableholder").evaluate(
        "holder => { holder.scrollTop = holder.scrollHeight }"
    )
    opened.page.wait_for_timeout(200)
    assert opened.page.locator(".tabulator-row").count() < 100
    assert cells(opened, "macro_f1")[-1].startswith("1.000")


def test_tables_beside_a_page_are_read_from_the_disk(
    large: Callable[[int], Path], open_page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST", 100_000)
    monkeypatch.setattr(module, "PIECE", 1_000)
    path = large(3_500)
    pieces = sorted(path.parent.glob("leaderboard-rows-*.js"))
    assert len(pieces) == 4 and path.stat().st_size < 1_000_000
    opened = open_page(path)
    assert opened.said == [] and len(opened.asked) == 5
    assert "3,500 of 3,500 lines" in opened.page.locator("#selection").inner_text()
    head(opened, "macro_f1").click()
    assert cells(opened, "macro_f1")[0].startswith(".000")
    for name in ("Ablation", "All rows", "All rows", "Ablation", "All rows"):  # while nothing is waited for
        opened.page.locator("#views").get_by_role("button", name=name).click()
    opened.wait_until_drawn()
    assert "3,500 of 3,500 lines" in opened.page.locator("#selection").inner_text() and opened.said == []
    pieces[0].unlink()
    opened.page.reload()
    opened.page.locator("#selection", has_text="is missing").wait_for()
