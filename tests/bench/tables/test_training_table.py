import json
from pathlib import Path

import pytest

from bench.tables.published import MODELS
from bench.tables.table import typed
from bench.tables.table_schemas import SCHEMAS
from bench.tables.training_table import loss_table, losses_page, model_table, models_page, read_log
from ris_core.errors import ArtifactError


def write_log(path: Path, losses: list[tuple[int, float]]) -> Path:
    records = [
        {"train_loss": loss, "train_lr": 1e-4, "epoch": epoch, "epoch_s": 10.0 + epoch} for epoch, loss in losses
    ]
    records[-1] |= {"knn_10": 0.5, "knn_20": 0.25, "mfu": 0.125}  # the last epoch is always probed
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_losses_stand_beside_those_of_the_thesis(tmp_path):
    table = loss_table({"tiny": write_log(tmp_path / "a", [(0, 6.9), (1, 6.5)])})
    assert list(table.columns) == list(SCHEMAS["losses"])
    assert table["loss"].tolist() == [6.9, 6.5]
    assert table["published_small"].tolist() == pytest.approx([6.616872, 7.350955], abs=1e-6)
    assert table["kl"].isna().all()  # this log did not say
    assert table[["knn_10", "knn_20", "mfu"]].iloc[-1].tolist() == [0.5, 0.25, 0.125]
    assert table["knn_20"].isna().tolist() == [True, False]


def test_epoch_that_was_trained_again_counts_as_logged_last(tmp_path):
    log = read_log(write_log(tmp_path / "a", [(0, 6.9), (1, 6.5), (1, 6.4), (2, 6.0)]))
    assert [record["train_loss"] for record in log] == [6.9, 6.4, 6.0]


@pytest.mark.parametrize("line", ["not json", '{"train_loss": 1}', "[1]", '{"epoch": null}'])
def test_damaged_log_is_refused_by_line(tmp_path, line):
    path = tmp_path / "log.txt"
    path.write_text(f'{{"epoch": 0}}\n{line}\n')
    with pytest.raises(ArtifactError, match="line 2"):
        read_log(path)


def test_missing_log_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no training log"):
        loss_table({"tiny": tmp_path / "none"})


def test_models_join_notes_and_logs(tmp_path):
    notes = {"tiny": {"model": "vit", "d": 128, "surprise": 1, "knn_20": None}, "colour": {"d": 6}}
    table = model_table(notes, {"tiny": write_log(tmp_path / "a", [(0, 6.9), (1, 6.5), (2, 6.1)])})
    assert list(table.columns) == list(SCHEMAS["models"])
    tiny, colour = table.to_dict("records")
    assert (tiny["model"], tiny["d"], tiny["train_epochs"], tiny["final_loss"]) == ("vit", 128, 3, 6.1)
    assert (tiny["train_s"], tiny["epoch_s"], tiny["train_mfu"]) == (33.0, 11.0, 0.125)
    assert colour["train_epochs"] != colour["train_epochs"]  # missing


def test_models_page_shows_what_is_known(tmp_path):
    notes = {
        "tiny": {"model": "vit", "knn_20": 0.5, "knn_20_ci_low": 0.45, "knn_20_ci_high": 0.55, "flops": 2.5e9},
        "colour": {"model": "colour"},
    }
    table = model_table(notes, {"tiny": write_log(tmp_path / "a", [(0, 6.9), (1, 6.5)])})
    page = models_page(typed(table, "models", "models"))
    assert page["k-NN 20"].tolist() == ["0.500 [0.450, 0.550]", ""]
    assert page["GFLOP a tile"].iloc[0] == 2.5
    assert page["training, s"].iloc[0] == 21
    assert not {"peak MB", "untrained", "parameters"} & set(page)
    assert models_page(model_table({"one": {"knn_20": 1.0}}, {}))["k-NN 20"].tolist() == ["1.000"]  # no interval


def test_losses_page_has_a_column_a_backbone(tmp_path):
    logs = {"b": write_log(tmp_path / "b", [(0, 6.9), (1, 6.5)]), "a": write_log(tmp_path / "a", [(0, 5.0)])}
    page = losses_page(loss_table(logs))
    assert list(page.columns)[:3] == ["epoch", "b", "a"]
    assert list(page.columns)[3:] == [f"thesis {model}" for model in MODELS]
    assert page["thesis small"].tolist() == pytest.approx([6.616872, 7.350955], abs=1e-6)
    assert page["b"].tolist() == [6.9, 6.5]
    assert losses_page(loss_table({})).empty
