"""``python -m bench.running.timed_cells ORDER``: what a worker of a cluster starts to measure the cells of a run.

ORDER is JSON: fields of `bench.running.run_suite.RunOptions` that name a run. The process ends as after Ctrl-C when its
standard input ends, that is, when whoever started it is gone.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from ris_core.errors import RisError

BAD_INPUT, INTERRUPTED = 2, 130


def main(order: str) -> int:
    """Carry out an order; the exit status, as of ``python -m bench run``."""
    from bench.running.run_suite import (  # here: the processes of cells import this module, not torch
        RunOptions,
        measure_rest,
    )

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in processes that a shell starts beside itself
    threading.Thread(target=_end_with_input, daemon=True).start()
    fields = json.loads(order)
    paths = {key: Path(fields[key]) for key in ("cache", "reports")}
    try:
        return measure_rest(RunOptions(**{**fields, **paths, "overrides": tuple(fields["overrides"])}))
    except RisError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not by `sys.stdin`, whose lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
