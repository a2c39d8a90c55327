"""What an installed gmvae_fast must do, in a few seconds and without its source tree: for wheels and `make check-dist`.

cd /elsewhere && python /path/to/smoke.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import gmvae_fast as gf


def main() -> None:
    package = Path(gf.__file__).parent
    status = gf.native_status()
    assert status.version == gf.__version__, f"compiled as {status.version}, installed as {gf.__version__}"
    assert (package / "py.typed").is_file()
    assert list((package / "report").glob("*.html")), "the report's template is missing"
    rng = np.random.default_rng(0)
    mean, log_var = torch.from_numpy(rng.normal(size=(257, 3))), torch.from_numpy(rng.normal(size=(257, 3)) - 2)
    weights = torch.log_softmax(torch.from_numpy(rng.normal(size=4)), 0)
    means, log_vars = torch.from_numpy(rng.normal(size=(4, 3))), torch.from_numpy(rng.normal(size=(4, 3)))
    ours = gf.ops.mixture_kl(mean.float(), log_var.float(), weights.float(), means.float(), log_vars.float())
    exact = gf.ops.reference.mixture_kl(mean, log_var, weights, means, log_vars)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)
    centres = np.repeat([[-3.0] * 6, [3.0] * 6], 40, 0)
    x = (centres + rng.normal(size=centres.shape)).astype(np.float32)
    model = gf.GMVAE((6,), latent_dim=2, n_components=2, widths=[8])
    gf.fit(model, x, gf.TrainConfig(epochs=10, n_init=2), progress=False)
    score = gf.smoothness(model.embed(x).mean, {"side": centres[:, 0]}, n_neighbors=5)["side"].score
    assert score > 0.5, score
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "m.safetensors")
        again = gf.load(Path(folder) / "m.safetensors")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    told = subprocess.run(
        [sys.executable, "-m", "gmvae_fast.cli", "info", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(told.stdout)["version"] == gf.__version__
    print(f"gmvae_fast {gf.__version__} in {package}: {status.cpu_instruction_set}, score {score:.3f}")


if __name__ == "__main__":
    main()
