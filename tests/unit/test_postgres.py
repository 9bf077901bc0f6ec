"""PostgreSQL is tuned for the one server that uses it."""

from prefect.settings.models.server.database import SQLAlchemySettings

from server.services import postgres

# The vacuum's and the one that listens for events.
SERVICES = 2
# 3 that PostgreSQL keeps for superusers; migrate, health checks, a backup, and a person with psql.
RESERVE = 3 + 7


def test_the_server_at_full_load_leaves_connections_for_the_others() -> None:
    fields = SQLAlchemySettings.model_fields
    pool = fields["pool_size"].default + fields["max_overflow"].default
    assert pool + SERVICES + RESERVE <= postgres.MAX_CONNECTIONS


def test_the_server_is_started_with_that_many_connections() -> None:
    assert f"-cmax_connections={postgres.MAX_CONNECTIONS}" in postgres.arguments()


def test_every_setting_is_an_argument_with_its_flag() -> None:
    given = [each.removeprefix("-c").split("=", 1) for each in postgres.arguments()]
    assert dict(given) == postgres.SETTINGS


def test_passwords_are_kept_as_scram() -> None:
    assert postgres.SETTINGS["password_encryption"] == "scram-sha-256"
