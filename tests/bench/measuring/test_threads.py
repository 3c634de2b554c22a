import pytest
import threadpoolctl
import torch

from bench.measuring.threads import limited_threads


def test_pools_are_held_and_let_go() -> None:
    before = torch.get_num_threads()
    with limited_threads(1) as seen:
        assert torch.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}
    assert set(seen.values()) == {1}
    assert "torch" in seen
    assert torch.get_num_threads() == before


def test_opencv_is_held_and_let_go() -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is optional: pip install 'ris-bench[methods]'")
    cv2.setNumThreads(2)
    with limited_threads(1) as seen:
        assert cv2.getNumThreads() == seen["cv2"] == 1
    assert cv2.getNumThreads() == 2
