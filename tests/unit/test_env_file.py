"""In Docker, `init` reads `.env` and gives each container what it needs, and no more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from server.errors import MistakeError
from server.settings import declared_values, env_file, shell_secrets

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = "hunter2-hunter2"


@pytest.fixture
def becoming(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for giving up root, which this process could not take back; notes each call."""
    done: list[str] = []
    monkeypatch.setattr(env_file, "become_user", lambda: done.append("became the user"))
    return done


class TestTaking:
    def test_the_copy_is_for_the_user_of_the_stack_only(
        self, tmp_path: Path, becoming: list[str]
    ) -> None:
        (tmp_path / ".env").write_text("STACK_PORT=4300\n")
        for _ in range(2):  # `up` starts the same container again
            copy = env_file.take(tmp_path, tmp_path / "scratch")
            assert (copy.name, copy.read_text()) == (".env", "STACK_PORT=4300\n")
            assert oct(copy.stat().st_mode) == "0o100400"
        assert becoming == ["became the user"] * 2

    def test_a_project_without_one_is_fine_and_root_given_up_all_the_same(
        self, tmp_path: Path, becoming: list[str]
    ) -> None:
        assert not env_file.take(tmp_path, tmp_path / "scratch").exists()
        assert becoming == ["became the user"]

    def test_one_that_was_taken_away_leaves_no_copy(
        self, tmp_path: Path, becoming: list[str]
    ) -> None:
        (tmp_path / ".env").write_text("STACK_PORT=4300\n")
        env_file.take(tmp_path, tmp_path / "scratch")
        (tmp_path / ".env").unlink()
        assert not env_file.take(tmp_path, tmp_path / "scratch").exists()
        assert len(becoming) == 2

    @pytest.mark.usefixtures("becoming")
    def test_a_link_out_of_the_project_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / ".env").symlink_to("../elsewhere.env")
        with pytest.raises(MistakeError, match=r"a link to \.\./elsewhere\.env, outside"):
            env_file.take(tmp_path, tmp_path / "scratch")

    @pytest.mark.usefixtures("becoming")
    def test_a_folder_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / ".env").mkdir()
        with pytest.raises(MistakeError, match="cannot be read in Docker"):
            env_file.take(tmp_path, tmp_path / "scratch")


class TestValuesOfBootstrap:
    def test_it_is_given_what_declarations_refer_to_and_the_webhook(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(
            f"MY_TOKEN={HIDDEN}\nOTHER=x\nSLACK_WEBHOOK_URL=https://x\nSTACK_PASSWORD={HIDDEN}\n"
            f"POSTGRES_PASSWORD={HIDDEN}\nENCRYPTION_KEY={HIDDEN}\nPREFECT_API_KEY={HIDDEN}\n"
        )
        (tmp_path / "stack.yaml").write_text(
            "'{{ $MY_TOKEN }} {{ $STACK_PASSWORD }} {{ $POSTGRES_PASSWORD }} {{ $ABSENT }}'\n"
        )
        (tmp_path / "bootstrap").mkdir()
        for _ in range(2):
            declared_values.save(tmp_path / ".env", tmp_path, tmp_path)
        given = {"MY_TOKEN": HIDDEN, "SLACK_WEBHOOK_URL": "https://x"}
        assert declared_values.read(tmp_path) == given
        assert oct((tmp_path / declared_values.FILE).stat().st_mode) == "0o100400"

    def test_none_is_nothing(self, tmp_path: Path) -> None:
        assert declared_values.read(tmp_path) == {}


class TestSecretsOfTheShell:
    def test_none_is_fine(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(f"STACK_PASSWORD={HIDDEN}\n")
        shell_secrets.check(tmp_path / ".env")

    @pytest.mark.parametrize("line", ["", "STACK_PASSWORD=\n", "STACK_PASSWORD=another-one\n"])
    def test_one_that_the_file_does_not_hold_is_refused(
        self, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".env").write_text(line)
        monkeypatch.setenv("STACK_PASSWORD", HIDDEN)
        with pytest.raises(MistakeError) as error:
            shell_secrets.check(tmp_path / ".env")
        assert str(error.value) == (
            "STACK_PASSWORD in the environment does not reach a stack in Docker\n"
            "  expected: STACK_PASSWORD in .env: from the environment, `docker inspect` would show "
            "it\n"
            "  found:    a value that is not in .env (it is not shown)\n"
            "  do:       write STACK_PASSWORD into .env, and type: unset STACK_PASSWORD"
        )

    def test_the_same_as_in_the_file_is_fine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".env").write_text(f"STACK_PASSWORD={HIDDEN}\n")
        monkeypatch.setenv("STACK_PASSWORD", HIDDEN)
        shell_secrets.check(tmp_path / ".env")

    def test_in_a_container_the_names_are_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(shell_secrets.VARIABLE, " STACK_PASSWORD  ENCRYPTION_KEY ")
        (tmp_path / ".env").write_text(f"STACK_PASSWORD={HIDDEN}\nENCRYPTION_KEY={'A' * 43}=\n")
        shell_secrets.check(tmp_path / ".env")
        (tmp_path / ".env").write_text(f"STACK_PASSWORD={HIDDEN}\n")
        with pytest.raises(MistakeError, match="ENCRYPTION_KEY in the environment"):
            shell_secrets.check(tmp_path / ".env")

    def test_what_a_shell_was_told_of_a_stack_is_no_matter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{HIDDEN}")
        shell_secrets.check(tmp_path / ".env")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_root_is_given_up_for_good() -> None:
    child = os.fork()
    if child == 0:  # where nothing may be raised: pytest would go on here too
        try:
            env_file.become_user()
            own = os.getresuid() == os.getresgid() == (env_file.USER_ID,) * 3
            os._exit(0 if own and not os.getgroups() and not _can_return() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _can_return() -> bool:
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return False
    return True
