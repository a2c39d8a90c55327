"""Measures of results against what is known: clusters against classes, fields against fields, fields against laws."""

from gmvae_fast.metrics.agreement import ClusterAgreement as ClusterAgreement
from gmvae_fast.metrics.agreement import cluster_agreement as cluster_agreement
from gmvae_fast.metrics.divergence import Divergence as Divergence
from gmvae_fast.metrics.divergence import divergence as divergence
from gmvae_fast.metrics.errors import relative_l2 as relative_l2
from gmvae_fast.metrics.spectra import EnergySpectrum as EnergySpectrum
from gmvae_fast.metrics.spectra import energy_spectrum as energy_spectrum
