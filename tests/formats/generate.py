"""Write files of the newest formats into this folder, once, when a version has been raised.

    python tests/formats/generate.py

Each kind of file has a version of its own; ``vN`` holds the kinds whose version N was the newest when it was written,
with the data they come from and what they gave then. Files of earlier versions stay as they are: what wrote them is
gone. `tests/test_formats.py` reads all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import gmvae_fast as gf
from gmvae_fast import model as models
from gmvae_fast.data.layouts import snapshot_file
from gmvae_fast.generation import conditional
from gmvae_fast.training import checkpoint

FOLDER = Path(__file__).parent
VERSIONS = {
    "model.safetensors": models.FORMAT_VERSION,
    "checkpoint.safetensors": checkpoint.VERSION,
    "snapshots.npz": snapshot_file.FORMAT_VERSION,
    "generator.safetensors": conditional.FORMAT_VERSION,
}


class _Stop(Exception):
    pass


def _stop(record: gf.history.EpochRecord) -> None:
    if record.epoch == 12:
        raise _Stop


def data() -> np.ndarray:
    """Three groups with gaps, which the newest formats can hold."""
    generator = np.random.default_rng(0)
    centres = 3 * generator.standard_normal((3, 6))
    x = centres[np.arange(60) % 3] + 0.3 * generator.standard_normal((60, 6))
    x[generator.uniform(size=x.shape) < 0.02] = np.nan
    return x.astype(np.float32)


def snapshots() -> gf.data.Snapshots:
    """Everything that the layout knows of."""
    x = np.nan_to_num(data())[:12].reshape(12, 1, 2, 3)
    return gf.data.Snapshots(
        x,
        ("u",),
        {"Re": np.arange(12.0)},
        {"group": np.arange(12) % 3},
        np.arange(12) // 4,
        np.arange(12.0) % 4,
        {"x": np.arange(3.0), "y": np.arange(2.0)},
        np.array([[True, True, False], [True, True, True]]),
        {"system": "none", "label_names": {"group": ["a", "b", "c"]}},
    )


def write(kind: str, folder: Path) -> None:
    """One file, its data, and what it gives."""
    folder.mkdir(exist_ok=True)
    if kind == "snapshots.npz":
        snapshots().save(folder / kind)
        return
    if kind == "generator.safetensors":
        _write_generator(folder)
        return
    x = data()
    config = gf.TrainConfig(epochs=20, batch_size=16, n_init=2, on_nan="mask")
    model = gf.GMVAE((6,), latent_dim=2, n_components=3, widths=(8,))
    np.savez(folder / f"{Path(kind).stem}_data.npz", x)
    if kind == "checkpoint.safetensors":
        try:
            gf.fit(model, x, config, checkpoint=folder / kind, checkpoint_every=4, on_epoch=_stop, progress=False)
        except _Stop:
            return
    gf.fit(model, x, config, progress=False)
    model.save(folder / kind)
    np.savez(folder / "model_embedding.npz", model.embed(x).mean)


def _write_generator(folder: Path) -> None:
    """With the model that it decodes by, which a generator's file does not hold."""
    conditions = np.random.default_rng(1).uniform(size=(60, 2))
    x = np.column_stack([conditions, conditions @ [1.0, -1.0], conditions[:, 0] ** 2]).astype(np.float32)
    model = gf.GMVAE((4,), latent_dim=2, n_components=2, widths=(8,))
    gf.fit(model, x, gf.TrainConfig(epochs=20, batch_size=20, n_init=2, beta=0.1), progress=False)
    model.save(folder / "generator_model.safetensors")
    generator = conditional.ConditionalGenerator(widths=(8,), steps=200)
    generator.fit(model, x, conditions, names=["alpha", "gamma"])
    generator.save(folder / "generator.safetensors")
    np.savez(folder / "generator_data.npz", conditions[:10])
    np.savez(folder / "generator_fields.npz", generator.predict(conditions[:10]))


def main() -> None:
    for kind, version in VERSIONS.items():
        folder = FOLDER / f"v{version}"
        if not (folder / kind).exists():
            write(kind, folder)
            print(f"{folder / kind}: written")


if __name__ == "__main__":
    main()
