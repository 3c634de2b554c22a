"""Vectors on torch's device: approximate neighbours by matrix products, distances by differences, in bounded memory."""

import numpy as np
import torch

_BLOCK_ROWS = 65_536  # with 1,024 queries at once, 256 MiB of products
_DIRECT_ROWS = 4_096  # differences are torch's own loop, which needs no large blocks
_GATHERED_BYTES = 2**28


class TorchVectors:
    """A copy of the base on a device, asked as `ris_core.engines.exact.Vectors`.

    Args:
        base: (n, d) float32.
        device: Torch's name of the device, such as ``"cuda"``.
    """

    def __init__(self, base: np.ndarray, device: str) -> None:
        self._device = torch.device(device)
        self._base = torch.empty(base.shape, dtype=torch.float32, device=self._device)
        for start in range(0, len(base), _BLOCK_ROWS):  # a second copy on the host never takes more than a block
            self._base[start : start + _BLOCK_ROWS] = torch.tensor(base[start : start + _BLOCK_ROWS])
        self._squares = torch.linalg.vecdot(self._base, self._base)

    def __len__(self) -> int:
        return len(self._base)

    def nearest(self, queries: np.ndarray, k: int, *, is_direct: bool) -> tuple[np.ndarray, np.ndarray]:
        """Rows and their squared distances, see `ris_core.engines.exact.Vectors`."""
        asked = torch.tensor(queries, device=self._device)
        block = _DIRECT_ROWS if is_direct else _BLOCK_ROWS
        best = torch.empty((len(asked), 0), device=self._device)
        rows = torch.empty((len(asked), 0), dtype=torch.int64, device=self._device)
        for start in range(0, len(self), block):
            part = self._compare(asked, slice(start, start + block), is_direct=is_direct)
            values, places = part.topk(min(k, part.shape[1]), dim=1, largest=False)
            best, rows = torch.cat([best, values], dim=1), torch.cat([rows, places + start], dim=1)
            best, order = best.topk(min(k, best.shape[1]), dim=1, largest=False)
            rows = rows.gather(1, order)
        return rows.cpu().numpy(), best.cpu().numpy()

    def squared_distances(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(q, k) float32 squared Euclidean distances of each query to its rows, as sums of squared differences."""
        asked, wanted = (torch.tensor(values, device=self._device) for values in (queries, rows))
        step = max(1, _GATHERED_BYTES // (4 * wanted.shape[1] * self._base.shape[1]))
        distances = [
            (self._base[part] - few[:, None]).square().sum(dim=2)  # (step, k, d) -> (step, k)
            for few, part in zip(asked.split(step), wanted.split(step), strict=True)
        ]
        return torch.cat(distances).cpu().numpy()

    def _compare(self, asked: torch.Tensor, part: slice, *, is_direct: bool) -> torch.Tensor:
        """(q, rows of the part) squared distances, by differences or by |x|^2 + |y|^2 - 2xy."""
        if is_direct:
            return torch.cdist(asked, self._base[part], compute_mode="donot_use_mm_for_euclid_dist").square()
        squares = torch.linalg.vecdot(asked, asked)[:, None] + self._squares[part]
        return torch.addmm(squares, asked, self._base[part].T, alpha=-2)
