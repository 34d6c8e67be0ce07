"""Where the data directory is and how it is made."""

import stat
from pathlib import Path

import pytest

from nexus.config.data_dir import create_data_dir, default_data_dir, home
from nexus.config.errors import ConfigError


@pytest.mark.parametrize(
    ("environ", "platform", "place"),
    [
        ({"HOME": "/h"}, "linux", "/h/.local/share/nexus"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/x"}, "linux", "/x/nexus"),
        ({"HOME": "/h", "XDG_DATA_HOME": "x"}, "linux", "/h/.local/share/nexus"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Application Support/nexus"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/x"}, "darwin", "/x/nexus"),
    ],
)
def test_the_default_follows_the_platform(environ, platform, place):
    assert default_data_dir(environ, platform) == Path(place)


def test_without_a_home_variable_the_system_is_asked():
    assert home({}) == Path.home()


def test_it_is_made_for_its_owner_only(tmp_path):
    create_data_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_one_that_exists_stays_as_it_is(tmp_path):
    tmp_path.chmod(0o750)
    create_data_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_what_can_not_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match=r"file: can't create the data directory: File exists \(see --data-dir"
    ):
        create_data_dir(tmp_path / "file")
