"""Every raster of the real data: ingested with so many chips and these findings, or refused with this code or phrase.

Numbers are chips of 512 px with an eighth of overlap that have data.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geolabel.errors import InputError
from geolabel.pipeline.ingest import ingest
from geolabel.pipeline.ingest_report import IngestOptions
from geolabel.raster.scene import open_scene
from geolabel.services import Services

#: Path: (chips, codes of findings) or (None, code or phrase of the refusal).
OUTCOMES: dict[str, tuple[int | None, str]] = {
    "edge/drone_fotomap/dummy_fotomap_small.tif": (6, "RAS013"),
    "edge/opengeos/raster/cog.tif": (1, "RAS009"),
    "edge/rasterio/389225main_sw_1965_1024.jpg": (None, "RAS002"),
    "edge/rasterio/N10W110.hgt.zip": (9, ""),
    "edge/rasterio/RGB.byte.gcp.vrt": (None, "RAS006"),
    "edge/rasterio/RGB.byte.rpc.vrt": (None, "RAS007"),
    "edge/rasterio/RGB.byte.tif": (4, ""),
    "edge/rasterio/RGB.nc": (4, ""),
    "edge/rasterio/RGB2.byte.tif": (4, "RAS014 RAS023"),
    "edge/rasterio/RGB2.byte.tif.msk": (None, "RAS002"),
    "edge/rasterio/RGBA.uint16.tif": (2, "RAS013"),
    "edge/rasterio/all-nodata.tif": (None, "RAS016"),
    "edge/rasterio/alpha.tif": (1, "RAS013"),
    "edge/rasterio/byte.tif": (1, "RAS023"),
    "edge/rasterio/compdcs.vrt": (None, "RAS006"),
    "edge/rasterio/corrupt.tif": (5, "RAS014 RAS020"),
    "edge/rasterio/float.tif": (None, "RAS002"),
    "edge/rasterio/float32.tif": (None, "RAS002"),
    "edge/rasterio/float_nan.tif": (None, "RAS002"),
    "edge/rasterio/float_raster_with_extra_nodata.tif": (1, "RAS009 RAS023"),
    "edge/rasterio/float_raster_with_nodata.tif": (1, "RAS009 RAS023"),
    "edge/rasterio/goes.tif": (None, "off the Earth"),
    "edge/rasterio/red.tif": (1, "RAS009"),
    "edge/rasterio/red.tif.ovr": (None, "RAS002"),
    "edge/rasterio/rgb1_fake_nir_epsg3857.tif": (4, ""),
    "edge/rasterio/rotated.tif": (None, "RAS002"),
    "edge/rasterio/shade.tif": (9, "RAS012"),
    "edge/rasterio/test_esri_wkt.tif": (1, "RAS023"),
    "edge/rasterio/white-gemini-iv.vrt": (None, "RAS006"),
    "edge/rasterio/world.rgb.tif": (1, ""),
    "edge/rio-cogeo/dataset_namespace_metadata.tif": (1, "RAS009"),
    "edge/rio-cogeo/image_171px.tif": (1, ""),
    "edge/rio-cogeo/image_2000px.tif": (16, "RAS009"),
    "edge/rio-cogeo/image_colormap.tif": (6, "RAS009 RAS018"),
    "edge/rio-cogeo/image_geos.tif": (None, "off the Earth"),
    "edge/rio-cogeo/image_missing_nodata.tif": (1, "RAS023"),
    "edge/rio-cogeo/image_nan.tif": (1, ""),
    "edge/rio-cogeo/image_nocolormap.tif": (6, "RAS009 RAS018"),
    "edge/rio-cogeo/image_nodata.tif": (1, "RAS023"),
    "edge/rio-cogeo/image_rgb_mask.tif": (1, "RAS014"),
    "edge/rio-cogeo/image_rgba_nodata.tif": (1, ""),
    "edge/rio-cogeo/image_webp.tif": (1, ""),
    "edge/rio-cogeo/image_with_offsets.tif": (1, "RAS019 RAS023"),
    "edge/rio-cogeo/slc.tif": (None, "RAS006"),
    "edge/rio-cogeo/validate/cog_no_offest.tif": (None, "RAS002"),
    "edge/rio-cogeo/validate/image_external.tif": (1, "RAS013"),
    "edge/rio-cogeo/validate/image_external.tif.ovr": (None, "RAS002"),
    "edge/rio-cogeo/validate/image_known_incompatible_ghost_headers.tif": (1, "RAS023"),
    "edge/rio-cogeo/validate/image_no_overview.tif": (9, "RAS014"),
    "edge/rio-cogeo/validate/nontiff.jpg": (None, "RAS002"),
    "edge/rio-tiler/clp.tif": (1, "RAS013"),
    "edge/rio-tiler/cog.tif": (36, ""),
    "edge/rio-tiler/cog_cmap.tif": (206, "RAS018"),
    "edge/rio-tiler/cog_fullearth.tif": (1, ""),
    "edge/rio-tiler/cog_gcps.tif": (None, "RAS006"),
    "edge/rio-tiler/cog_gcps_ovr.tif": (None, "RAS006"),
    "edge/rio-tiler/cog_gradient.tif": (1, "RAS009"),
    "edge/rio-tiler/cog_int16.tif": (31, ""),
    "edge/rio-tiler/cog_nodata.tif": (31, ""),
    "edge/rio-tiler/cog_nodata_nan.tif": (4, ""),
    "edge/rio-tiler/cog_rgb.tif": (1, "RAS023"),
    "edge/rio-tiler/cog_rgb_mask.tif": (1, "RAS014 RAS023"),
    "edge/rio-tiler/cog_rgba.tif": (1, "RAS013 RAS023"),
    "edge/rio-tiler/cog_scale.tif": (1, "RAS019 RAS023"),
    "edge/rio-tiler/cog_scale_epsg4326.tif": (1, "RAS009 RAS019"),
    "edge/rio-tiler/cog_scale_stats.tif": (1, "RAS019 RAS023"),
    "edge/rio-tiler/cog_tags.tif": (1, "RAS019 RAS023"),
    "edge/rio-tiler/cog_uint8_rgb_mask.tif": (1, "RAS014"),
    "edge/rio-tiler/cog_uint8_rgb_nodata.tif": (1, ""),
    "edge/rio-tiler/cog_uint8_rgba.tif": (1, "RAS013"),
    "edge/rio-tiler/dataset_2d.nc": (None, "RAS002"),
    "edge/rio-tiler/dataset_3d.zarr": (None, "RAS002"),
    "edge/rio-tiler/lowres.tif": (1, ""),
    "edge/rio-tiler/mosaic_cog3.tif": (1, "RAS009"),
    "edge/rio-tiler/mosaic_value_1.tif": (4, ""),
    "edge/rio-tiler/mosaic_value_2.tif": (4, ""),
    "edge/rio-tiler/mosaic_value_3.tif": (1, "RAS009"),
    "edge/rio-tiler/my-bucket/hro_sources/colorado/201404_13SED190110_201404_0x1500m_CL_1.tif": (1, "RAS023"),
    "edge/rio-tiler/my-bucket/hro_sources/colorado/201404_13SED190110_201404_0x1500m_CL_1.tif.ovr": (None, "RAS002"),
    "edge/rio-tiler/my-bucket/hro_sources/colorado/201404_13SED190110_201404_0x1500m_CL_1_alpha.tif": (
        1,
        "RAS013 RAS023",
    ),
    "edge/rio-tiler/my-bucket/hro_sources/colorado/201404_13SED190110_201404_0x1500m_CL_1_extmask.tif": (
        1,
        "RAS014 RAS023",
    ),
    "edge/rio-tiler/my-bucket/hro_sources/colorado/201404_13SED190110_201404_0x1500m_CL_1_extmask.tif.msk": (
        None,
        "RAS002",
    ),
    "edge/rio-tiler/my-bucket/hro_sources/colorado/201404_13SED190110_201404_0x1500m_CL_1_mask.tif": (
        1,
        "RAS014 RAS023",
    ),
    "edge/rio-tiler/my-bucket/hro_sources/colorado/201404_13SED190110_201404_0x1500m_CL_1_nodata.tif": (1, "RAS023"),
    "edge/rio-tiler/my-bucket/pix4d/pix4d_alpha_nodata.tif": (4, "RAS013"),
    "edge/rio-tiler/no_geo.jpg": (None, "RAS002"),
    "edge/rio-tiler/red.tif": (1, ""),
    "edge/rio-tiler/rgb.tif": (1, ""),
    "edge/rio-tiler/scene_band1.tif": (4, ""),
    "labelled/eolearn_slovenia_s2/import-tiff-test1.tiff": (1, ""),
    "labelled/eolearn_slovenia_s2/import-tiff-test2.tiff": (1, ""),
    "labelled/kampala_buildings_oam/kampala_a.tif": (9, ""),
    "labelled/landsat_pivots_custom_albers/sample_geotiff_custom_proj.tif": (1, ""),
    "labelled/neon_osbs/OSBS_029.tif": (1, "RAS012"),
    "labelled/spacenet_atlanta/sample_b_mask_inner.tif": (None, "RAS002"),
    "labelled/spacenet_atlanta/sample_c_mask.tif": (None, "RAS002"),
    "labelled/spacenet_atlanta/sample_fbc_from_df2px.tif": (None, "RAS002"),
    "labelled/spacenet_atlanta/sample_fp_mask.tif": (None, "RAS002"),
    "labelled/spacenet_atlanta/sample_geotiff.tif": (4, ""),
}
NOT_RASTERS = (".geojson", ".gpkg", ".csv", ".npy", ".xml", ".txt", ".json")


def all_files(data_dir: Path) -> set[str]:
    """Return every file below edge and labelled, a Zarr folder counting as one."""
    found = set()
    for top in ("edge", "labelled"):
        for folder, folders, files in os.walk(data_dir / "imagery" / top):
            if ".zarr" in folder:
                continue
            names = files + [name for name in folders if name.endswith(".zarr")]
            found |= {str((Path(folder) / name).relative_to(data_dir / "imagery")) for name in names}
    return found


def test_the_table_names_every_file(data_dir: Path) -> None:
    """No file of the real data is without an expected outcome."""
    rasters = {name for name in all_files(data_dir) if not name.endswith(NOT_RASTERS)}
    assert rasters == set(OUTCOMES)


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_outcome(name: str, data_dir: Path, make_settings: Callable[..., Any]) -> None:
    """Each raster is ingested right, or refused with the right sentence."""
    chips, expected = OUTCOMES[name]
    services = Services(make_settings())
    uri = str(data_dir / "imagery" / name)
    options = IngestOptions(read="none")
    if chips is None:
        with pytest.raises(InputError) as caught:
            ingest(services, [uri], options=options)
        seen = caught.value.message + " " + " ".join(i.code for i in open_scene(uri).issues)
        assert expected in seen
        assert "Traceback" not in caught.value.message
        return
    report = ingest(services, [uri], options=options).scenes[0]
    assert report.planned - sum(report.skipped.values()) - len(report.failed) == chips
    assert " ".join(sorted({issue["code"] for issue in report.issues})) == expected


def test_what_is_no_raster_is_refused_by_kind(data_dir: Path) -> None:
    """Vectors, tables, arrays and texts are named as what they are."""
    names = sorted(n for n in all_files(data_dir) if n.endswith(NOT_RASTERS) and "/stac" not in n)
    assert len(names) > 40
    for name in names:
        found = open_scene(str(data_dir / "imagery" / name))
        assert found.scene is None
        assert {issue.code for issue in found.errors} <= {"RAS022", "RAS001"}, name
        assert name.split("/")[-1] in found.errors[0].message
