import pytest
import torch

from ris_core import device as module
from ris_core.device import choose_bf16, choose_device, device_faults, threads


def test_auto_device_is_cuda_where_it_is_there(monkeypatch):
    for is_there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda is_there=is_there: is_there)
        assert choose_device("auto").type == expected


def test_auto_precision_follows_the_hardware(monkeypatch):
    assert choose_bf16("auto", torch.device("cuda"))
    for flags, expected in (({"avx2"}, False), ({"avx2", "avx512_bf16"}, True), ({"amx_bf16"}, True)):
        monkeypatch.setattr(module, "_cpu_flags", lambda flags=flags: frozenset(flags))
        assert choose_bf16("auto", torch.device("cpu")) is expected
    assert choose_bf16("bf16", torch.device("cpu"))
    assert not choose_bf16("fp32", torch.device("cuda"))


def test_faults_name_what_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_faults("auto", "auto", None) == device_faults("cuda:0", "bf16", 2) == []
    for setting, named in (
        (("cuda:1", "auto", None), "sees 1 CUDA devices"),
        (("gpu", "auto", None), "'gpu' is unknown"),
        (("cpu", "fp8", None), "'fp8' is unknown"),
        (("cpu", "auto", 0), "threads = 0"),
    ):
        (fault,) = device_faults(*setting)
        assert named in fault


def test_threads_are_put_back():
    before = torch.get_num_threads()

    def fail_within() -> None:
        with threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()
    assert torch.get_num_threads() == before
