"""Ends a run whose evaluation loss has not improved for some evaluations."""

from lightning.pytorch.callbacks import Callback


class Patience(Callback):
    def __init__(self, evaluations):
        self.evaluations = evaluations
        self.best = float("inf")
        self.since_best = 0

    def on_validation_end(self, trainer, pl_module):
        loss = float(trainer.callback_metrics["eval_loss"])
        self.since_best = 0 if loss < self.best else self.since_best + 1
        self.best = min(self.best, loss)
        if self.since_best >= self.evaluations:
            trainer.should_stop = True

    # The state is part of the run's checkpoints, so a run that is resumed waits no longer than one that was not.
    def state_dict(self):
        return {"best": self.best, "since_best": self.since_best}

    def load_state_dict(self, state_dict):
        self.best, self.since_best = state_dict["best"], state_dict["since_best"]
