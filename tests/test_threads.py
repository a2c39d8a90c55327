import pytest
import torch

from gmvae_fast._threads import SMALL_STEP, thread_count, threads_for


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_work_runs_on_one_thread_and_the_setting_comes_back(two_threads):
    with threads_for(SMALL_STEP / 2):
        assert thread_count() == 1
    assert thread_count() == 2
    with pytest.raises(KeyError), threads_for(0):
        raise KeyError
    assert thread_count() == 2


def test_large_work_keeps_the_setting(two_threads):
    with threads_for(SMALL_STEP):
        assert thread_count() == 2
