import json
import math

import pytest

from ris_core.errors import ArtifactError
from ris_core.training_log import LOG, name_collapse, write_log


@pytest.mark.parametrize(
    ("loss", "entropy", "named"),
    [
        (math.log(1024) + 0.005, math.log(1024), "no output is preferred"),
        (math.log(1024) - 0.02, 4.0, None),
        (0.5, 0.002, "one output rules"),
        (3.0, 2.995, "agree on everything"),
        (3.0, 2.0, None),
    ],
)
def test_collapse_by_hand(loss, entropy, named):
    found = name_collapse(loss, entropy, 1024)
    assert (found is None) if named is None else (named in found)


def test_log_is_a_json_line_an_epoch(tmp_path):
    for records in ([{"epoch": 0, "collapse": None}], [{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}]):
        write_log(tmp_path, records)
        assert [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()] == records
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def test_log_on_a_full_disk_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_log(tmp_path / "missing", [])
