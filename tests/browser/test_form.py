"""The form of a custom run: what it offers, what it refuses, and the run that comes of it."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.person import Person
from tests.stack import wait_for

DESCRIPTIONS = (
    "Environment whose rows are exported.",
    "First day to export, inclusive. No lower limit when left empty.",
    "Minutes, at least 1, after which the export is given up. The time is checked between rows.",
    "Version of the dataset, or `latest` for the highest one.",
)


def test_env_is_a_choice_of_three(person: Person) -> None:
    person.open_form("export", "choice")
    person.page.get_by_role("button", name="Select env").click()
    expect(person.page.get_by_role("option")).to_have_text(["pre", "snd", "pro"])


@pytest.mark.parametrize("name", ["min_date (Optional)", "max_date (Optional)"])
def test_a_date_has_a_picker(person: Person, name: str) -> None:
    person.open_form("export", "dates")
    field = person.field(name)
    field.get_by_role("tab", name="date").click()
    field.get_by_role("button", name="Pick a date").click()
    picker = person.page.get_by_role("dialog")
    picker.get_by_label("Choose the Year").select_option("2026")
    picker.get_by_label("Choose the Month").select_option("Mar")
    person.picture("date-picker")
    picker.get_by_role("button", name="Tuesday, March 3rd, 2026").click()
    expect(field.get_by_role("button", name="March 3rd, 2026")).to_be_visible()


def test_defaults_are_filled_in_and_descriptions_shown(person: Person) -> None:
    person.open_form("export", "first-export")
    expect(person.page.get_by_role("button", name="Select env")).to_have_text("pre")
    expect(person.page.get_by_label("timeout_mins")).to_have_value("150")
    expect(person.page.get_by_label("version")).to_have_value("latest")
    for text in DESCRIPTIONS:
        expect(person.page.get_by_text(text)).to_be_visible()
    person.picture("form")


def test_a_model_of_pydantic_is_a_section_with_its_constraints(person: Person) -> None:
    person.open_form("export", "section")
    section = person.field("output (Optional)")
    expect(section.get_by_text("How the file looks.")).to_be_visible()
    expect(section.get_by_role("switch", name="Header")).to_be_checked()
    rows = section.get_by_role("spinbutton", name="Max Rows")
    expect(rows).to_have_value("100000")
    expect(rows).to_have_attribute("min", "1")
    expect(rows).to_have_attribute("max", "1000000")
    section.get_by_role("button", name="Select Delimiter").click()
    options = person.page.get_by_role("option")
    expect(options).to_have_text(["comma", "semicolon", "tab"])


def test_a_submitted_form_becomes_a_run_with_logs_and_an_artifact(person: Person) -> None:
    page, main = person.page, person.main
    person.open_form("export", "orders-since-march")
    page.get_by_role("button", name="Select env").click()
    page.get_by_role("option", name="pro").click()
    field = person.field("min_date (Optional)")
    field.get_by_role("tab", name="date").click()
    field.get_by_role("button", name="Pick a date").click()
    page.get_by_role("textbox", name="Date (yyyy-MM-dd)").fill("2026-03-03")
    expect(field.get_by_role("button", name="March 3rd, 2026")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Max Rows").fill("20")
    person.submit()

    page.get_by_role("link", name="orders-since-march").first.click()
    expect(main.get_by_text("Completed", exact=True).first).to_be_visible(timeout=180_000)
    runs = person.runs_by_hand("export/export")
    [run] = [run for run in runs if run["name"] == "orders-since-march"]
    given = run["parameters"]
    chosen = {"env": given["env"], "min_date": given["min_date"], **given["output"]}
    assert chosen.items() >= {"env": "pro", "min_date": "2026-03-03", "max_rows": 20}.items()
    # The page no longer asks for logs when a run has completed, and the last lines come late.
    wait_for("last line of the log", lambda: person.logged(run["id"], "Wrote /"))
    page.reload()
    log = page.get_by_role("log")
    for text in ("Read 332 rows of orders.csv", "max_rows=20", "Wrote /"):
        expect(log).to_contain_text(text)
    person.picture("run")

    expect(main.get_by_text("env:pro")).to_be_visible()

    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("tabpanel").get_by_role("link", name=re.compile("export")).click()
    expect(main).to_contain_text("20 rows in")
    expect(main.get_by_role("columnheader")).to_contain_text(["table", "env", "rows"])
    person.picture("artifact")


def test_a_value_beyond_its_limits_is_refused_where_it_was_typed(person: Person) -> None:
    before = len(person.runs_by_hand("export/export"))
    person.open_form("export", "too-few")
    rows = person.page.get_by_label("Max Rows")
    rows.fill("0")
    person.submit()
    expect(rows).to_be_focused()
    message = rows.evaluate("field => field.validationMessage")
    assert message == "Value must be greater than or equal to 1."
    assert len(person.runs_by_hand("export/export")) == before


def test_a_value_of_the_wrong_type_is_refused_with_a_message(person: Person) -> None:
    before = len(person.runs_by_hand("export/export"))
    person.open_form("export", "wrong-type")
    minutes = person.page.get_by_label("timeout_mins")
    minutes.clear()
    minutes.press_sequentially("soon")
    expect(minutes).to_have_value("")
    minutes.fill("1.5")
    person.submit()
    person.expect_refusal("1.5 is not of type 'integer'")
    person.picture("refused")
    assert len(person.runs_by_hand("export/export")) == before


def test_a_value_that_is_missing_is_asked_for(person: Person) -> None:
    before = len(person.runs_by_hand("export/bare"))
    person.open_form("bare", "no-env")
    person.submit()
    person.expect_refusal("'env' is a required property")
    assert len(person.runs_by_hand("export/bare")) == before
