"""A suite whose raster lies on a server. What is fetched from one is tested in ``tests/ris_core/tiling``."""

from pathlib import Path

import pytest

from bench.suites.suite import CorpusSpec
from bench.suites.suite_file import read_suite
from ris_core.errors import SuiteError

ADDRESS = "/vsicurl/http://127.0.0.1:9/a.tif"  # nothing listens there
SUITE = '[backbone.colour]\nmodel = "colour"\n[engine.exact]\n[queries]\ncount = 20\n'


def test_address_reaches_gdal_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "far.toml").write_text(f'[suite]\ntitle = "Far"\n[corpus]\nsource = "{ADDRESS}"\n{SUITE}')
    for overrides in ((), (f"corpus.source={ADDRESS}",)):
        with pytest.raises(SuiteError, match=rf"{ADDRESS}: cannot be opened .*gdalinfo") as caught:
            read_suite(tmp_path / "far.toml", overrides)
        assert "source = " not in str(caught.value)


def test_address_is_no_file_that_is_missing() -> None:
    assert CorpusSpec(source=ADDRESS).faults() == []
    assert not CorpusSpec(source=ADDRESS).is_vectors
