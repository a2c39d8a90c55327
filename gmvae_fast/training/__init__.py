"""Training of a GM-VAE: `fit`, the loop over epochs, and the schemes by which the mixture is trained."""

from gmvae_fast.training.diagnostics import fluctuation_error as fluctuation_error
from gmvae_fast.training.fitting import fit as fit
from gmvae_fast.training.run import TrainingDiverged as TrainingDiverged
