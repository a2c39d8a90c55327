"""What processes say to each other, as far as one process can tell: devices, backends, what NCCL takes."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from gmvae_fast.distributed import Ranks, joined, ranks
from gmvae_fast.distributed.ranks import TIMEOUT

fake_pg = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
#: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api/types.html, and truth values, sent as bytes.
NCCL_DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
}


@pytest.fixture
def fake() -> Iterator[None]:
    """A group of three processes of which this is the second; what it gathers is its own."""
    dist.init_process_group("fake", store=fake_pg.FakeStore(), rank=1, world_size=3)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Every tensor that is given to torch.distributed."""
    found: list[torch.Tensor] = []
    for name in ("all_reduce", "all_gather", "broadcast"):
        original = getattr(dist, name)

        def call(*args: Any, _original: Any = original, **options: Any) -> Any:
            for value in args:
                found.extend(value if isinstance(value, list) else [value] if isinstance(value, torch.Tensor) else [])
            return _original(*args, **options)

        monkeypatch.setattr(dist, name, call)
    for name in ("all_gather_object", "broadcast_object_list", "gather_object", "barrier"):
        monkeypatch.setattr(dist, name, lambda *_, name=name, **__: pytest.fail(f"{name} guesses a device or pickles"))
    return found


@pytest.mark.parametrize("dtype", sorted(NCCL_DTYPES - {torch.bool}, key=str))
@pytest.mark.parametrize("layout", ["rows", "transposed", "sliced", "channels_last", "empty", "scalar"])
def test_what_is_exchanged_is_dense_and_of_a_dtype_that_nccl_knows(
    fake: None, exchanged: list[torch.Tensor], dtype: torch.dtype, layout: str
) -> None:
    base = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).to(dtype)
    value = {
        "rows": base,
        "transposed": base.transpose(0, 3),
        "sliced": base[:, 1:, ::2],
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "empty": base[:0],
        "scalar": base[0, 0, 0, 1],
    }[layout]
    group = Ranks.present()
    assert (group.rank, group.size, group.first) == (1, 3, False)
    torch.testing.assert_close(group.sum(value), value, rtol=0, atol=0)  # the fake adds nothing
    torch.testing.assert_close(group.share(value), value, rtol=0, atol=0)
    if layout != "scalar":
        for part in group.gather(value):
            torch.testing.assert_close(part, value, rtol=0, atol=0)
    assert group.tell({"a": [1.5, None, "x"]}) == [{"a": [1.5, None, "x"]}] * 3
    group.wait()
    group.agree(None)
    assert exchanged
    assert all(tensor.is_contiguous() and tensor.dtype in NCCL_DTYPES for tensor in exchanged)


def test_nothing_is_sent_where_nobody_has_rows(fake: None, exchanged: list[torch.Tensor]) -> None:
    assert [part.shape for part in Ranks.present().gather(torch.zeros(0, 5))] == [(0, 5)] * 3
    assert all(tensor.numel() for tensor in exchanged)


@pytest.mark.parametrize(
    ("served", "device", "messages"),
    [
        ("cpu:gloo,cuda:gloo", "cpu", "cpu"),
        ("cpu:gloo,cuda:nccl", "cuda:1", "cpu"),
        ("cuda:nccl", "cuda:1", "cuda:1"),
    ],
)
def test_messages_lie_where_the_backend_takes_them(
    fake: None, monkeypatch: pytest.MonkeyPatch, served: str, device: str, messages: str
) -> None:
    monkeypatch.setattr(dist, "get_backend_config", lambda: served)
    assert Ranks.present(device).device == torch.device(messages)


def test_a_group_that_does_not_know_the_models_device_is_refused(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_backend_config", lambda: "cuda:nccl")
    with pytest.raises(
        ValueError, match=r"model must be on a device that the process group \(cuda:nccl\) serves, got cpu"
    ):
        joined("cpu")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """As torchrun starts the second of two processes, on a machine with two GPUs; what is asked of torch."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    asked: dict[str, Any] = {"store": dist.HashStore()}
    monkeypatch.setattr(ranks, "rendezvous", lambda _: iter([(asked["store"], 1, 2)]))
    monkeypatch.setattr(ranks.atexit, "register", lambda function: None)
    monkeypatch.setattr(ranks.socket, "gethostname", lambda: "node")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: asked.update(current=device))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"GPU-{device.index}"))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: asked.update(options, backend=backend))
    return asked


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_nccl_is_told_the_gpu(launched: dict[str, Any], device: str) -> None:
    launched["store"].set("attempt_0/gpu_0", "node GPU-0")
    joined(device)
    gpu = torch.device("cuda", 1)
    assert (launched["backend"], launched["device_id"], launched["current"]) == ("nccl", gpu, gpu)
    assert (launched["rank"], launched["world_size"], launched["timeout"]) == (1, 2, TIMEOUT)


def test_gloo_is_told_no_device(launched: dict[str, Any]) -> None:
    joined("cpu")
    assert launched["backend"] == "gloo"
    assert "device_id" not in launched
    assert "current" not in launched


def test_two_processes_with_one_gpu_are_told(launched: dict[str, Any]) -> None:
    launched["store"].set("attempt_0/gpu_0", "node GPU-1")
    with pytest.raises(
        ValueError, match="every process must have a GPU of its own, got GPU-1 of node for processes 0 and 1"
    ):
        joined("cuda:1")
    assert "backend" not in launched


@pytest.mark.parametrize(
    ("served", "failed", "left"), [("cpu:gloo", True, 1), ("cuda:nccl", False, 1), ("cuda:nccl", True, 0)]
)
def test_a_process_that_failed_does_not_wait_for_nccl(
    monkeypatch: pytest.MonkeyPatch, served: str, failed: bool, left: int
) -> None:
    destroyed: list[int] = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_backend_config", lambda: served)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: destroyed.append(1))
    monkeypatch.setattr(ranks, "_failed", False)
    if failed:
        with pytest.raises(KeyError), Ranks(0, 2).remembering():
            raise KeyError
    ranks._leave()
    assert len(destroyed) == left


class _Unlike(Ranks):
    def tell(self, value: Any) -> list[Any]:
        return [value, {**value, "b": 3}]


def test_unlike_arguments_are_named() -> None:
    _Unlike(0, 2).same(b=3)
    with pytest.raises(ValueError, match="b must be the same in every process, got 2 in process 0 and 3 in process 1"):
        _Unlike(0, 2).same(a=1, b=2)
