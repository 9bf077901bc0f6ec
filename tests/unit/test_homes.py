"""Whose data a folder holds after clones were copied, moved and renamed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts.backends.embedded import homes
from scripts.backends.embedded.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Takes the place of /var/lib/prefect-stack."""
    return tmp_path / "system"


def layout(clone: Path) -> Layout:
    """Return the layout of the stack `own` of a clone."""
    return Layout("own", clone / ".stack" / "own")


def start(clone: Path, system: Path, *, closed: bool = True) -> Path:
    """Prepare the data as `up` and PostgreSQL do; return the folder that they are in.

    Raises:
        MistakeError: the data are not surely those of this clone.
    """
    clone.mkdir(exist_ok=True)
    stack = layout(clone)
    stack.make()
    data = homes.find(stack, system, closed=closed)
    if data.refusal:
        raise data.refusal
    homes.claim(stack, data.path)
    (data.path / "postgres").mkdir(exist_ok=True)
    return data.path


def copy(source: Path, target: Path) -> Path:
    """Copy a clone as a person does, with modes and times."""
    subprocess.run(["cp", "-a", source, target], check=True)
    return target


def refusal(clone: Path, system: Path, *, closed: bool = True) -> str:
    """Return why the stack of a clone is refused its data; it may name no folder elsewhere then."""
    data = homes.find(layout(clone), system, closed=closed)
    assert data.path == layout(clone).base
    return str(data.refusal)


def test_a_stack_finds_its_data_again(tmp_path: Path, system: Path) -> None:
    data = start(tmp_path / "a", system)
    assert data.parent == system
    assert start(tmp_path / "a", system) == data


@pytest.mark.parametrize("closed", [True, False])
def test_a_clone_that_was_renamed_goes_on_with_its_data(
    tmp_path: Path,
    system: Path,
    closed: bool,  # noqa: FBT001
) -> None:
    data = start(tmp_path / "a", system, closed=closed)
    (data / "postgres" / "rows").touch()
    (tmp_path / "a").rename(tmp_path / "b")
    assert (start(tmp_path / "b", system, closed=closed) / "postgres" / "rows").exists()


def test_a_copy_is_refused_the_data_of_its_original(tmp_path: Path, system: Path) -> None:
    data = start(tmp_path / "a", system)
    copy(tmp_path / "a", tmp_path / "b")
    said = refusal(tmp_path / "b", system)
    assert "belong to another clone" in said
    assert str(tmp_path / "a") in said
    assert start(tmp_path / "a", system) == data


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_copy_of_a_clone_that_was_then_renamed_is_refused_too(
    tmp_path: Path, system: Path, name: str
) -> None:
    data = start(tmp_path / "a", system)
    (tmp_path / "a").rename(tmp_path / "b")
    copy(tmp_path / "b", tmp_path / name)
    assert "belong to another clone" in refusal(tmp_path / name, system)
    assert start(tmp_path / "b", system) == data


def test_a_copy_that_gave_up_what_it_copied_has_data_of_its_own(
    tmp_path: Path, system: Path
) -> None:
    data = start(tmp_path / "a", system)
    copy(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(layout(tmp_path / "b").base)  # as `down --volumes` does
    assert start(tmp_path / "b", system) != data
    assert start(tmp_path / "a", system) == data


def test_a_new_clone_where_a_renamed_one_was_has_data_of_its_own(
    tmp_path: Path, system: Path
) -> None:
    data = start(tmp_path / "a", system)
    (tmp_path / "a").rename(tmp_path / "b")
    assert start(tmp_path / "a", system) != data
    assert start(tmp_path / "b", system) == data


def test_data_that_were_given_up_go_to_the_clone_that_asks_for_them(
    tmp_path: Path, system: Path
) -> None:
    data = start(tmp_path / "a", system)
    copy(tmp_path / "a", tmp_path / "b")
    (data / homes.OWNER).write_text("")
    assert start(tmp_path / "b", system) == data
    assert "belong to another clone" in refusal(tmp_path / "a", system)


def test_an_owner_that_cannot_be_read_is_no_owner(tmp_path: Path, system: Path) -> None:
    data = start(tmp_path / "a", system)
    (data / homes.OWNER).write_text("{")
    assert "belong to another clone" in refusal(tmp_path / "a", system)


def test_data_that_are_gone_are_not_made_anew_in_silence(tmp_path: Path, system: Path) -> None:
    shutil.rmtree(start(tmp_path / "a", system))
    assert "are gone" in refusal(tmp_path / "a", system)


def test_data_of_an_older_release_belong_to_the_path_that_they_are_named_for(
    tmp_path: Path, system: Path
) -> None:
    clone = tmp_path / "a"
    clone.mkdir()
    stack = layout(clone)
    stack.make()
    old = system / f"own-{stack.key}"
    old.mkdir(parents=True)
    stack.home.write_text(str(old))
    copy(clone, tmp_path / "b")
    assert "belong to another clone" in refusal(tmp_path / "b", system)
    assert start(clone, system) == old


def test_an_absolute_path_into_the_clone_that_an_older_release_wrote_is_left_alone(
    tmp_path: Path, system: Path
) -> None:
    data = start(tmp_path / "a", system, closed=False)
    layout(tmp_path / "a").home.write_text(str(data))
    copy(tmp_path / "a", tmp_path / "b")
    assert start(tmp_path / "b", system, closed=False) == layout(tmp_path / "b").base


def test_data_in_the_clone_that_were_copied_while_in_use_are_refused(
    tmp_path: Path, system: Path
) -> None:
    data = start(tmp_path / "a", system, closed=False)
    (data / "postgres" / "postmaster.pid").write_text("1\n")
    copy(tmp_path / "a", tmp_path / "b")
    assert "may not fit together" in refusal(tmp_path / "b", system, closed=False)
    (layout(tmp_path / "b").base / "postgres" / "postmaster.pid").unlink()
    assert start(tmp_path / "b", system, closed=False) == layout(tmp_path / "b").base
    (tmp_path / "a").rename(tmp_path / "c")  # killed, and renamed: nothing was copied
    assert start(tmp_path / "c", system, closed=False) == layout(tmp_path / "c").base


def test_data_in_a_clone_that_is_now_closed_are_refused_with_the_way_back(
    tmp_path: Path, system: Path
) -> None:
    start(tmp_path / "a", system, closed=False)
    assert "move the clone back" in refusal(tmp_path / "a", system, closed=True)


def test_a_restart_writes_nothing_since_the_disk_may_be_full(tmp_path: Path, system: Path) -> None:
    data = start(tmp_path / "a", system)
    before = [path.stat() for path in (data / homes.OWNER, layout(tmp_path / "a").home)]
    start(tmp_path / "a", system)
    after = [path.stat() for path in (data / homes.OWNER, layout(tmp_path / "a").home)]
    assert [each.st_ino for each in after] == [each.st_ino for each in before]
