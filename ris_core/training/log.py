"""What a training tells of its epochs: the log file, and the kinds of collapse that its means show."""

import json
import math
from pathlib import Path
from typing import Any

from ris_core.artifacts import disk_error

LOG = "log.txt"
COLLAPSE_NATS = 0.01  # nearer than this to ln K, or to no divergence, is a collapse
COLLAPSE_DOMINANCE = 0.95  # so is more than this on one output


class CollapseWarning(UserWarning):
    """The networks say the same of every tile: their features are worthless."""


def name_collapse(loss: float, kl: float, dominance: float, out_dim: int) -> str | None:
    """What kind of collapse the means of an epoch show, or None.

    In both of the paper's kinds the networks say the same of every tile: no output is preferred, which makes the loss
    ln K, or one rules. An entropy of 0 alone is none: a sharp teacher may be sure of another output for each tile.
    Without divergence the student has nothing left to learn. Meant for epochs after the learning rate's warm-up;
    before, being near ln K is no sign.

    Args:
        loss: In nats.
        kl: In nats.
        dominance: See `DinoLossParts`; of several processes the mean over their shares of a batch.
        out_dim: K.

    Source:
        Section 5.3 of arXiv:2104.14294. The thresholds are ours.
    """
    uniform = math.log(out_dim)
    remedy = "The features will not tell tiles apart. Start again with a lower base_lr or longer warmup_epochs"
    if abs(loss - uniform) < COLLAPSE_NATS:
        return f"collapse: the loss is ln(out_dim) = {uniform:.4f}, no output is preferred. {remedy}."
    if dominance > COLLAPSE_DOMINANCE:
        return (
            f"collapse: {dominance:.0%} of the teacher's probability is on one output. {remedy}, or raise teacher_temp."
        )
    if kl < COLLAPSE_NATS:
        return f"collapse: teacher and student agree on everything (KL = 0). {remedy}."
    return None


def write_log(out: Path, log: list[dict[str, Any]]) -> None:
    """Write ``log.txt``, one JSON object an epoch: the old file or the new one.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    path = out / LOG
    temporary = out / f".{LOG}.partial"
    try:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in log), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error
