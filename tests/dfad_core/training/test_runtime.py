import torch

from dfad_core.training import runtime


def test_precision_follows_the_processor(tiny, monkeypatch) -> None:
    for capable, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capable=capable: {"avx512_bf16": capable})
        resolved = runtime.resolve(tiny.config(precision="auto"))
        assert resolved.precision == expected
        assert resolved.autocast()._enabled == capable
    assert runtime.resolve(tiny.config(precision="bfloat16")).storage_dtype == torch.bfloat16


def test_threads_are_as_asked_or_as_many_as_may_be_used(tiny, monkeypatch) -> None:
    assert runtime.resolve(tiny.config(threads=5)).threads == 5
    monkeypatch.setattr(runtime, "usable_processors", lambda: 1)
    assert runtime.resolve(tiny.config(threads=0)).threads == 1
