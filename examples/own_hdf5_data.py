"""My own HDF5 turbulence data in 20 lines: train, find regimes, score the latent space.

    python examples/own_hdf5_data.py                     # writes a small file of decaying vortices first
    python examples/own_hdf5_data.py my_runs.h5          # velocity [run, time, x, y, 2] and nu [run] in it

Prints the regimes' shares and how smoothly viscosity and energy vary over the latent map.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import h5py
import numpy as np

import gmvae_fast as gf


def analyse(path: str | Path, epochs: int) -> gf.spectral.SmoothnessResult:
    """The twenty lines."""
    files = gf.open_snapshots(path, fields=["velocity"], dims="b t x y c")  # read as needed, whatever the size
    split = gf.data.split_by_trajectory(files, test_fraction=0.25, seed=0)  # whole runs are held out, never frames
    model = gf.GMVAE(files.shape, latent_dim=2, n_components=2)
    gf.fit(model, files.subset(split.train), gf.TrainConfig(epochs=epochs, seed=0), held_out=files.subset(split.test))

    latents, regimes = model.embed(files).mean, model.predict(files)
    print("shares of the regimes:", np.bincount(regimes, minlength=2) / len(regimes))

    with h5py.File(path) as file:
        viscosity = np.repeat(file["nu"][:], file["velocity"].shape[1])
        energy = np.square(file["velocity"][:]).mean((2, 3, 4)).ravel()
    result = gf.smoothness(latents, {"log nu": np.log(viscosity), "energy": energy}, groups=files.trajectory)
    print(result)
    return result


def write_vortices(path: Path, n_runs: int, n_times: int = 8, side: int = 24) -> None:
    """Taylor-Green vortices of one or two waves a side, which decay with their viscosity; a stand-in for one's data."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*[2 * np.pi * np.arange(side) / side] * 2, indexing="ij")
    nu = 10 ** rng.uniform(-2, -0.5, n_runs)
    velocity = np.empty((n_runs, n_times, side, side, 2), np.float32)
    for run, waves in enumerate(1 + np.arange(n_runs) % 2):
        for time in range(n_times):
            decay = np.exp(-2 * nu[run] * waves**2 * 0.3 * time)
            u = np.sin(waves * x) * np.cos(waves * y)
            v = -np.cos(waves * x) * np.sin(waves * y)
            velocity[run, time] = decay * np.stack([u, v], -1) + 0.01 * rng.standard_normal((side, side, 2))
    with h5py.File(path, "w") as file:
        file["velocity"], file["nu"] = velocity, nu


def main(arguments: list[str] | None = None) -> gf.spectral.SmoothnessResult:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="HDF5 file; default: decaying vortices")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--runs", type=int, default=40, help="of the vortices")
    options = parser.parse_args(arguments)
    if options.path:
        return analyse(options.path, options.epochs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vortices.h5"
        write_vortices(path, options.runs)
        return analyse(path, options.epochs)


if __name__ == "__main__":
    main()
