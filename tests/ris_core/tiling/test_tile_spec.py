import re
from pathlib import Path

import pytest

from ris_core.tiling.tile_spec import TileSpec


def test_default_specification_is_the_thesis() -> None:
    spec = TileSpec()
    assert spec.faults() == []
    assert (spec.size_px, spec.min_coverage, spec.output_px) == (512, 0.9, 512)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"size_px": 4}, "tile size is 4 px"),
        ({"stride_px": 0}, "stride is 0 px"),
        ({"stored_px": 600}, "stored size is 600 px"),
        ({"stored_px": 0}, "stored size is 0 px"),
        ({"min_coverage": 1.0}, "min_coverage is 1.0"),
        ({"sample": 0}, "sample is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"bands": (1, 2)}, r"bands is \[1, 2\]"),
        ({"bands": (0, 1, 2)}, r"bands is \[0, 1, 2\]"),
        ({"bands": ()}, r"bands is \[\]"),
        ({"percentiles": (98.0, 2.0)}, "percentiles is"),
        ({"percentiles": ()}, "percentiles is"),
        ({"labels": Path("l.csv"), "half_offset": True}, "exclude each other"),
    ],
)
def test_each_fault_is_found_alone(keys: dict, word: str) -> None:
    (fault,) = TileSpec(**keys).faults()
    assert re.search(word, fault)


def test_all_faults_are_told_at_once() -> None:
    assert len(TileSpec(size_px=1, stride_px=-1, sample=-5, seed=-1, min_coverage=-0.1).faults()) == 5
