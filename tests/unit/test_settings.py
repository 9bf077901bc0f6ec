"""Settings come from the environment and `.env`; an error names the place that is wrong."""

import re
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from server import settings
from server.errors import MistakeError
from server.settings import FILE_ONLY, ROOT, Settings, dotenv
from server.settings.placeholders import DECLARATIONS

EXAMPLE = ROOT / ".env.example"
HIDDEN = "hunter2"
SECRETS = ["STACK_PASSWORD", "POSTGRES_PASSWORD", "ENCRYPTION_KEY", "SLACK_WEBHOOK_URL"]
DEFAULTS = {
    name.upper(): "" if field.default is None else str(field.default)
    for name, field in Settings.model_fields.items()
}

USER = "a name of ASCII characters, without a colon or a space"
ASCII = "one line of ASCII characters: HTTP's login takes no others"

# A setting, a value that is refused, and what the message expects.
BAD = {
    "a stack's name with a space": (
        "STACK_NAME",
        "my stack",
        "lower-case letters, digits, - and _, at most 41",
    ),
    "a stack's name in capitals": (
        "STACK_NAME",
        "Mine",
        "lower-case letters, digits, - and _, at most 41",
    ),
    "a stack's name that is too long": (
        "STACK_NAME",
        "a" * 42,
        "lower-case letters, digits, - and _, at most 41",
    ),
    "a project with a quote in its path": (
        "STACK_PROJECT",
        'my"flows',
        r"a folder whose path has no quote, $, #, \ or ~user in it",
    ),
    "a project of another user's home": (
        "STACK_PROJECT",
        "~ada/flows",
        r"a folder whose path has no quote, $, #, \ or ~user in it",
    ),
    "a port in letters": ("STACK_PORT", "42OO", "a port number from 1 to 65535"),
    "port 0": ("STACK_PORT", "0", "a port number from 1 to 65535"),
    "a port that is too high": ("STACK_PORT", "65536", "a port number from 1 to 65535"),
    "a host name to bind to": (
        "STACK_BIND",
        "localhost",
        "an IP address of this machine, such as 127.0.0.1",
    ),
    "auth that is neither on nor off": ("STACK_AUTH", "yes", "on or off"),
    "a user with a space": ("STACK_USER", "ad min", USER),
    "a user that is not ASCII": ("STACK_USER", "ädmin", USER),
    "no concurrency": ("WORKER_CONCURRENCY", "0", "a whole number, 1 or more"),
}
BAD_SECRETS = {
    "an encryption key that is too short": (
        "ENCRYPTION_KEY",
        f"{HIDDEN}A",
        "a Fernet key: 32 bytes in URL-safe base64",
    ),
    "an encryption key that is no base64": (
        "ENCRYPTION_KEY",
        HIDDEN,
        "a Fernet key: 32 bytes in URL-safe base64",
    ),
    "an encryption key without its padding": (
        "ENCRYPTION_KEY",
        f"{HIDDEN:A<43}",
        "a Fernet key: 32 bytes in URL-safe base64",
    ),
    "a webhook without TLS": (
        "SLACK_WEBHOOK_URL",
        f"http://hooks.example/{HIDDEN}",
        "an address that starts with https://",
    ),
    "a tab in the login's password": (
        "STACK_PASSWORD",
        f"{HIDDEN}\tx",
        ASCII,
    ),
    "a login's password that is not ASCII": ("STACK_PASSWORD", f"{HIDDEN}ä", ASCII),
    "a delete character in the login's password": ("STACK_PASSWORD", f"{HIDDEN}\x7f", ASCII),
    "an encryption key with something between": (
        "ENCRYPTION_KEY",
        f"{HIDDEN:A<20} {'A' * 23}=",
        "a Fernet key: 32 bytes in URL-safe base64",
    ),
    "a tab in the database's password": (
        "POSTGRES_PASSWORD",
        f"{HIDDEN}\tx",
        "one line without control characters",
    ),
}


def load(folder: Path, text: str = "") -> Settings:
    (folder / ".env").write_text(text)
    return settings.load(folder / ".env")


def mistake(folder: Path, text: str = "") -> str:
    """Return the message that `text` is refused with; neither it nor its traceback has a secret."""
    with pytest.raises(MistakeError) as error:
        load(folder, text)
    assert error.value.exit_code == 2
    assert HIDDEN not in "".join(traceback.format_exception(error.value))
    return str(error.value)


class TestSources:
    def test_nothing_has_to_be_set(self, tmp_path: Path) -> None:
        assert settings.load(tmp_path / ".env") == Settings()

    def test_the_file_is_read(self, tmp_path: Path) -> None:
        assert load(tmp_path, "STACK_PORT=4300\n").stack_port == 4300

    def test_the_environment_wins_over_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STACK_PORT", "4400")
        loaded = load(tmp_path, "STACK_PORT=4300\nSTACK_NAME=mine\n")
        assert (loaded.stack_port, loaded.stack_name) == (4400, "mine")

    def test_empty_counts_as_unset(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORKER_CONCURRENCY", "")
        assert load(tmp_path, "".join(f"{name}=\n" for name in Settings.names())) == Settings()

    def test_an_empty_variable_hides_the_line_of_the_file_as_in_compose(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STACK_PORT", "")
        assert load(tmp_path, "STACK_PORT=4300\n").stack_port == Settings().stack_port

    @pytest.mark.parametrize("name", ["COMPOSE_PROFILES", "DOCKER_HOST", "BUILDKIT_PROGRESS"])
    def test_what_is_meant_for_docker_is_let_through(self, name: str, tmp_path: Path) -> None:
        assert load(tmp_path, f"{name}=x\n") == Settings()

    def test_a_project_name_of_compose_is_refused_for_the_name_of_the_stack(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(MistakeError, match="expected: STACK_NAME"):
            load(tmp_path, "COMPOSE_PROJECT_NAME=x\n")

    def test_the_secrets_of_a_printed_stack_are_stars(self, tmp_path: Path) -> None:
        webhook = f"https://hooks.example/{HIDDEN}"
        values = [HIDDEN, HIDDEN, f"{HIDDEN:A<43}=", webhook]
        lines = [f"{name}={value}\n" for name, value in zip(SECRETS, values, strict=True)]
        loaded = load(tmp_path, "".join(lines))
        assert loaded.slack_webhook_url == SecretStr(webhook)
        assert HIDDEN not in repr(loaded)


class TestMistakes:
    @pytest.mark.parametrize(("name", "value", "expected"), BAD.values(), ids=BAD)
    def test_one_in_the_file_is_named_with_its_line(
        self, name: str, value: str, expected: str, tmp_path: Path
    ) -> None:
        assert mistake(tmp_path, f"# mine\n\n{name}={value}\n") == (
            f"{name} in .env line 3 is not valid\n"
            f"  expected: {expected}\n"
            f"  found:    {value!r}\n"
            f"  do:       correct {name} (see .env.example)"
        )

    @pytest.mark.parametrize(("name", "value", "expected"), BAD.values(), ids=BAD)
    def test_one_in_the_environment_is_named_as_such(
        self,
        name: str,
        value: str,
        expected: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(name, value)
        message = mistake(tmp_path, f"{name}=\n")
        assert message.startswith(f"{name} in the environment is not valid\n")
        assert f"  expected: {expected}\n  found:    {value!r}\n" in message

    @pytest.mark.parametrize(("name", "value", "expected"), BAD_SECRETS.values(), ids=BAD_SECRETS)
    def test_one_in_a_secret_does_not_show_it(
        self, name: str, value: str, expected: str, tmp_path: Path
    ) -> None:
        assert mistake(tmp_path, f"\n\n{name}='{value}'\n") == (
            f"{name} in .env line 3 is not valid\n"
            f"  expected: {expected}\n"
            f"  found:    a value that is not shown\n"
            f"  do:       correct {name} (see .env.example)"
        )

    def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(self, tmp_path: Path) -> None:
        assert mistake(tmp_path, f"\nSTACK_PASSWROD={HIDDEN}\n") == (
            ".env line 2: STACK_PASSWROD is not a setting of this stack\n"
            "  expected: STACK_PASSWORD\n"
            "  found:    STACK_PASSWROD\n"
            "  do:       rename or remove STACK_PASSWROD"
        )

    def test_a_name_like_no_other_is_refused_with_where_the_names_are(self, tmp_path: Path) -> None:
        assert (
            "expected: a name of .env.example, or one that stack.yaml or prefect.yaml asks for"
            in mistake(tmp_path, "XYZ=1\n")
        )

    def test_a_name_in_small_letters_is_refused(self, tmp_path: Path) -> None:
        assert "expected: STACK_PORT" in mistake(tmp_path, "stack_port=4300\n")

    def test_a_password_that_was_written_behind_the_user_is_not_shown(self, tmp_path: Path) -> None:
        message = mistake(tmp_path, f"STACK_USER=admin:{HIDDEN}\n")
        assert f"  expected: {USER}\n  found:    'admin:...'\n" in message

    def test_what_compose_has_read_from_the_file_is_named_with_its_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STACK_PORT", "many")
        message = mistake(tmp_path, "\nSTACK_PORT=many\n")
        assert message.startswith("STACK_PORT in .env line 2 is not valid\n")


def test_an_image_may_be_held_to_its_content(tmp_path: Path) -> None:
    image = f"docker.io/library/python:3.13-slim-trixie@sha256:{'0' * 64}"
    assert load(tmp_path, f"PYTHON_IMAGE={image}\n").python_image == image


class TestOpenStacks:
    @pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104
    def test_without_a_login_only_loopback_is_bound(self, bind: str, tmp_path: Path) -> None:
        assert mistake(tmp_path, f"STACK_BIND={bind}\nSTACK_AUTH=off\n") == (
            "STACK_AUTH in .env line 2 does not go with STACK_BIND\n"
            "  expected: STACK_AUTH=on, or a loopback address in STACK_BIND: "
            f"without a login, {bind} would let in whoever can reach it\n"
            "  found:    off\n"
            "  do:       correct STACK_AUTH or STACK_BIND (see .env.example)"
        )

    def test_the_place_of_the_login_that_is_off_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STACK_AUTH", "off")
        message = mistake(tmp_path, "STACK_BIND=0.0.0.0\n")
        assert message.startswith("STACK_AUTH in the environment does not go with STACK_BIND")

    @pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.2", "::1"])
    def test_on_loopback_the_login_can_be_off(self, bind: str, tmp_path: Path) -> None:
        assert not load(tmp_path, f"STACK_BIND={bind}\nSTACK_AUTH=off\n").auth

    def test_the_login_is_on_unless_told_otherwise(self) -> None:
        assert Settings().auth


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:4300"),
        ("192.0.2.7", "http://192.0.2.7:4300"),
        ("0.0.0.0", "http://127.0.0.1:4300"),  # noqa: S104
        ("::1", "http://[::1]:4300"),
        ("::", "http://[::1]:4300"),
    ],
)
def test_the_url_is_one_that_a_browser_on_this_machine_can_open(
    bind: str, url: str, tmp_path: Path
) -> None:
    assert load(tmp_path, f"STACK_BIND={bind}\nSTACK_PORT=4300\n").url == url


class TestAgreement:
    """Every setting and its default stand in `Settings`, `.env.example` and compose.yaml alike."""

    def test_the_example_holds_every_setting_and_its_default(self) -> None:
        entries = {name: entry.value for name, entry in dotenv.read(EXAMPLE).items()}
        assert entries == {name: it for name, it in DEFAULTS.items() if name not in FILE_ONLY}

    def test_the_example_sets_none_that_prefect_itself_reads_from_a_file(self) -> None:
        offered = re.findall(r"(?m)^#([A-Z_]+)=$", EXAMPLE.read_text())
        assert set(offered) == FILE_ONLY

    def test_a_comment_stands_before_every_setting_of_the_example(self) -> None:
        lines = EXAMPLE.read_text().splitlines()
        before = {name: lines[entry.line - 2] for name, entry in dotenv.read(EXAMPLE).items()}
        assert [name for name, line in before.items() if not re.match(r"# \w", line)] == []

    def test_the_example_as_it_is_changes_nothing(self) -> None:
        assert settings.load(EXAMPLE) == Settings()

    def test_compose_uses_every_setting_with_the_same_default(self) -> None:
        """Except the secrets that `init` reads from the file, so that no container shows them."""
        text = re.sub(r"(?m)^\s*#.*$", "", (ROOT / "compose.yaml").read_text())
        text, names = re.subn(r"\$\{([A-Z_]+):\+\1\}", "", text)  # which secrets are set
        assert names == len(settings.SECRETS - FILE_ONLY)
        used = re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text)
        assert len(used) == text.count("$"), "a variable without :- and a default"
        assert {name for name, _ in used} & settings.SECRETS == {"STACK_PASSWORD"}
        assert set(used) == {
            it
            for it in DEFAULTS.items()
            if it[0] == "STACK_PASSWORD" or it[0] not in FILE_ONLY | settings.SECRETS
        }


def test_a_name_that_a_declaration_refers_to_may_stand_in_env(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WAREHOUSE_TOKEN=x\n")
    for name in DECLARATIONS:
        (tmp_path / name).touch()
    with pytest.raises(MistakeError, match="WAREHOUSE_TOKEN is not a setting"):
        settings.load(tmp_path / ".env", tmp_path)
    (tmp_path / "stack.yaml").write_text("value: '{{ $WAREHOUSE_TOKEN }}'\n")
    settings.load(tmp_path / ".env", tmp_path)
