"""Bundled plugin: the checkpoint format ``legacy-directory``, a folder of config.json and a TorchScript model.pt."""
