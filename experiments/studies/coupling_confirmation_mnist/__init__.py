"""The confirmation of docs/coupling.md on MNIST."""

from experiments.studies.coupling_confirmation import sections
from experiments.studies.coupling_confirmation_mnist.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(get_config, sweep, sections, "coupling.md", shorten=epochs(1))
