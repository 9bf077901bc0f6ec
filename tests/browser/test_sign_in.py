"""Signing in: a wrong password is refused, and the login opens the dashboard."""

import datetime as dt
import re

from playwright.sync_api import expect

from tests.browser.person import Person
from tests.stack import complete


def test_a_wrong_password_is_refused_with_a_message(visitor: Person) -> None:
    visitor.page.goto(visitor.stack.url)
    expect(visitor.page.get_by_role("button", name="Login")).to_be_visible()
    visitor.picture("login")
    visitor.type_login("admin:wrong")
    expect(visitor.page.get_by_text("Invalid credentials")).to_be_visible()
    expect(visitor.page).to_have_url(re.compile(r"/v2/login"))


def test_the_login_opens_a_dashboard_that_shows_runs(visitor: Person) -> None:
    with visitor.stack.client() as client:
        run = complete(client, "hello/hello")
    # The dashboard ends at the last full minute before it was opened.
    visitor.page.clock.set_system_time(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))
    visitor.sign_in()
    tab = visitor.page.get_by_role("tab", name="completed runs")
    expect(tab).to_have_text(re.compile(r"[1-9]"))
    tab.click()
    visitor.main.get_by_role("button", name=re.compile("^hello ")).click()
    expect(visitor.main.get_by_role("link", name=run["name"]).first).to_be_visible()
    visitor.picture("dashboard")
