"""What one installation keeps between runs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from geolabel.errors import AdapterError, ConfigError
from geolabel.local import installation
from geolabel.local.installation import prepare, process_values
from geolabel.settings import load_settings


def test_secrets_are_made_once_and_readable_only_by_the_owner(tmp_path: Path) -> None:
    first = prepare({}, state_dir=tmp_path)
    again = prepare({}, state_dir=tmp_path)
    assert first.own_redis
    assert first.own_label_studio
    assert first.settings.server.signing_secret.get_secret_value()
    assert first.settings == again.settings
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
    assert load_settings({}, state_dir=tmp_path).labelstudio == first.settings.labelstudio


def test_a_given_redis_and_label_studio_are_used_and_not_started(tmp_path: Path) -> None:
    given = {"REDIS_URL": "redis://r:1/0", "LABEL_STUDIO_URL": "http://ls:1", "LABEL_STUDIO_API_KEY": "key"}
    made = prepare(given, state_dir=tmp_path)
    assert not made.own_redis
    assert not made.own_label_studio
    assert made.settings.labelstudio.url == "http://ls:1"


def test_label_studio_without_a_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LABEL_STUDIO_API_KEY is missing"):
        prepare({"LABEL_STUDIO_URL": "http://ls:1"}, state_dir=tmp_path)


def test_a_disk_that_is_nearly_full_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "NEEDED_BYTES", 10**18)
    with pytest.raises(AdapterError, match="MB are free where .* lies"):
        prepare({}, state_dir=tmp_path)
    assert not (tmp_path / "env").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AdapterError, match="can't be written"):
        prepare({}, state_dir=tmp_path / "file" / "state")


def test_children_get_the_same_settings(tmp_path: Path) -> None:
    settings = prepare({"GEOLABEL_SCENES__ROOTS": "/a,/b"}, state_dir=tmp_path).settings
    assert load_settings(process_values(settings)).model_dump() == settings.model_dump()
