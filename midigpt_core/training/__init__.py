"""Training: :mod:`~midigpt_core.training.run` is the table of contents of a run.

Its rooms, in the order of a run: ``planning`` settles everything that needs no torch; ``processes`` starts and watches
the processes; ``loop`` takes the steps; ``keeping`` saves them; ``reporting`` tells of them. Each imports only from
those named below it in the import contract "The rooms of training" (pyproject.toml).
"""
