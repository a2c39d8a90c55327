"""What is asked of every wheel holds for the tree, too."""

import pytest


def test_smoke(capsys):
    pytest.importorskip("smoke").main()
    assert capsys.readouterr().out.startswith("gmvae_fast ")
