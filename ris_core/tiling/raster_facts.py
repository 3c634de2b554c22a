"""An opened raster: its facts, its values and validity, and whether it is fit for tiling."""

import contextlib
import dataclasses
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ris_core.errors import RasterError
from ris_core.tiling.virtual_path import as_path, is_virtual

DEFAULT_BANDS = (1, 2, 3)
_CACHE, _CACHE_BYTES = "GDAL_CACHEMAX", 2**29  # a row of 512 px blocks of a raster 340,000 px wide
_FAR = {  # of files that GDAL fetches; what the environment says goes before
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # sidecars are asked for by name instead of by a list of the folder
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",  # a server that falls silent is an error after so many seconds
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}


@dataclasses.dataclass(frozen=True)
class RasterFacts:
    """Facts of one raster, none of which needs a pixel decoded.

    Attributes:
        path: The file.
        driver: GDAL's name of the format.
        file_bytes: Size of the file; None where only GDAL can open it.
        width_px: Columns of pixels.
        height_px: Rows of pixels.
        crs: ``EPSG:...`` or WKT; empty where there is none.
        transform: Affine ``(a, b, c, d, e, f)``: x = a * col + b * row + c, y = d * col + e * row + f.
        bounds: left, bottom, right, top, in CRS units.
        size_of_pixel: width and height of a pixel, in CRS units.
        unit: Unit of the CRS.
        bands: Number of bands.
        colours: What each band shows, such as red, alpha or palette.
        dtype: Type of the values.
        nodata: One value a band, None where a band has none.
        mask: How pixels are marked invalid beside nodata: none, alpha or mask.
        alpha_band: Number of the alpha band, 0 where there is none.
        block_px: height and width of a block.
        interleave: pixel or band.
        compression: Name of the codec, none where there is none.
        blocks: Number of blocks of one plane.
        overviews: Decimation factors of the stored overviews.
        empty_blocks_frac: Share of blocks that are not stored; None where it was not asked for or the format has
            no block table.
        empty_blocks_estimated: Whether that share comes from a seeded sample of a very large table.
    """

    path: Path
    driver: str
    file_bytes: int | None
    width_px: int
    height_px: int
    crs: str
    transform: tuple[float, float, float, float, float, float]
    bounds: tuple[float, float, float, float]
    size_of_pixel: tuple[float, float]
    unit: str
    bands: int
    colours: tuple[str, ...]
    dtype: str
    nodata: tuple[float | None, ...]
    mask: str
    alpha_band: int
    block_px: tuple[int, int]
    interleave: str
    compression: str
    blocks: int
    overviews: tuple[int, ...]
    empty_blocks_frac: float | None = None
    empty_blocks_estimated: bool = False


@contextlib.contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """The opened raster.

    Raises:
        RasterError: If the file is missing, GDAL cannot open it, or finds it damaged while it is used.
    """
    path = as_path(path)
    if not path.is_file() and not is_virtual(path):
        found = "is a folder" if path.is_dir() else "does not exist"
        raise RasterError(f"{path}: {found}; a GeoTIFF, or another raster file that GDAL reads, is needed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # told as an error where it matters
            dataset = open_dataset(path)
    except RasterioError as error:
        if is_virtual(path):
            raise RasterError(
                f"{path}: cannot be opened ({error}). Check the address with `gdalinfo`, credentials where it needs "
                "some, and that the server answers range requests (status 206), without which parts of a file cannot "
                "be read; or copy the file here."
            ) from error
        raise RasterError(
            f"{path}: cannot be opened as a raster ({error}). Either it is no raster, or its header is damaged or "
            "cut off: check it with `gdalinfo`, and copy or download it again."
        ) from error
    with dataset:
        try:
            yield dataset
        except CPLE_BaseError as error:  # of GDAL, where rasterio has no error of its own: a property of the dataset
            raise _read_error(dataset, None, error) from error


@contextlib.contextmanager
def bounded_cache() -> Iterator[None]:
    """While it lasts, GDAL keeps no more decoded blocks than help: by default 5 % of the memory, however much it is.

    What the environment variable ``GDAL_CACHEMAX`` says goes before.
    """
    before = get_gdal_config(_CACHE)
    if _CACHE in os.environ or before <= _CACHE_BYTES:
        yield
        return
    try:
        with rasterio.Env(**{_CACHE: _CACHE_BYTES}):
            yield
    finally:
        set_gdal_config(_CACHE, before)  # within another Env, one that ends leaves this option as it is


def open_dataset(path: Path) -> Any:
    """GDAL's handle of a raster, which may lie on a server; errors are rasterio's."""
    far = {key: value for key, value in _FAR.items() if key not in os.environ} if is_virtual(path) else {}
    with rasterio.Env(**far) if far else contextlib.nullcontext():
        return rasterio.open(str(path))


def read_values(dataset: Any, bands: tuple[int, ...], **how: Any) -> np.ndarray:
    """Values of some bands, as ``dataset.read`` gives them.

    Raises:
        RasterError: If a block cannot be decoded; it names the window.
    """
    with _listening() as complaints:
        try:
            values: np.ndarray = dataset.read(list(bands), **how)
        except RasterioError as error:
            raise _read_error(dataset, how.get("window"), error) from error
    if complaints:
        raise _read_error(dataset, how.get("window"), RasterioError(complaints[0]))
    return values


class _Complaints(logging.Handler):
    """What libjpeg says, for the thread that listens, of blocks that it fills with anything: GDAL takes it for good."""

    WORDS = ("premature end", "bad huffman code")  # others, such as a byte too many, are common and do no harm

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what tells of damage."""
        said = record.getMessage()
        if "JPEG" in said and any(word in said.lower() for word in self.WORDS):
            getattr(self.heard, "messages", []).append(said)


_COMPLAINTS = _Complaints()
logging.getLogger("rasterio").addHandler(_COMPLAINTS)


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Complaints about blocks that this thread decodes meanwhile."""
    messages: list[str] = []
    _COMPLAINTS.heard.messages = messages
    try:
        yield messages
    finally:
        _COMPLAINTS.heard.messages = []


def read_validity(dataset: Any, facts: RasterFacts, bands: tuple[int, ...], **how: Any) -> np.ndarray | None:
    """(h, w) bool, True where neither alpha nor mask marks a pixel invalid; None where all are valid.

    An alpha band that is itself among ``bands`` marks nothing: GDAL calls the fourth of four 8-bit bands alpha even
    where it is near infrared.
    """
    try:
        if facts.mask == "mask":
            return np.asarray(dataset.read_masks(bands[0], **how) != 0)
        if facts.mask == "alpha" and facts.alpha_band not in bands:
            return np.asarray(dataset.read(facts.alpha_band, **how) != 0)
    except RasterioError as error:
        raise _read_error(dataset, how.get("window"), error) from error
    return None


def _read_error(dataset: Any, window: Any, error: Exception) -> RasterError:
    place = "the whole raster"
    if window is not None:
        place = f"the window of {window.height} x {window.width} px at row {window.row_off}, column {window.col_off}"
    remedy = "The file is damaged or truncated: copy or download it again."
    if is_virtual(dataset.name):
        remedy = "Either the connection broke, then try again or copy the file here, or the file is damaged."
    return RasterError(f"{dataset.name}: {place} cannot be decoded ({error.__cause__ or error}). {remedy}")


def read_facts(path: Path) -> RasterFacts:
    """Facts of a raster, whether or not it is fit for tiling.

    Raises:
        RasterError: If it is missing, unreadable or without a plain raster.
    """
    with open_raster(path) as dataset:
        return facts_of(dataset, path)


def facts_of(dataset: Any, path: Path) -> RasterFacts:
    """Facts of an open raster."""
    if dataset.count == 0:
        inner = f" It contains {len(dataset.subdatasets)} rasters: extract one." if dataset.subdatasets else ""
        raise RasterError(f"{path}: has no band; a raster with three colour bands is needed.{inner}")
    colours = tuple(colour.name for colour in dataset.colorinterp)
    alpha_band = colours.index(ColorInterp.alpha.name) + 1 if ColorInterp.alpha.name in colours else 0
    has_mask = MaskFlags.per_dataset in dataset.mask_flag_enums[0] and not alpha_band
    affine = dataset.transform
    corners = [(col, row) for col in (0, dataset.width) for row in (0, dataset.height)]
    xs = [affine.a * col + affine.b * row + affine.c for col, row in corners]
    ys = [affine.d * col + affine.e * row + affine.f for col, row in corners]
    block = dataset.block_shapes[0]
    epsg = dataset.crs.to_epsg() if dataset.crs else None
    return RasterFacts(
        path=path,
        driver=dataset.driver,
        file_bytes=None if is_virtual(path) else path.stat().st_size,
        width_px=dataset.width,
        height_px=dataset.height,
        crs=f"EPSG:{epsg}" if epsg else dataset.crs.to_wkt() if dataset.crs else "",
        transform=(affine.a, affine.b, affine.c, affine.d, affine.e, affine.f),
        bounds=(min(xs), min(ys), max(xs), max(ys)),
        size_of_pixel=(abs(affine.a), abs(affine.e)),
        unit=dataset.crs.units_factor[0] if dataset.crs else "px",
        bands=dataset.count,
        colours=colours,
        dtype=str(np.result_type(*dataset.dtypes)) if "complex" not in "".join(dataset.dtypes) else "complex",
        nodata=dataset.nodatavals,
        mask="alpha" if alpha_band else "mask" if has_mask else "none",
        alpha_band=alpha_band,
        block_px=(int(block[0]), int(block[1])),
        interleave=dataset.interleaving.value.lower() if dataset.interleaving else "unknown",
        compression=dataset.compression.value.lower() if dataset.compression else "none",
        blocks=-(-dataset.height // block[0]) * -(-dataset.width // block[1]),
        overviews=tuple(dataset.overviews(1)),
    )


def check_georeference(facts: RasterFacts) -> None:
    """Refuse a raster whose pixels have no place on the earth, or lie askew.

    Raises:
        RasterError: If it has no CRS or no geotransform, or its geotransform rotates or shears.
    """
    a, b, c, d, e, f = facts.transform
    if not facts.crs:
        raise RasterError(
            f"{facts.path}: has no CRS; a tile's place on the earth would be unknown. Give it one, for example "
            "`gdal_edit.py -a_srs EPSG:3857 FILE`; plain pictures go in an image folder with one subfolder a class."
        )
    if (a, b, c, d, abs(e), f) == (1, 0, 0, 0, 1, 0):
        raise RasterError(
            f"{facts.path}: has a CRS but no geotransform (ground control points alone do not do). Warp it onto a "
            "north-up grid first: `gdalwarp -t_srs EPSG:3857 IN OUT`."
        )
    if b or d:
        raise RasterError(
            f"{facts.path}: its geotransform is rotated or sheared ({a:g}, {b:g}, {c:g}, {d:g}, {e:g}, {f:g}; "
            "second and fourth must be 0). Warp it onto a north-up grid first: `gdalwarp IN OUT`."
        )


def check_bands(facts: RasterFacts, bands: tuple[int, ...]) -> None:
    """Refuse bands that the raster does not have, or that show no colours.

    Raises:
        RasterError: If so.
    """
    if facts.dtype == "complex":
        raise RasterError(f"{facts.path}: its values are complex numbers; real values are needed. Convert it first.")
    if "palette" in facts.colours:
        raise RasterError(
            f"{facts.path}: its values are entries of a palette, not colours. Expand it first: "
            "`gdal_translate -expand rgb IN OUT`."
        )
    missing = sorted({band for band in bands if not 1 <= band <= facts.bands})
    if missing:
        grey = " Set bands = [1, 1, 1] to use its first band as grey." if facts.bands < len(DEFAULT_BANDS) else ""
        n = f"{facts.bands} band" + ("s" if facts.bands != 1 else "")
        raise RasterError(
            f"{facts.path}: has {n} ({', '.join(facts.colours)}), but bands = {list(bands)} asks for "
            f"{', '.join(map(str, missing))}; bands are counted from 1.{grey}"
        )
