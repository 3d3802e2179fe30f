"""One error root; families by who can act. Messages: what was wrong, the value, what would be right."""

from __future__ import annotations

from typing import ClassVar


class GeoLabelError(Exception):
    """Root of all errors that GeoLabel raises on purpose.

    Attributes:
        code: Stable name of the kind, shown to machines.
        status: HTTP status that answers it.
        exit_code: Exit status of the command line.
        retryable: Whether the same call may succeed later.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 5
    default_retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = self.default_retryable if retryable is None else retryable


class InputError(GeoLabelError, ValueError):
    """The caller gave something wrong and can mend it."""

    code = "input"
    status = 400
    exit_code = 2


class GeoreferenceError(InputError):
    """A CRS, transform or coordinate is missing or cannot be right."""

    code = "georeference"


class ShapeError(InputError):
    """A shape is malformed or of a kind that cannot be carried."""

    code = "shape"


class TaxonomyError(InputError):
    """A class, label config or taxonomy is wrong."""

    code = "taxonomy"


class AuthError(InputError):
    """Credentials are missing or wrong."""

    code = "auth"
    status = 401


class NotFoundError(GeoLabelError, LookupError):
    """What was asked for does not exist."""

    code = "not_found"
    status = 404
    exit_code = 3


class NotReadyError(GeoLabelError):
    """It will exist; ask again later."""

    code = "not_ready"
    status = 503
    exit_code = 4
    default_retryable = True


class AdapterError(GeoLabelError, RuntimeError):
    """The outside world failed: a raster, the store, Label Studio, Redis."""

    code = "adapter"
    status = 502
    exit_code = 4


class RasterReadError(AdapterError):
    """A raster could not be opened or read."""

    code = "raster_read"


class StoreError(AdapterError):
    """The store could not be read or written."""

    code = "store"


class LabelStudioError(AdapterError):
    """Label Studio did not answer or refused."""

    code = "label_studio"


class QueueError(AdapterError):
    """Redis or the job queue did not answer."""

    code = "queue"
    default_retryable = True


class ModelError(GeoLabelError):
    """A model could not be loaded or failed."""

    code = "model"


class PluginError(GeoLabelError):
    """A plugin could not be loaded or broke its contract."""

    code = "plugin"


class ConfigError(GeoLabelError):
    """A setting is wrong; found at start."""

    code = "config"
    exit_code = 2
