"""What a person does in the UI, named as the UI names it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Error, expect

from tests.stack import NASTY, deployment, has_logged, post

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.pictures import Pictures
    from tests.stack import Stack

LOGIN = f"admin:{NASTY}"
BLANK_MS = 30_000


@dataclass
class Person:
    """A person with a browser."""

    page: Page
    stack: Stack
    pictures: Pictures
    events: list[str] = field(default_factory=list)  # what went wrong in the page, for a report

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.events.append(f"error: {error}"))
        self.page.on("console", lambda message: self.events.append(f"console: {message.text}"))
        self.page.on(
            "requestfailed",
            lambda request: self.events.append(f"failed: {request.url} {request.failure}"),
        )

    @property
    def main(self) -> Locator:
        """The page without its menu."""
        return self.page.get_by_role("main")

    def type_login(self, login: str) -> None:
        """Open the stack's address and type `login` into the only field of the page."""
        box = self.page.get_by_role("textbox")
        self._open(box)
        expect(box).to_have_count(1)
        box.fill(login)
        box.press("Enter")

    def sign_in(self) -> None:
        """Sign in, which has to lead to the dashboard."""
        self.type_login(LOGIN)
        expect(self.main.get_by_text("Flow Runs", exact=True)).to_be_visible()

    def open_dashboard(self) -> None:
        """Open the stack's address in a browser in which somebody has signed in."""
        self._open(self.main.get_by_text("Flow Runs", exact=True))

    def _open(self, first: Locator) -> None:
        """Open the stack's address and wait for what the page shows first.

        On a machine that is short of CPU, Chromium has left a page blank, without an error in it or
        in the log of the server. A person loads it again; what was seen is in the test's output.
        """
        self.page.goto(self.stack.url)
        try:
            expect(first).to_be_visible(timeout=BLANK_MS)
        except AssertionError:
            print(self.report())  # noqa: T201 - pytest shows it if the test fails
            self.page.reload()
            expect(first).to_be_visible()

    def open_deployment(self, name: str) -> None:
        """Open a deployment from the menu."""
        self.page.get_by_role("link", name="Deployments").click()
        # The row of a deployment also links to its flow, which may have the same name.
        named = self.page.get_by_role("link", name=name, exact=True)
        named.and_(self.page.locator("[href*='/deployments/deployment/']")).click()
        expect(self.page.get_by_role("button", name="Run", exact=True)).to_be_visible()

    def open_form(self, name: str, run_name: str) -> None:
        """Open the form of a deployment's custom run."""
        self.open_deployment(name)
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.page.get_by_role("textbox", name="Run Name").fill(run_name)
        expect(self.page.get_by_label("timeout_mins")).to_be_visible()

    def field(self, name: str) -> Locator:
        """Return the part of the form with label, description and value of one parameter."""
        label = self.page.get_by_text(name, exact=True)
        values = self.page.locator(":scope > fieldset")
        return self.page.locator("div").filter(has=label).filter(has=values).last

    def submit(self) -> None:
        """Send the form."""
        self.page.get_by_role("button", name="Submit").click()

    def expect_refusal(self, why: str) -> None:
        """Expect the reason of a refusal below the field, and in the answer of the API."""
        expect(self.page.get_by_text(why, exact=True)).to_be_visible()
        expect(self.page.get_by_text(re.compile(f"^Error .*{re.escape(why)}$"))).to_be_visible()

    def picture(self, name: str) -> None:
        """Take a picture of the page for the documents."""
        self.pictures.take(self.page, name)

    def runs_by_hand(self, name: str) -> list[dict[str, Any]]:
        """Return the runs of a deployment that no schedule has made, as the API has them."""
        with self.stack.client() as client:
            body = {"deployments": {"id": {"any_": [deployment(client, name)["id"]]}}}
            runs = post(client, "/flow_runs/filter", body)
        return [run for run in runs if not run["auto_scheduled"]]

    def logged(self, run_id: str, text: str) -> bool:
        """Whether a run has logged `text`, according to the API."""
        with self.stack.client() as client:
            return has_logged(client, run_id, text)

    def report(self) -> str:
        """Return the path of a picture and the text of the page, for a test that failed."""
        path = self.pictures.folder / "failed.png"
        try:
            self.page.screenshot(path=path)
            seen = f"{path}\n{self.page.url}\n{self.page.locator('body').aria_snapshot()}"
            return "\n".join([seen, *self.events])
        except Error as error:
            return f"no page to be seen: {error}"
