"""Chromium with a running stack of each backend, and what a failed test reports of its page."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests import claims
from tests import stack as stacks
from tests.browser.person import Person
from tests.browser.pictures import Pictures
from tests.docker import conftest as docker_tests

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext

    from tests.stack import Stack

MAKE = {"embedded": stacks.make, "docker": docker_tests.make}
TIMEOUT_MS = 60_000

# A deployment of export without an env, so that its form has to ask for one.
NO_ENV = """
  - name: bare
    entrypoint: flows/export.py:export
    work_pool:
      name: default
"""

base_images = docker_tests.base_images
expect.set_options(timeout=TIMEOUT_MS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-images`."""
    parser.addoption(
        "--update-images",
        action="store_true",
        help="keep the pictures of the tests with Docker in docs/images",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the page that the person saw to the report of a failed test."""
    report = yield
    people = [
        value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Person)
    ]
    if report.failed and call.when != "teardown":
        report.sections += [("page", person.report()) for person in people]
    return report


# The UI comes from the same server on both. The slow tier looks at it with Docker too, and takes
# the pictures.
@pytest.fixture(
    scope="package", params=["embedded", pytest.param("docker", marks=pytest.mark.slow)]
)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A running stack as it is shipped, with a nasty password and the deployment `bare`."""
    if request.param == "docker":
        request.getfixturevalue("base_images")
    stack = MAKE[request.param](tmp_path_factory, "browser")
    claims.write_env(stack)
    stack.edit("prefect.yaml", lambda text: text + NO_ENV)
    with stacks.stack(stack):
        stack.up()
        yield stack


# Not for the whole session: Playwright has an event loop in the main thread as long as it runs.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The Chromium of Debian, without a page."""
    path = shutil.which("chromium")
    if not path:
        pytest.skip("there is no command chromium: apt install chromium")
    arguments = ["--lang=en-US", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def open_context(chromium: Browser, stack: Stack) -> BrowserContext:
    """A new browser, without cookies or anything kept, which reaches nothing but the stack."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 800},
        device_scale_factor=1,
        reduced_motion="reduce",
        timezone_id="UTC",
        locale="en-US",
    )
    context.set_default_timeout(TIMEOUT_MS)
    # Everything that the UI needs has to come from the stack. It asks a host of Amplitude for
    # settings even where analytics are off.
    context.route(lambda url: not url.startswith(f"{stack.url}/"), lambda route: route.abort())
    return context


@pytest.fixture
def pictures(stack: Stack, request: pytest.FixtureRequest, tmp_path: Path) -> Pictures:
    """Where the pictures of the test go."""
    kept = request.config.getoption("--update-images") and stack.backend == "docker"
    return Pictures(tmp_path, keep=kept)


@pytest.fixture
def visitor(chromium: Browser, stack: Stack, pictures: Pictures) -> Iterator[Person]:
    """A person with a new browser who has not signed in."""
    context = open_context(chromium, stack)
    yield Person(context.new_page(), stack, pictures)
    context.close()


# To load and compile the UI takes seconds, which a browser does once for all of its pages.
@pytest.fixture(scope="package")
def signed_in(
    chromium: Browser, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    """A browser in which somebody has signed in."""
    context = open_context(chromium, stack)
    pictures = Pictures(tmp_path_factory.mktemp("sign-in"), keep=False)
    person = Person(context.new_page(), stack, pictures)
    person.sign_in()
    person.page.close()
    yield context
    context.close()


@pytest.fixture
def person(signed_in: BrowserContext, stack: Stack, pictures: Pictures) -> Iterator[Person]:
    """A person who has signed in, at the dashboard."""
    made = Person(signed_in.new_page(), stack, pictures)
    try:
        made.open_dashboard()
    except AssertionError as error:  # a fixture that fails is not among the arguments of its test
        error.add_note(made.report())
        raise
    yield made
    made.page.close()
