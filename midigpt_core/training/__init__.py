"""Training: :mod:`~midigpt_core.training.run` shows a run from start to end.

The packages, in the order of a run: ``planning`` decides everything that needs no torch; ``processes`` starts and
watches the processes; ``loop`` takes the steps; ``keeping`` saves them; ``reporting`` reports them. Each imports only
from those below it in the import contract "The rooms of training" (pyproject.toml).
"""
