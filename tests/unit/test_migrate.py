"""Which revisions a database lacks is known without one, since Prefect ships them all."""

import re
from collections.abc import Iterator
from pathlib import Path

import prefect.server.database
import pytest
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

from server.database import migrate
from server.errors import MistakeError


@pytest.fixture(autouse=True)
def _postgresql(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Prefect pick the revisions of PostgreSQL, which it does once in a process."""
    for name in MODELS_DEPENDENCIES:
        monkeypatch.setitem(MODELS_DEPENDENCIES, name, None)
    url = "postgresql+asyncpg://prefect@nowhere/prefect"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
        yield


def shipped_revisions() -> set[str]:
    """Return the revisions that the files of Prefect's migrations for PostgreSQL name."""
    folder = Path(prefect.server.database.__path__[0]) / "_migrations/versions/postgresql"
    text = "\n".join(path.read_text() for path in folder.glob("*.py"))
    return set(re.findall(r"""(?m)^revision(?:: str)? = ["'](\w+)["']""", text))


def test_an_empty_database_lacks_every_revision() -> None:
    revisions = migrate.pending(None)
    assert len(revisions) > 100
    assert set(revisions) == shipped_revisions()


def test_the_oldest_revision_comes_first() -> None:
    revisions = migrate.pending(None)
    assert migrate.pending(revisions[0]) == revisions[1:]
    assert migrate.pending(revisions[-3]) == revisions[-2:]


def test_a_database_at_the_head_lacks_nothing() -> None:
    assert migrate.pending(migrate.pending(None)[-1]) == []


def test_a_database_that_is_newer_than_the_code_is_refused() -> None:
    head = migrate.pending(None)[-1]
    with pytest.raises(MistakeError) as error:
        migrate.pending("ffffffffffff")
    assert error.value.exit_code == 2
    assert str(error.value) == (
        "the database is newer than the code\n"
        f"  expected: a revision that Prefect {prefect.__version__} knows, at most {head}\n"
        "  found:    revision ffffffffffff\n"
        "  do:       run the newer version of the stack that this database was used with, or "
        "restore a backup that was made before its upgrade"
    )
