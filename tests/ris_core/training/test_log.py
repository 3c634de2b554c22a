import json
import math

import pytest

from ris_core.errors import ArtifactError
from ris_core.training.log import LOG, name_collapse, write_log


@pytest.mark.parametrize(
    ("loss", "kl", "dominance", "named"),
    [
        (math.log(1024) + 0.005, 0.005, 1 / 1024, "no output is preferred"),
        (math.log(1024) - 0.02, 2.9, 0.01, None),
        (0.5, 0.498, 0.96, "96% of the teacher's probability is on one output"),
        (0.001, 0.0, 1.0, "100% of the teacher's probability is on one output"),
        (0.5, 0.498, 0.25, None),  # the teacher is sure of another output for each tile: its entropy is 0.002
        (0.5, 0.498, 0.95, None),
        (3.0, 0.005, 0.25, "agree on everything"),
        (3.0, 1.0, 0.25, None),
    ],
)
def test_collapse_by_hand(loss, kl, dominance, named):
    found = name_collapse(loss, kl, dominance, 1024)
    assert (found is None) if named is None else (named in found)


def test_log_is_a_json_line_an_epoch(tmp_path):
    for records in ([{"epoch": 0, "collapse": None}], [{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}]):
        write_log(tmp_path, records)
        assert [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()] == records
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def test_log_on_a_full_disk_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_log(tmp_path / "missing", [])
