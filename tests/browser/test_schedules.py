"""A schedule that a person has paused in the UI."""

from playwright.sync_api import expect

from tests.browser.person import Person
from tests.stack import deployment, wait_for


def test_a_schedule_paused_by_hand_stays_paused_when_bootstrap_runs(person: Person) -> None:
    person.open_deployment("export")
    switch = person.page.get_by_role("switch", name="toggle At 02:00 AM")
    expect(switch).to_be_checked()
    switch.click()
    try:
        expect(switch).not_to_be_checked()
        wait_for("paused schedule", lambda: _active(person) == [False])
        person.picture("schedule")
        result = person.stack.run("scripts/bootstrap.py")
        assert result.returncode == 0, person.stack.said[-1]
        person.page.reload()
        expect(switch).to_be_visible()
        expect(switch).not_to_be_checked()
        assert _active(person) == [False]
    finally:
        switch.click()
        expect(switch).to_be_checked()
    wait_for("schedule that goes on", lambda: _active(person) == [True])


def _active(person: Person) -> list[bool]:
    with person.stack.client() as client:
        return [each["active"] for each in deployment(client, "export/export")["schedules"]]
