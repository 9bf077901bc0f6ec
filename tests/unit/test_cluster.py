"""The folders of an embedded PostgreSQL are closed to others, and never somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.backends.embedded import cluster as clusters
from scripts.backends.embedded.backend import Embedded
from scripts.backends.embedded.layout import Layout
from server.errors import MistakeError
from server.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_link_in_place_of_the_folder_for_the_socket_is_refused_and_not_followed(
    tmp_path: Path,
) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    link = tmp_path / "socket"
    link.symlink_to(target)
    with pytest.raises(MistakeError, match="belongs to somebody else"):
        clusters.make_socket_folder(link, None)
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_file_in_place_of_the_folder_for_the_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "socket").touch()
    with pytest.raises(MistakeError, match="belongs to somebody else"):
        clusters.make_socket_folder(tmp_path / "socket", None)


def test_the_folder_for_the_socket_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "socket").mkdir(mode=0o777)
    clusters.make_socket_folder(tmp_path / "socket", None)
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o700


def test_removing_a_copy_leaves_the_data_of_its_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "SYSTEM_FOLDER", tmp_path / "system")
    copy = Embedded(Settings())
    copy.layout = Layout("own", tmp_path / "copy" / ".stack" / "own")
    copy.layout.base.parent.parent.mkdir()
    copy.layout.make()
    data = tmp_path / "system" / "own-0123456789ab"
    data.mkdir(parents=True)
    copy.layout.home.write_text(str(data))  # copied along
    copy.cluster = clusters.of(copy.layout)
    assert copy.down(volumes=True)
    assert data.is_dir()
    assert not copy.layout.base.exists()
