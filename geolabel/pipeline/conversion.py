"""Sources converted to cloud-optimised GeoTIFF in the store, once, with the source's hash kept."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from geolabel.core.georef import parse_crs
from geolabel.core.ids import digest, digest_bytes
from geolabel.errors import InputError, NotFoundError, RasterReadError
from geolabel.pipeline.ingest_report import IngestOptions
from geolabel.raster.identity import identity_of
from geolabel.raster.location import file_of, gdal_path, is_remote, normalise_uri, reading
from geolabel.raster.pool import first_line, quiet
from geolabel.raster.scene import OpenOptions, open_scene, scene_name
from geolabel.raster.virtual import vrt_xml
from geolabel.services import Services

COMPRESSIONS = ("DEFLATE", "ZSTD", "WEBP", "LERC", "JPEG", "LZW")
_BLOCK_PX = 512


def convert_to_cog(
    services: Services, uri: str, asked: IngestOptions, options: OpenOptions
) -> tuple[str, dict[str, Any]]:
    """Convert a raster to a COG in the store, unless the same bytes were converted the same way before.

    Args:
        services: For the store.
        uri: Of the source.
        asked: `cog_compression`.
        options: Warping, CRS and nodata wishes, which go into the file.

    Returns:
        Address of the COG, and facts of the source: its address, identity, sha256 (local files) and band names.

    Raises:
        InputError: the compression is unknown or can't hold these bands, or the source is refused.
        RasterReadError: the source can't be read.
    """
    compression = asked.cog_compression.upper()
    if compression not in COMPRESSIONS:
        raise InputError(f"compression {asked.cog_compression!r} is unknown; known are {', '.join(COMPRESSIONS)}")
    kept = normalise_uri(uri)
    etag = identity_of(file_of(kept), requester_pays=options.requester_pays)
    identity = digest("cog", etag, compression, IngestOptions(open=options).to_json()["open"])
    key, record_key = f"cogs/{identity}.tif", f"cogs/{identity}.json"
    try:
        record = dict(services.store.get_json(record_key))
    except NotFoundError:
        record = {}
    if not record or not services.store.exists(key):
        scene = open_scene(kept, options).require()
        with tempfile.TemporaryDirectory(prefix="geolabel-cog-", dir=_scratch(services)) as folder:
            target = Path(folder) / "cog.tif"
            _write(scene, kept, target, compression, options)
            services.store.put_file(key, target)
        record = {
            "source": kept, "source_etag": etag, "source_sha256": _sha256(kept), "compression": compression,
            "name": scene_name(kept), "band_names": [band.name for band in scene.bands],
        }  # fmt: skip
        services.store.put_json(record_key, record)
    folder_of = services.store.folder("")
    address = str(folder_of / key) if folder_of is not None else f"{services.store.uri.rstrip('/')}/{key}"
    facts = {"band_names": record["band_names"], "properties": {"converted_from": record}}
    return address, facts


def _scratch(services: Services) -> Path | None:
    folder = services.settings.state_dir.absolute() / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sha256(uri: str) -> str | None:
    path = Path(file_of(uri))
    if is_remote(uri) or not path.is_file():
        return None
    with path.open("rb") as stream:
        return digest_bytes(iter(lambda: stream.read(1 << 20), b""))


def _write(scene: Any, uri: str, target: Path, compression: str, options: OpenOptions) -> None:
    import rasterio
    import rasterio.shutil
    from rasterio.errors import RasterioError

    how = scene.properties["open"]
    creation: dict[str, Any] = {
        "driver": "COG", "COMPRESS": compression, "BLOCKSIZE": _BLOCK_PX, "BIGTIFF": "IF_SAFER", "NUM_THREADS": "2",
        "OVERVIEW_RESAMPLING": "NEAREST" if scene.properties.get("palette") else "AVERAGE",
    }  # fmt: skip
    if compression in ("DEFLATE", "ZSTD", "LZW"):
        creation["PREDICTOR"] = "YES"
    remote = bool(how.get("remote"))
    try:
        with quiet(), reading(remote, requester_pays=options.requester_pays):
            if how["kind"] == "zarr":
                plain = target.with_name("plain.tif")
                _write_plain(scene, plain)
                rasterio.shutil.copy(str(plain), str(target), **creation)
                return
            source = how["xml"] if how["kind"] == "vrt" else gdal_path(uri)
            if options.assign_crs or options.ignore_nodata:
                with rasterio.open(source) as dataset:
                    source = _amended(vrt_xml(dataset), options)
            with rasterio.open(source) as dataset:
                rasterio.shutil.copy(dataset, str(target), **creation)
    except RasterioError as error:
        raise RasterReadError(f"{uri} can't be converted to a COG with {compression}: {first_line(error)}") from error


def _amended(xml: str, options: OpenOptions) -> str:
    """Return the XML of a virtual raster with another CRS, or without nodata, as asked."""
    from xml.sax.saxutils import escape

    if options.assign_crs:
        srs = f"<SRS>{escape(parse_crs(options.assign_crs).to_wkt('WKT1_GDAL'))}</SRS>"
        xml = re.sub(r"<SRS\b.*?</SRS>|<SRS\b[^>]*/>", "", xml, flags=re.DOTALL)
        xml = re.sub(r"(<VRTDataset\b[^>]*>)", lambda m: m.group(1) + srs, xml, count=1)
    if options.ignore_nodata:
        xml = re.sub(r"<NoDataValue>.*?</NoDataValue>", "", xml)
    return xml


def _write_plain(scene: Any, target: Path) -> None:
    """Copy a Zarr 3 scene to a tiled GeoTIFF, strip by strip, since GDAL can't read its codecs."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.transform import Affine
    from rasterio.windows import Window as GdalWindow

    from geolabel.core.georef import Window
    from geolabel.raster.pool import open_raster

    raster = open_raster(scene)
    bands = [band.index for band in scene.bands]
    with rasterio.open(
        target, "w", driver="GTiff", width=raster.width, height=raster.height, count=len(bands), dtype=scene.dtype,
        crs=CRS.from_user_input(scene.georef.crs), transform=Affine(*scene.georef.transform), nodata=scene.nodata,
        tiled=True, blockxsize=_BLOCK_PX, blockysize=_BLOCK_PX, BIGTIFF="IF_SAFER",
    ) as out:  # fmt: skip
        for row in range(0, raster.height, _BLOCK_PX):
            height = min(_BLOCK_PX, raster.height - row)
            window = Window(col=0, row=row, width=raster.width, height=height)
            array, _ = raster.read(bands, window, (raster.width, height), nearest=True)
            out.write(array, window=GdalWindow(0, row, raster.width, height))
