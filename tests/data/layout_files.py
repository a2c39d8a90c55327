"""Small files in the documented layouts, with values that tell where they stand."""

import h5py
import numpy as np


def numbers(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def the_well(path, samples=2, times=3, grid=(4, 5), constant=True):
    """(path, {name: array [samples, times, *grid, ...]})."""
    d = len(grid)
    axes = ["x", "y", "z"][:d]
    arrays = {
        "density": numbers(samples, times, *grid, seed=1),
        "velocity": numbers(samples, times, *grid, d, seed=2),
        "stress": numbers(samples, times, *grid, d, d, seed=3),
    }
    with h5py.File(path, "w") as f:
        f.attrs.update(
            dataset_name="test",
            grid_type="cartesian",
            n_spatial_dims=d,
            n_trajectories=samples,
            Schmidt=0.5,
            Reynolds=100,
        )
        f.attrs["simulation_parameters"] = ["Schmidt", "Reynolds"]
        dims = f.create_group("dimensions")
        dims.attrs["spatial_dims"] = axes
        time = dims.create_dataset("time", data=np.linspace(0, 1, times))
        time.attrs.update(sample_varying=False)
        for name, n in zip(axes, grid, strict=True):
            dims.create_dataset(name, data=np.linspace(0, 2, n)).attrs.update(sample_varying=False, time_varying=False)
        f.create_group("boundary_conditions")
        scalars = f.create_group("scalars")
        scalars.attrs["field_names"] = ["Reynolds", "viscosity", "energy", "forcing"]
        for name, value, sample, time in (
            ("viscosity", np.arange(samples) + 0.5, True, False),
            ("energy", numbers(samples, times, seed=4), True, True),
            ("forcing", np.arange(times) * 2.0, False, True),
        ):
            scalars.create_dataset(name, data=value).attrs.update(sample_varying=sample, time_varying=time)
        for rank, name in enumerate(["density", "velocity", "stress"]):
            group = f.create_group(f"t{rank}_fields")
            group.attrs["field_names"] = [name]
            group.create_dataset(name, data=arrays[name]).attrs.update(
                dim_varying=[True] * d, sample_varying=True, time_varying=True
            )
        if constant:
            arrays["permeability"] = numbers(samples, grid[0], seed=5)
            f["t0_fields"].create_dataset("permeability", data=arrays["permeability"]).attrs.update(
                dim_varying=[True] + [False] * (d - 1), sample_varying=True, time_varying=False
            )
    return arrays


def pdebench_compressible(path, n=2, times=3, grid=(4, 5)):
    names = ["density", "pressure", "Vx", "Vy", "Vz"][: 2 + len(grid)]
    arrays = {name: numbers(n, times, *grid, seed=i) for i, name in enumerate(names)}
    with h5py.File(path, "w") as f:
        f.attrs.update(M=0.1, eta=0.01)
        for name, values in arrays.items():
            f[name] = values
        for axis, size in zip("xyz", grid, strict=False):
            f[f"{axis}-coordinate"] = np.arange(size, dtype=np.float32)
        f["t-coordinate"] = np.linspace(0, 1, times + 1, dtype=np.float32)  # one more, as published
    return arrays


def pdebench_tensor(path, shape, nu=False):
    array = numbers(*shape)
    with h5py.File(path, "w") as f:
        f["tensor"] = array
        for axis, size in zip("xyz", shape[2:], strict=False):
            f[f"{axis}-coordinate"] = np.arange(size, dtype=np.float32)
        if nu:
            f["nu"] = numbers(shape[0], *shape[2:], seed=9)
        else:
            f["t-coordinate"] = np.arange(shape[1] + 1, dtype=np.float32)
    return array


def pdebench_incompressible(path, n=2, times=3, grid=(4, 5)):
    arrays = {
        "velocity": numbers(n, times, *grid, 2, seed=1),
        "particles": numbers(n, times, *grid, 1, seed=2),
        "force": numbers(n, *grid, 2, seed=3),
        "t": np.arange(n * times, dtype=np.float32).reshape(n, times),
    }
    with h5py.File(path, "w") as f:
        for name, values in arrays.items():
            f[name] = values
    return arrays


def pdebench_groups(path, n=3, times=4, grid=(5, 6), channels=2):
    arrays = [numbers(times, *grid, channels, seed=i) for i in range(n)]
    with h5py.File(path, "w") as f:
        for i, values in enumerate(arrays):
            f[f"{i:04d}/data"] = values
            f[f"{i:04d}/grid/t"] = np.linspace(0, 5, times)
            for axis, size in zip("xy", grid, strict=False):
                f[f"{i:04d}/grid/{axis}"] = np.arange(size, dtype=np.float32)
    return arrays


def jhtdb(path, times=(1, 2, 10), grid=(3, 4, 5)):
    velocity = {t: numbers(*grid, 3, seed=t) for t in times}
    pressure = {t: numbers(*grid, 1, seed=100 + t) for t in times}
    with h5py.File(path, "w") as f:
        for t in times:
            f[f"Velocity_{t:04d}"] = velocity[t]
            f[f"Pressure_{t:04d}"] = pressure[t]
        for axis, size in zip("zyx", grid, strict=True):
            f[f"{axis}coor"] = np.arange(size, dtype=np.float32)
    return velocity, pressure
