"""Scenes as JSON records and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geolabel.core.georef import Georeference
from geolabel.core.scene import Band, RenderSpec, Scene
from geolabel.errors import InputError


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """Return a scene as JSON types; what `scene_from_json` reads. A nodata that is NaN is written as "nan"."""
    nodata = "nan" if scene.nodata is not None and scene.nodata != scene.nodata else scene.nodata
    return {
        "id": scene.id,
        "uri": scene.uri,
        "name": scene.name,
        "georef": scene.georef.to_json(),
        "bands": [band.to_json() for band in scene.bands],
        "dtype": scene.dtype,
        "nodata": nodata,
        "acquired": scene.acquired,
        "sensor": scene.sensor,
        "region": scene.region,
        "etag": scene.etag,
        "render": None if scene.render is None else scene.render.to_json(),
        "crs_log": dict(scene.crs_log),
        "properties": dict(scene.properties),
    }


def scene_from_json(value: Mapping[str, Any]) -> Scene:
    """Rebuild a scene.

    Raises:
        InputError: a field is missing or malformed.
    """
    try:
        nodata = value.get("nodata")
        render = value.get("render")
        return Scene(
            id=str(value["id"]),
            uri=str(value["uri"]),
            name=str(value["name"]),
            georef=Georeference.from_json(value["georef"]),
            bands=tuple(Band.from_json(band) for band in value["bands"]),
            dtype=str(value["dtype"]),
            nodata=None if nodata is None else float(nodata),
            acquired=value.get("acquired"),
            sensor=str(value.get("sensor", "")),
            region=str(value.get("region", "")),
            etag=str(value.get("etag", "")),
            render=None if render is None else RenderSpec.from_json(render),
            crs_log=dict(value.get("crs_log", {})),
            properties=dict(value.get("properties", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the record of a scene lacks or garbles a field: {error!r}; ingest it again") from error
