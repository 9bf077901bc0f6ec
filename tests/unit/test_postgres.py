"""PostgreSQL is tuned for the one server that uses it."""

import re

from prefect.settings.models.server.database import SQLAlchemySettings

from server.place import DOCKER
from server.services import postgres
from server.settings import ROOT, Settings
from tests.unit import compose_config

LINE = re.compile(r"(?m)^(\w+) = '?([^'#\n]*[^'#\s])'?(?:  # \w+)?$")
SETTINGS = dict(LINE.findall(postgres.CONFIGURATION.read_text()))
# The server keeps these besides its pool: one for its vacuum, one that listens for events.
SERVICES = 2
# PostgreSQL keeps 3 for superusers; 7 are for migrate, health checks, a backup and a person's psql.
RESERVE = 3 + 7


def test_every_line_that_is_no_comment_is_a_setting() -> None:
    lines = postgres.CONFIGURATION.read_text().splitlines()
    assert len(SETTINGS) == len([each for each in lines if each and not each.startswith("#")])


def test_the_server_at_full_load_leaves_connections_for_the_others() -> None:
    fields = SQLAlchemySettings.model_fields
    pool = fields["pool_size"].default + fields["max_overflow"].default
    assert pool + SERVICES + RESERVE <= int(SETTINGS["max_connections"])


def test_passwords_are_kept_as_scram() -> None:
    assert SETTINGS["password_encryption"] == "scram-sha-256"


def test_the_container_is_started_with_the_file_of_the_clone() -> None:
    [mount] = [
        each
        for each in compose_config.config(ROOT)["services"]["postgres"]["volumes"]
        if each["target"] == postgres.IN_CONTAINER
    ]
    assert (mount["type"], mount["read_only"]) == ("bind", True)
    assert mount["source"].endswith(str(postgres.CONFIGURATION.relative_to(ROOT)))
    argument = f"-cconfig_file={postgres.IN_CONTAINER}"
    assert argument in postgres.command(Settings(), DOCKER)
