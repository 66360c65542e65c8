"""The documented public API: re-exports only.

``midigpt.training.trainer`` (``TrainConfig``, ``train``), ``midigpt.training.preprocess``, ``midigpt.inference``
(``InferenceEngine``) and ``midigpt.tokenizer`` (``load_checkpoint``). The code is in :mod:`midigpt_core`.
"""
