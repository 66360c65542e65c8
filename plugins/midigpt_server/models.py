"""The models that a server answers with: each loaded once, each with so many generations at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.checkpoint.adapter_files import adapter_path
from midigpt_core.corpus.copy_index import index_of_bundle
from midigpt_core.inference import InferenceEngine
from midigpt_core.inference.guarded import guarded
from midigpt_core.inference.scales import GRID_UNITS, SCALES
from midigpt_server.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midigpt_server.settings import ModelSettings

#: Attributes of which /info says whether the model has them.
_NAMED = ("tension", "note_density", "min_polyphony", "max_polyphony", "min_note_duration", "max_note_duration")


@frozen(eq=False)
class Model:
    id: str
    #: The bundle's file name, or repository and name; never the folder.
    label: str
    engine: InferenceEngine
    #: Runs generations, begun in the order of their arrival.
    pool: ThreadPoolExecutor

    @classmethod
    def load(cls, settings: ModelSettings) -> Model:
        """Raises :class:`midigpt_core.errors.MidigptError` for a bundle that cannot be used."""
        if settings.checkpoint is not None:
            engine = InferenceEngine.from_checkpoint(settings.checkpoint, settings.device)
            # For requests of novel music.
            engine.known_bars = index_of_bundle(settings.checkpoint, engine.training_corpus)
            label = Path(settings.checkpoint).name
        else:
            assert settings.pretrained is not None
            engine = InferenceEngine.from_pretrained(
                settings.pretrained, settings.hf_repo, settings.device, settings.hf_token
            )
            label = f"{settings.hf_repo}/{settings.pretrained}"
        # Generations that run at once are read in one batch.
        engine.share_reader()
        pool = ThreadPoolExecutor(settings.max_parallel, thread_name_prefix=f"generate-{settings.id}")
        return cls(settings.id, label, engine, pool)

    @classmethod
    def all_of(cls, settings: ModelSettings) -> list[Model]:
        """The model, and one for each of its adapters: they share the weights that an adapter does not change.

        Raises :class:`midigpt_core.errors.MidigptError` for a bundle or an adapter that cannot be used.
        """
        base = cls.load(settings)
        found = [base]
        for name, path in settings.adapters.items():
            engine = base.engine.adapted(path)
            engine.known_bars = index_of_bundle(adapter_path(path), engine.training_corpus)
            engine.share_reader()
            pool = ThreadPoolExecutor(settings.max_parallel, thread_name_prefix=f"generate-{name}")
            found.append(cls(name, f"{base.label} with {adapter_path(path).name}", engine, pool))
        return found

    def info(self, default_model: str) -> dict[str, Any]:
        """The answer to ``GET /info``."""
        engine = self.engine
        encoder = guarded(engine.encoder, engine.component, "in /info")
        # What the vocabulary has a token for can be asked for.
        attributes = [attribute for attribute in encoder.attributes if attribute.size]
        kinds = {(True, True): "both", (True, False): "melodic", (False, True): "drum", (False, False): "both"}
        config = encoder.to_config()
        names = {attribute.name for attribute in attributes}
        return {
            "model": self.id,
            "default_model": default_model,
            "checkpoint": self.label,
            "resolution": int(config.get("resolution", 12)),
            "attributes": {attribute.name: attribute.size for attribute in attributes},
            "attribute_track_types": {
                attribute.name: kinds[attribute.melodic, attribute.drum] for attribute in attributes
            },
            "attribute_levels": {attribute.name: attribute.level for attribute in attributes},
            "capabilities": {
                **{name: name in names for name in _NAMED},
                "supports_token_mask": "mask_bar" in encoder.provides,
                "supports_attention_mask": True,
                "supports_attention_approx": True,
                "supports_attention_skip": True,
                "supports_remove": True,
                "supports_streaming": True,
                "supports_pitch_mask": "pitch_mask" in encoder.provides,
                "supports_rhythm_mask": "rhythm_mask" in encoder.provides,
                "supports_remix": "remix" in encoder.provides,
                "pitch_mask_scale_presets": sorted(SCALES),
                "rhythm_mask_grid_units": sorted(GRID_UNITS),
                "model_dim_options": list(engine.trained.sizes),
                "max_context_tokens": engine.max_tokens,
                "switchable_velocity": "use_velocity" in encoder.provides,
                "switchable_microtiming": "use_microtiming" in encoder.provides,
                "genres": sorted(config.get("genre_groups", {}), key=encoder.genre_id)
                if "genre" in encoder.provides
                else [],
            },
        }


class Models:
    """All models of a server by their ids."""

    def __init__(self, models: Iterable[Model], default: str | None = None) -> None:
        self._by_id = {model.id: model for model in models}
        self.default = default or next(iter(self._by_id))

    def __getitem__(self, name: str | None) -> Model:
        """The model called ``name``, None or empty: the default. Raises :class:`Refused`."""
        found = self._by_id.get(name or self.default)
        if found is None:
            known = ", ".join(self._by_id)
            raise Refused(400, f"unknown model {str(name)[:60]!r}. Available: {known}.")
        return found

    def listed(self) -> dict[str, Any]:
        """The answer to ``GET /models``."""
        models = [{"id": model.id, "checkpoint": model.label} for model in self._by_id.values()]
        return {"default_model": self.default, "models": models}

    def metrics(self) -> list[str]:
        """Lines for ``GET /metrics``: their quotient is the mean number of generations in a batch."""
        counts = {model.id: model.engine.share_reader() for model in self._by_id.values()}
        lines = []
        for name, what in (("batches", "Batches that the model read"), ("steps", "Steps of generations in them")):
            lines += [f"# HELP midigpt_model_{name}_total {what}.", f"# TYPE midigpt_model_{name}_total counter"]
            lines += [
                f'midigpt_model_{name}_total{{model="{_label(model)}"}} {getattr(reader, name)}'
                for model, reader in counts.items()
            ]
        return lines

    def close(self) -> None:
        for model in self._by_id.values():
            model.pool.shutdown(wait=False, cancel_futures=True)


def _label(text: str) -> str:
    """``text`` as the value of a Prometheus label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
