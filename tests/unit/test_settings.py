"""Settings: what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from geolabel.errors import ConfigError
from geolabel.settings import load_settings, variable_names


def test_names_of_the_label_studio_examples_are_honoured() -> None:
    settings = load_settings(
        {
            "LABEL_STUDIO_URL": "http://ls:1",
            "LABEL_STUDIO_API_KEY": "key",
            "REDIS_URL": "redis://r:1/2",
            "BASIC_AUTH_USER": "user",
            "BASIC_AUTH_PASS": "pass",
        },
        kept=False,
    )
    assert settings.labelstudio.url == "http://ls:1"
    assert settings.labelstudio.api_key.get_secret_value() == "key"
    assert settings.redis.url.get_secret_value() == "redis://r:1/2"
    assert settings.server.basic_auth_user == "user"
    assert settings.server.basic_auth_pass.get_secret_value() == "pass"


def test_own_name_wins_over_alias_and_override_over_both() -> None:
    environ = {"REDIS_URL": "redis://alias/1", "GEOLABEL_REDIS__URL": "redis://own/1"}
    assert load_settings(environ, kept=False).redis.url.get_secret_value() == "redis://own/1"
    overridden = load_settings(environ, kept=False, redis={"url": "redis://override/1"})
    assert overridden.redis.url.get_secret_value() == "redis://override/1"


def test_an_override_of_one_field_leaves_the_others_of_its_group() -> None:
    settings = load_settings({"GEOLABEL_CHIPS__FORMAT": "png"}, kept=False, chips={"size_px": 256})
    assert (settings.chips.size_px, settings.chips.format) == (256, "png")


def test_lists_are_given_with_commas() -> None:
    settings = load_settings({"GEOLABEL_SCENES__ROOTS": "/a, s3://b ,"}, kept=False)
    assert settings.scenes.roots == ["/a", "s3://b"]


@pytest.mark.parametrize("name", ["GEOLABEL_CHIPS__SISE_PX", "GEOLABEL_TYPO"])
def test_an_unknown_name_is_refused_with_near_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"Unknown setting {name}"):
        load_settings({name: "1"}, kept=False)


def test_names_of_the_compose_file_are_let_pass() -> None:
    load_settings({"GEOLABEL_ADMIN_PASSWORD": "x"}, kept=False)


def test_a_wrong_value_is_a_sentence_that_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="GEOLABEL_CHIPS__SIZE_PX: Input should be a valid integer"):
        load_settings({"GEOLABEL_CHIPS__SIZE_PX": "wide"}, kept=False)


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = load_settings({"LABEL_STUDIO_API_KEY": "do-not-show"}, kept=False)
    assert "do-not-show" not in f"{settings!r} {settings}"


def test_every_setting_says_what_it_is() -> None:
    from geolabel.settings import Group, Settings

    for path in variable_names().values():
        field = Settings.model_fields[path[0]]
        if len(path) == 2:
            group = field.annotation
            assert isinstance(group, type)
            assert issubclass(group, Group)
            field = group.model_fields[path[1]]
        assert field.description, path


def test_state_folder_of_an_override_is_used(tmp_path: Path) -> None:
    assert load_settings({}, state_dir=tmp_path).store_uri == str(tmp_path / "store")
