"""What use cases need from outside, made on first use from the settings."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from geolabel.settings import Settings, load_settings

if TYPE_CHECKING:
    from geolabel.adapters.jobs import Jobs
    from geolabel.adapters.labelstudio import LabelStudio
    from geolabel.adapters.store import Store


class Services:
    """The store, the Label Studio client and the job queue.

    Args:
        settings: All settings; read from the environment when not given.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = load_settings() if settings is None else settings

    @cached_property
    def store(self) -> Store:
        """Open the store."""
        from geolabel.adapters.store import Store

        return Store(self.settings.store_uri)

    @cached_property
    def labelstudio(self) -> LabelStudio:
        """Make the Label Studio client; no request is sent yet."""
        from geolabel.adapters.labelstudio import LabelStudio

        group = self.settings.labelstudio
        return LabelStudio(group.url, group.api_key.get_secret_value(), timeout_s=group.timeout_s)

    @cached_property
    def jobs(self) -> Jobs:
        """Make the job queue's client; no connection is opened yet."""
        from geolabel.adapters.jobs import Jobs

        group = self.settings.jobs
        return Jobs(
            self.settings.redis.url.get_secret_value(),
            timeout_s=group.timeout_s,
            result_ttl_s=group.result_ttl_s,
            retries=group.retries,
        )
