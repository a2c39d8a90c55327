"""Strouhal number and drag of the free stream on other grids: what resolution, Mach number and blockage each change.

    python scripts/wake_variants.py --reynolds 2000           about 5 minutes of one core

The first row is the "demo" size. Means over the last 40 D/U of 150.
"""

from __future__ import annotations

import argparse
import threading

from gmvae_fast.data.systems.wake.validation_cases import stream

#: Name -> cells a diameter, velocity of the stream in cells a step, domain (length, height, upstream) in diameters.
VARIANTS = {
    "demo: D = 20, U = 0.1, 24 x 16": (20, 0.1, (24.0, 16.0, 8.0)),
    "half the Mach number": (20, 0.05, (24.0, 16.0, 8.0)),
    "half the blockage": (20, 0.1, (24.0, 32.0, 8.0)),
    "twice the resolution": (40, 0.1, (24.0, 16.0, 8.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reynolds", type=float, default=2000.0)
    options = parser.parse_args()
    for name, (cells, velocity, domain) in VARIANTS.items():
        measured = stream(threading.Event(), options.reynolds, cells, velocity, domain, 150.0)
        print(f"{name:32} St {measured['Strouhal']:.4f}  Cd {measured['drag']:.3f}", flush=True)


if __name__ == "__main__":
    main()
