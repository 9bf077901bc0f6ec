"""Each secret is made once, is written whole, has one reader, and is never overwritten."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from server import secrets
from server.errors import MistakeError
from server.settings import Settings

FILES = ["database/password", "encryption/key", "api/password"]
# The secrets that open existing data, and the setting that restores each of them.
KEPT = {"database/password": "POSTGRES_PASSWORD", "encryption/key": "ENCRYPTION_KEY"}
FIRST, SECOND = "the first password", "the second password"
KEY = Fernet.generate_key().decode()
OTHER_KEY = Fernet.generate_key().decode()


def settings(**values: str) -> Settings:
    return Settings.model_validate(values)


def contents(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Return text, inode and mode of each file below `folder`: any change shows in them."""
    return {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_ino, path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextmanager
def full_disk() -> Iterator[None]:
    """Let nothing be written, by a limit on the size of this process's files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestFirstStart:
    def test_all_three_are_made_with_nothing_set(self, tmp_path: Path) -> None:
        assert secrets.ensure(Settings(), tmp_path) == FILES
        assert sorted(contents(tmp_path)) == sorted(FILES)

    def test_only_their_owner_reads_them_and_nobody_writes_them(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        modes = {name: oct((tmp_path / name).stat().st_mode & 0o7777) for name in FILES}
        assert modes == dict.fromkeys(FILES, "0o400")

    def test_only_their_owner_enters_their_folders(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        modes = {oct(path.stat().st_mode & 0o7777) for path in tmp_path.iterdir()}
        assert modes == {"0o700"}

    def test_no_two_secrets_are_alike(self, tmp_path: Path) -> None:
        for stack in ("one", "two"):
            secrets.ensure(Settings(), tmp_path / stack)
        texts = [text for text, *_ in contents(tmp_path).values()]
        assert len(set(texts)) == 6
        assert min(len(text) for text in texts) >= 32

    def test_the_encryption_key_is_one_that_fernet_takes(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        fernet = Fernet(secrets.encryption_key(tmp_path))
        assert fernet.decrypt(fernet.encrypt(b"block")) == b"block"

    def test_values_that_are_set_are_taken(self, tmp_path: Path) -> None:
        nasty = "p@:/ #%$'\" w"
        secrets.ensure(settings(postgres_password=nasty, encryption_key=KEY), tmp_path)
        assert secrets.database_password(tmp_path) == nasty
        assert secrets.encryption_key(tmp_path) == KEY


class TestLaterStart:
    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        before = contents(tmp_path)
        assert secrets.ensure(Settings(), tmp_path) == []
        assert contents(tmp_path) == before

    def test_what_is_missing_is_made(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        before = contents(tmp_path)
        (tmp_path / "api/password").unlink()
        assert secrets.ensure(Settings(), tmp_path) == ["api/password"]
        after = contents(tmp_path)
        assert {**after, "api/password": None} == {**before, "api/password": None}

    def test_the_values_of_the_first_start_may_stay_set(self, tmp_path: Path) -> None:
        same = settings(postgres_password=FIRST, encryption_key=KEY)
        secrets.ensure(same, tmp_path)
        assert secrets.ensure(same, tmp_path) == []

    @pytest.mark.parametrize(
        ("name", "first", "later"),
        [("postgres_password", FIRST, "hunter2-hunter2"), ("encryption_key", KEY, OTHER_KEY)],
        ids=["postgres_password", "encryption_key"],
    )
    def test_another_value_is_refused_and_nothing_changed(
        self, name: str, first: str, later: str, tmp_path: Path
    ) -> None:
        secrets.ensure(settings(**{name: first}), tmp_path)
        (tmp_path / "api/password").unlink()
        before = contents(tmp_path)
        with pytest.raises(MistakeError) as error:
            secrets.ensure(settings(**{name: later}), tmp_path)
        assert contents(tmp_path) == before
        assert str(error.value) == (
            f"{name.upper()} differs from the one that this stack was made with\n"
            "  expected: the first value, or none: the stack has kept it\n"
            "  found:    another value (neither is shown)\n"
            f"  do:       take {name.upper()} out of .env; or, to start anew and LOSE ALL DATA, "
            "scripts/stack down --volumes"
        )


class TestLogin:
    def test_a_generated_password_is_used_without_a_set_one(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        generated = (tmp_path / "api/password").read_text()
        assert secrets.api_password(Settings(), tmp_path) == generated

    def test_a_set_password_wins_and_may_change(self, tmp_path: Path) -> None:
        for password in (FIRST, SECOND):
            chosen = settings(stack_password=password)
            secrets.ensure(chosen, tmp_path)
            assert secrets.api_password(chosen, tmp_path) == password

    def test_a_set_password_is_kept_for_containers_which_are_not_told_the_setting(
        self, tmp_path: Path
    ) -> None:
        for password in (FIRST, SECOND):
            secrets.ensure(settings(stack_password=password), tmp_path)
            assert secrets.api_password(Settings(), tmp_path) == password
            assert oct((tmp_path / "api/password").stat().st_mode) == "0o100400"

    def test_it_stays_when_it_is_set_no_longer(self, tmp_path: Path) -> None:
        secrets.ensure(settings(stack_password=FIRST), tmp_path)
        assert secrets.ensure(Settings(), tmp_path, data_exist=True) == []
        assert secrets.api_password(Settings(), tmp_path) == FIRST


class TestLength:
    @pytest.mark.parametrize("name", ["stack_password", "postgres_password"])
    def test_a_short_password_is_refused_for_a_new_stack_and_nothing_made(
        self, name: str, tmp_path: Path
    ) -> None:
        with pytest.raises(MistakeError) as error:
            secrets.ensure(settings(**{name: "hunter2-hun"}), tmp_path)
        assert str(error.value) == (
            f"{name.upper()} is too short for a new stack\n"
            "  expected: at least 12 characters\n"
            "  found:    11\n"
            f"  do:       choose a longer one, or leave {name.upper()} empty: then one is generated"
        )
        assert list(tmp_path.iterdir()) == []
        secrets.ensure(settings(**{name: "hunter2-hunt"}), tmp_path)

    def test_one_that_was_made_with_it_goes_on(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        secrets.ensure(settings(stack_password="a"), tmp_path, data_exist=True)
        assert secrets.api_password(Settings(), tmp_path) == "a"

    def test_a_password_that_is_not_asked_for_may_have_any_length(self, tmp_path: Path) -> None:
        secrets.ensure(settings(stack_password="a", stack_auth="off"), tmp_path)


DAMAGE = {"emptied": b"", "blank": b" \n", "no text": b"\xff\xfe\x00", "two lines": b"a\nb"}


class TestDamage:
    """A secret that is damaged or gone is refused by name, with what to do, and not replaced."""

    @pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
    @pytest.mark.parametrize("name", FILES)
    def test_a_damaged_secret_is_refused(self, name: str, content: bytes, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        path = overwrite(tmp_path / name, content)
        with pytest.raises(MistakeError) as error:
            secrets.ensure(Settings(), tmp_path, data_exist=True)
        message = str(error.value)
        assert message.startswith(f"the secret {name} ")
        assert str(path) in message
        assert KEPT.get(name, "set STACK_PASSWORD") in message
        assert path.read_bytes() == content
        with pytest.raises(MistakeError, match=name):
            secrets.read(path)

    @pytest.mark.parametrize(
        "key", [KEY[:-1], KEY + "\n", "A" * 44, f" {KEY}"], ids=["short", "line", "A", "space"]
    )
    def test_an_encryption_key_that_is_none_is_refused(self, key: str, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        overwrite(tmp_path / "encryption/key", key.encode())
        with pytest.raises(MistakeError, match="encryption/key of this stack is lost"):
            secrets.ensure(Settings(), tmp_path)

    @pytest.mark.parametrize("name", KEPT)
    def test_one_that_was_removed_is_not_made_anew_over_data(
        self, name: str, tmp_path: Path
    ) -> None:
        secrets.ensure(Settings(), tmp_path)
        (tmp_path / name).unlink()
        before = contents(tmp_path)
        with pytest.raises(MistakeError) as error:
            secrets.ensure(Settings(), tmp_path, data_exist=True)
        assert f"the secret {name} of this stack is lost" in str(error.value)
        assert f"no such file, {tmp_path / name}" in str(error.value)
        assert f"into .env as {KEPT[name]}; or" in str(error.value)
        assert contents(tmp_path) == before

    @pytest.mark.parametrize("damage", ["removed", *DAMAGE])
    def test_one_that_is_restored_by_a_setting_is_taken(self, damage: str, tmp_path: Path) -> None:
        backup = settings(encryption_key=KEY, postgres_password=FIRST)
        secrets.ensure(backup, tmp_path)
        before = {name: (tmp_path / name).read_text() for name in KEPT}
        for name in KEPT:
            if damage == "removed":
                (tmp_path / name).unlink()
            else:
                overwrite(tmp_path / name, DAMAGE[damage])
        secrets.ensure(backup, tmp_path, data_exist=True)
        assert {name: secrets.read(tmp_path / name) for name in KEPT} == before

    def test_the_password_of_the_login_is_made_anew_when_it_was_removed(
        self, tmp_path: Path
    ) -> None:
        secrets.ensure(Settings(), tmp_path)
        (tmp_path / "api/password").unlink()
        assert secrets.ensure(Settings(), tmp_path, data_exist=True) == ["api/password"]
        assert len(secrets.api_password(Settings(), tmp_path)) >= 32

    def test_a_damaged_password_of_the_login_is_mended_by_the_setting(self, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        overwrite(tmp_path / "api/password", b"")
        secrets.ensure(settings(stack_password=FIRST), tmp_path, data_exist=True)
        assert secrets.api_password(Settings(), tmp_path) == FIRST

    @pytest.mark.parametrize("name", FILES)
    def test_one_that_others_could_read_is_closed_to_them(self, name: str, tmp_path: Path) -> None:
        secrets.ensure(Settings(), tmp_path)
        (tmp_path / name).chmod(0o644)
        assert secrets.ensure(Settings(), tmp_path, data_exist=True) == []
        assert oct((tmp_path / name).stat().st_mode) == "0o100400"

    def test_one_of_somebody_else_that_is_open_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets.ensure(Settings(), tmp_path)
        (tmp_path / "database/password").chmod(0o644)
        monkeypatch.setattr(Path, "chmod", _not_permitted)  # what the kernel says to no owner
        with pytest.raises(MistakeError) as error:
            secrets.ensure(Settings(), tmp_path)
        assert "the secret database/password is open to others" in str(error.value)
        assert f"chmod 400 {tmp_path}/database/password" in str(error.value)

    def test_one_that_cannot_be_read_is_not_taken_for_a_damaged_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets.ensure(Settings(), tmp_path)
        before = contents(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_text", _not_permitted)  # root could read it
            with pytest.raises(MistakeError, match="password cannot be read"):
                secrets.ensure(settings(postgres_password=FIRST), tmp_path)
        assert contents(tmp_path) == before


def _not_permitted(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def overwrite(path: Path, content: bytes) -> Path:
    """Put `content` into an existing file; return its path."""
    path.chmod(0o600)
    path.write_bytes(content)
    return path


class TestFaults:
    def test_a_folder_that_cannot_be_made_is_one_message(self, tmp_path: Path) -> None:
        folder = tmp_path / "file/secrets"
        folder.parent.write_text("")
        with pytest.raises(MistakeError) as error:
            secrets.ensure(Settings(), folder)
        assert error.value.exit_code == 2
        lines = str(error.value).splitlines()
        assert lines[0] == f"the folder for secrets, {folder}/database, cannot be written"
        assert lines[3] == "  do:       correct its owner or its mode, then start the stack again"

    def test_a_secret_that_cannot_be_written_whole_is_not_there(self, tmp_path: Path) -> None:
        with full_disk(), pytest.raises(MistakeError, match="cannot be written"):
            secrets.ensure(Settings(), tmp_path)
        assert set(contents(tmp_path)).isdisjoint(FILES)
        assert secrets.ensure(Settings(), tmp_path) == FILES
        assert sorted(contents(tmp_path)) == sorted(FILES)

    def test_a_start_that_was_killed_while_writing_leaves_nothing_to_mend(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "database").mkdir()
        (tmp_path / "database/password.new").write_text("half")
        (tmp_path / "database/password.new").chmod(0o400)
        assert secrets.ensure(Settings(), tmp_path) == FILES
        assert secrets.database_password(tmp_path) != "half"
        assert sorted(contents(tmp_path)) == sorted(FILES)

    @pytest.mark.parametrize("read", [secrets.database_password, secrets.encryption_key])
    def test_a_secret_that_is_not_there_is_one_message(
        self, read: Callable[[Path], str], tmp_path: Path
    ) -> None:
        with pytest.raises(MistakeError, match=r"^the secret .+ cannot be read"):
            read(tmp_path)
