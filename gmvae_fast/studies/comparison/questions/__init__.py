"""The questions of the study, in the order of the report. A new one is a file, and one line here."""

from gmvae_fast.studies.comparison.questions import (
    components,
    conditions,
    reconstruction,
    regimes,
    samples,
    sensitivity,
    smoothness,
    stability,
)
from gmvae_fast.studies.comparison.questions.base import Question as Question

QUESTIONS: dict[str, Question] = {
    module.QUESTION.name: module.QUESTION
    for module in (smoothness, regimes, stability, sensitivity, reconstruction, conditions, components, samples)
}
