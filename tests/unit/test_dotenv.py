"""`.env` is read as Docker Compose reads it, and what would be read differently is refused."""

from pathlib import Path

import pytest

from server.errors import MistakeError
from server.settings import dotenv
from tests.unit import compose_config

HIDDEN = "hunter2"

# What follows the name in the file, and the value that is read.
VALUES = {
    "a word": ("=word", "word"),
    "nothing": ("=", ""),
    "spaces only": ("=   ", ""),
    "spaces around": (" =  word  ", "word"),
    "spaces inside": ("=two words", "two words"),
    "an equals sign": ("=a=b=", "a=b="),
    "punctuation": ("=p@:/%w!;`{}()&|<>?*~", "p@:/%w!;`{}()&|<>?*~"),
    "other scripts": ("=pässwörd🔑", "pässwörd🔑"),
    "a carriage return at the end": ("=word\r", "word"),
    "quotes inside": ('=it\'s a "word"', 'it\'s a "word"'),
    "two dollars": ("=a$$b", "a$b"),
    "a comment": ("=word # comment", "word"),
    "a comment with quotes": ('=word # it\'s "quoted"', "word"),
    "backslashes": (r"=a\b\n\\c\t", r"a\b\n\\c\t"),
    "a backslash at the end": ("=word\\", "word\\"),
    "a line separator": ("=a\u2028b", "a\u2028b"),
    "single quotes": ("='two words'", "two words"),
    "nothing in single quotes": ("=''", ""),
    "single quotes and a comment": ("='word' # comment", "word"),
    "single quotes and a comment at once": ("='word'# it's", "word"),
    "a hash in single quotes": ("='a # b#c'", "a # b#c"),
    "dollars in single quotes": ("='$a ${b} $$c'", "$a ${b} $$c"),
    "a quote in single quotes": (r"='it\'s'", "it's"),
    "double quotes in single quotes": ("='a \"b\"'", 'a "b"'),
    "backslashes in single quotes": (r"='a\b\n\\c'", r"a\b\n\\c"),
    "two backslashes at the end in single quotes": (r"='word\\'", r"word\\"),
    "two backslashes, the end, and a quote in a comment": (r"='word\\' #'", r"word\\"),
    "spaces at the ends in single quotes": ("= ' word '", " word "),
    "everything nasty": ("='p@:/ #%$\\'\" w'", "p@:/ #%$'\" w"),
    "double quotes": ('="two words"', "two words"),
    "nothing in double quotes": ('=""', ""),
    "double quotes and a comment": ('="word" # comment "', "word"),
    "a hash in double quotes": ('="a # b#c"', "a # b#c"),
    "a quote in double quotes": (r'="a \"b\""', 'a "b"'),
    "single quotes in double quotes": ('="it\'s"', "it's"),
    "two dollars in double quotes": ('="a$$b"', "a$b"),
    "an escaped dollar in double quotes": (r'="a\$b"', "a$b"),
    "a backslash in double quotes": (r'="a\\nb"', r"a\nb"),
    "a backslash at the end in double quotes": (r'="word\\"', "word\\"),
    "a tab by its escape": (r'="a\tb"', "a\tb"),
    "a new line by its escape": (r'="a\nb\r"', "a\nb\r"),
}

# A line that is refused, and a part of the message.
REFUSED = {
    "a bare dollar": (f"NAME={HIDDEN}$", "a $ that Docker Compose would expand"),
    "a variable": (f"NAME=${{HOME}}{HIDDEN}", "a $ that Docker Compose would expand"),
    "three dollars": (f"NAME={HIDDEN}$$$x", "a $ that Docker Compose would expand"),
    "a dollar after a backslash": (rf"NAME={HIDDEN}\$x", "a $ that Docker Compose would expand"),
    "a dollar in double quotes": (f'NAME="{HIDDEN}$x"', "a $ that Docker Compose would expand"),
    "a bare hash": (f"NAME={HIDDEN}#x", "a # in it"),
    "a hash at the start": (f"NAME=#{HIDDEN}", "a # in it"),
    "a comment in place of a value": (f"NAME= # {HIDDEN}", "a # in it"),
    "a hash after a tab": (f"NAME={HIDDEN}\t#x", "a # in it"),
    "an escape of another kind": (rf'NAME="{HIDDEN}\q"', "an escape that Docker Compose reads"),
    "a quote that is not closed": (f"NAME='{HIDDEN}", "is not a setting"),
    "a quote after a space that is not closed": (f"NAME= '{HIDDEN}", "is not a setting"),
    "a quote that a backslash keeps open": (rf"NAME='{HIDDEN}\'", "is not a setting"),
    "a word after a quote": (f"NAME='a' {HIDDEN}", "is not a setting"),
    "a quote after a quote": (f"NAME='a'\"{HIDDEN}\"", "is not a setting"),
    "no equals sign": (f"export {HIDDEN}", "is not a setting"),
    "a colon": (f"NAME: {HIDDEN}", "is not a setting"),
    "a name with a dash": (f"MY-NAME={HIDDEN}", "is not a setting"),
    "a name that starts with a digit": (f"1NAME={HIDDEN}", "is not a setting"),
}


def read(folder: Path, text: str) -> dict[str, dotenv.Entry]:
    (folder / ".env").write_text(text, encoding="utf-8", newline="")
    return dotenv.read(folder / ".env")


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(MistakeError) as error:
        read(folder, text)
    return str(error.value)


class TestValues:
    @pytest.mark.parametrize(("text", "value"), VALUES.values(), ids=VALUES)
    def test_it_is_read_as_written(self, text: str, value: str, tmp_path: Path) -> None:
        assert read(tmp_path, f"NAME{text}\n") == {"NAME": dotenv.Entry(value, 1)}

    def test_compose_reads_the_same(self, tmp_path: Path) -> None:
        wanted = {f"V{number}": value for number, (_, value) in enumerate(VALUES.values())}
        texts = (f"V{number}{text}\n" for number, (text, _) in enumerate(VALUES.values()))
        lines = [f'      {name}: "<${{{name}-unset}}>"\n' for name in wanted]
        file = tmp_path / "compose.yaml"
        file.write_text(f"services:\n  a:\n    image: a\n    environment:\n{''.join(lines)}")
        (tmp_path / ".env").write_text("".join(texts), encoding="utf-8", newline="")

        environment = compose_config.config(tmp_path, file=file)["services"]["a"]["environment"]

        # Compose prints a file that it could read again, in which two dollars stand for one.
        plain = {name: value.replace("$$", "$")[1:-1] for name, value in environment.items()}
        assert plain == wanted


class TestLines:
    def test_comments_and_empty_lines_are_skipped(self, tmp_path: Path) -> None:
        assert read(tmp_path, "# A=1\n\n  # B=2\n\t\nC=3") == {"C": dotenv.Entry("3", 5)}

    def test_export_may_stand_before_the_name(self, tmp_path: Path) -> None:
        assert read(tmp_path, "export  A=1\n B=2\n") == {
            "A": dotenv.Entry("1", 1),
            "B": dotenv.Entry("2", 2),
        }

    def test_the_last_of_two_wins(self, tmp_path: Path) -> None:
        assert read(tmp_path, "A=1\nA=2\n") == {"A": dotenv.Entry("2", 2)}

    def test_a_file_from_windows_is_read(self, tmp_path: Path) -> None:
        assert read(tmp_path, "A='1'\r\n\r\nB=2\r\n") == {
            "A": dotenv.Entry("1", 1),
            "B": dotenv.Entry("2", 3),
        }

    def test_no_file_is_no_settings(self, tmp_path: Path) -> None:
        assert dotenv.read(tmp_path / ".env") == {}


class TestRefusals:
    @pytest.mark.parametrize(("line", "reason"), REFUSED.values(), ids=REFUSED)
    def test_it_names_the_line_and_does_not_show_it(
        self, line: str, reason: str, tmp_path: Path
    ) -> None:
        message = refusal(tmp_path, f"A=1\n# comment\n{line}\n")
        assert message.startswith(".env line 3")
        assert reason in message.splitlines()[0]
        assert HIDDEN not in message

    def test_a_bare_dollar_is_refused_with_the_way_to_write_it(self, tmp_path: Path) -> None:
        assert refusal(tmp_path, "STACK_PASSWORD=pa$word\n") == (
            ".env line 1: the value of STACK_PASSWORD has a $ that Docker Compose would expand\n"
            "  expected: a value with a $ in single quotes\n"
            "  found:    a bare $\n"
            "  do:       write STACK_PASSWORD='...' with single quotes"
        )

    def test_a_bare_hash_is_refused_with_the_way_to_write_it(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, "STACK_PASSWORD=pa#word\n")
        assert message.endswith("do:       write STACK_PASSWORD='...' with single quotes")

    def test_a_value_over_several_lines_is_refused_where_it_starts(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, f"A=1\nB='{HIDDEN}\nmore'\n")
        assert message.startswith(".env line 2 is not a setting\n")

    def test_a_file_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_bytes(b"A=\xff\n")
        with pytest.raises(MistakeError, match=r"^\.env cannot be read"):
            dotenv.read(tmp_path / ".env")

    def test_a_folder_of_that_name_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / ".env").mkdir()
        with pytest.raises(MistakeError, match=r"^\.env cannot be read"):
            dotenv.read(tmp_path / ".env")
