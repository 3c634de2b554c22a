"""Every error that a user can cause. The command line prints their message and exits with status 2."""

import struct
import tokenize
import zipfile
import zlib

# What readers of arrays, tables and JSON were seen to raise on files of strangers, cut short or changed in any byte:
# NumPy parses headers as Python's own syntax, and a header may claim more values than there is memory.
UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError),
    *(MemoryError, SyntaxError, tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error),
)


class RisError(Exception):
    """Base of all errors that name their own remedy: place, finding, what is allowed, what to do."""


class SuiteError(RisError):
    """A suite file, or an override of one of its keys, says something impossible."""


class CorpusError(RisError):
    """The corpus as a whole does not fit what was asked of it."""


class RasterError(RisError):
    """A raster cannot be read, or lacks what tiling needs."""


class CheckpointError(RisError):
    """Weights or training state do not fit the network or the recipe."""


class SearchError(RisError):
    """An index cannot be built from these features, or cannot answer this query."""


class ArtifactError(RisError):
    """A cached artifact or a result file is damaged, foreign, or cannot be written."""


class ComparabilityError(RisError):
    """Two results were measured in ways that forbid comparing them."""


class ClusterError(RisError):
    """A cluster cannot be reached, lost what it needs, or its workers are unfit for the work."""
