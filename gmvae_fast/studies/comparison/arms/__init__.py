"""The contenders. A new one is a file with a way to fit it, and one line here."""

from gmvae_fast.studies.comparison.arms.base import Arm as Arm
from gmvae_fast.studies.comparison.arms.base import Budget as Budget
from gmvae_fast.studies.comparison.arms.base import Fitted as Fitted
from gmvae_fast.studies.comparison.arms.baseline import baseline_arm
from gmvae_fast.studies.comparison.arms.gmvae import gmvae_arm

#: The arm that the others are compared with.
REFERENCE = "block"

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        gmvae_arm("block", "GM-VAE, block-coordinate EM", "block", "exact"),
        gmvae_arm("block_sampled", "GM-VAE, block-coordinate EM, sampled assignment", "block", "sampled"),
        gmvae_arm("block_mean", "GM-VAE, block-coordinate EM, assignment of the mean", "block", "mean"),
        gmvae_arm("means", "GM-VAE, PIMA as published: means in closed form, sampled assignment", "means", "sampled"),
        gmvae_arm("means_mean", "GM-VAE, means in closed form, assignment of the mean", "means", "mean"),
        gmvae_arm("joint", "GM-VAE, all by Adam (VaDE), sampled assignment", "joint", "sampled"),
        gmvae_arm("joint_mean", "GM-VAE, all by Adam, assignment of the mean", "joint", "mean"),
        gmvae_arm("joint_exact", "GM-VAE, all by Adam, exact assignment", "joint", "exact"),
        baseline_arm("pca"),
        baseline_arm("ae"),
        baseline_arm("vae"),
        baseline_arm("isomap"),
        baseline_arm("umap"),
        baseline_arm("tsne"),
    )
}
