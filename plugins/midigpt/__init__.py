"""The documented front door: re-exports only.

``midigpt.training.trainer`` (``TrainConfig``, ``train``), ``midigpt.training.preprocess``, ``midigpt.inference``
(``InferenceEngine``) and ``midigpt.tokenizer`` (``load_checkpoint``). Everything lives in :mod:`midigpt_core`.
"""
