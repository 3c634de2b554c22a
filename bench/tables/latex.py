"""A page as LaTeX: booktabs, a long one over several pages, a wide one across the paper with its texts wrapped."""

import dataclasses
from collections.abc import Sequence

import pandas as pd

_LONG_ROWS = 40  # a table with more rows runs over pages
_WRAPPED = 24  # characters from which a column of texts may be broken into lines
_NARROWEST = 20  # characters that such a column needs
_GAP = 2  # between two columns, in characters
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedblright{}",  # \textquotedbl is unknown to LaTeX's own font encoding
        "[": "{[}",  # a cell that begins with a bracket is no argument of the line break before it
        "→": r"\textrightarrow{}",
    }
)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Letters of one size on paper held one way, and how many of them a line of LaTeX's article takes."""

    size: str
    across: bool
    letters: int


_NARROW = r"\setlength{\tabcolsep}{3pt}"
_LAYOUTS = (
    _Layout(r"\small", False, 70),
    _Layout(rf"\scriptsize{_NARROW}", False, 86),
    _Layout(rf"\scriptsize{_NARROW}", True, 136),
    _Layout(rf"\tiny{_NARROW}", True, 180),
)


def latex_of(page: pd.DataFrame, caption: str, name: str) -> str:
    """A booktabs table with caption and label ``tab:<name>``; a long one runs over pages (longtable).

    The first layout that holds it is taken, from small letters to tiny ones across the paper.
    """
    if page.empty:
        return f"% {name}: nothing to show\n"
    widths = [_natural(page, column) for column in page.columns]
    layout = next((fit for fit in _LAYOUTS if _room(page, widths, fit) >= _NARROWEST), _LAYOUTS[-1])
    columns = "".join(_columns(page, widths, layout))
    full = [max(width, len(str(column))) for width, column in zip(widths, page, strict=True)]
    is_crowded = sum(full) + _GAP * len(full) > layout.letters
    head = _row([_heading(page, column, is_crowded) for column in page.columns])
    body = "\n".join(_row([_escaped(str(cell)) for cell in row]) for row in page.to_numpy().tolist())
    title = rf"\caption{{{_escaped(caption)}}}\label{{tab:{name}}}"
    if len(page) > _LONG_ROWS:
        top = f"\\toprule\n{head}\n\\midrule\n"
        table = (
            f"{{{layout.size}\n\\begin{{longtable}}{{@{{}}{columns}@{{}}}}\n{title}\\\\\n{top}\\endfirsthead\n"
            f"{top}\\endhead\n\\bottomrule\n\\endfoot\n{body}\n\\end{{longtable}}}}\n"
        )
    else:
        table = (
            f"\\begin{{table}}\n\\centering{layout.size}\n{title}\n\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n"
            f"\\toprule\n{head}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
        )
    turned = f"\\begin{{landscape}}\n{table}\\end{{landscape}}\n" if layout.across else table
    return f"% needs \\usepackage{{array,booktabs,longtable,pdflscape}}\n{turned}"


def _escaped(text: str) -> str:
    """The text as LaTeX prints it; line ends and marks that cannot be seen become blanks."""
    return "".join(letter if letter.isprintable() else " " for letter in text).translate(_ESCAPES)


def alignments(page: pd.DataFrame) -> list[str]:
    """``right`` for columns of numbers, ``left`` for others."""

    def is_number(text: str) -> bool:
        return text.replace(",", "").replace(".", "").replace("-", "").replace("e", "").isdigit()

    return ["right" if all(is_number(t) for t in page[c] if t) else "left" for c in page]


def _natural(page: pd.DataFrame, column: str) -> int:
    """Letters of a column's longest cell, or of the longest word above it."""
    return max(*map(len, page[column]), *map(len, str(column).split() or [""]))


def _room(page: pd.DataFrame, widths: Sequence[int], layout: _Layout) -> float:
    """Letters that are left for each column that can be wrapped; as many as it likes where nothing must be."""
    free = layout.letters - _GAP * len(widths)
    wrapped = [width > _WRAPPED for width in widths]
    if sum(widths) <= free:
        return float("inf")
    taken = sum(width for width, is_long in zip(widths, wrapped, strict=True) if not is_long)
    return (free - taken) / sum(wrapped) if any(wrapped) else 0.0


def _columns(page: pd.DataFrame, widths: Sequence[int], layout: _Layout) -> list[str]:
    """``r`` for numbers, ``l`` for words, and paragraphs for the texts that must be wrapped."""
    room = max(_NARROWEST, _room(page, widths, layout))
    paragraph = rf">{{\raggedright\arraybackslash}}p{{{room / 2:.3g}em}}"  # a letter is about half as wide as an em
    sides = ["r" if side == "right" else "l" for side in alignments(page)]
    return [paragraph if room < width > _WRAPPED else side for width, side in zip(widths, sides, strict=True)]


def _heading(page: pd.DataFrame, column: str, is_crowded: bool) -> str:
    """A heading; where there is no room, its words below each other if they are wider than all cells."""
    words = [_escaped(word) for word in str(column).split()]
    if not is_crowded or len(words) < 2 or len(str(column)) <= max(map(len, page[column])):
        return " ".join(words)
    side = "r" if alignments(page[[column]]) == ["right"] else "l"
    return rf"\shortstack[{side}]{{" + r"\\".join(words) + "}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
