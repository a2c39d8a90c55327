"""Nearest-neighbour graphs of latents, their Laplacians, and the smoothness of quantities over them."""

from gmvae_fast.spectral._krylov import EigenConvergenceError as EigenConvergenceError
from gmvae_fast.spectral.eigen import EigenPairs as EigenPairs
from gmvae_fast.spectral.eigen import eigenpairs as eigenpairs
from gmvae_fast.spectral.geary import WeightSums as WeightSums
from gmvae_fast.spectral.geary import normality_variance as normality_variance
from gmvae_fast.spectral.geary import randomization_variance as randomization_variance
from gmvae_fast.spectral.graph import knn_graph as knn_graph
from gmvae_fast.spectral.laplacian import Components as Components
from gmvae_fast.spectral.laplacian import connected_components as connected_components
from gmvae_fast.spectral.laplacian import degrees as degrees
from gmvae_fast.spectral.laplacian import laplacian as laplacian
from gmvae_fast.spectral.measure import DensityOfStates as DensityOfStates
from gmvae_fast.spectral.measure import SpectralMeasure as SpectralMeasure
from gmvae_fast.spectral.measure import density_of_states as density_of_states
from gmvae_fast.spectral.measure import spectral_measure as spectral_measure
from gmvae_fast.spectral.neighbors import Neighbors as Neighbors
from gmvae_fast.spectral.neighbors import nearest_neighbors as nearest_neighbors
from gmvae_fast.spectral.quadrature import Bounds as Bounds
from gmvae_fast.spectral.results import SignalSmoothness as SignalSmoothness
from gmvae_fast.spectral.results import SmoothnessResult as SmoothnessResult
from gmvae_fast.spectral.smoothness import one_vs_rest as one_vs_rest
from gmvae_fast.spectral.smoothness import smoothness as smoothness
from gmvae_fast.spectral.sweep import NeighborSweep as NeighborSweep
from gmvae_fast.spectral.sweep import neighbor_sweep as neighbor_sweep
