"""The kinds of component that a plugin can provide. This is the only list of them.

Names that depend only on the kind are derived from the member: its hook, its setting, its option.
"""

from __future__ import annotations

from enum import StrEnum

from midigpt_core.errors import PluginError, unknown_name

#: Names that version 0.1 used for a kind in ``midigpt plugins new --kind``.
_OLD_NAMES = {"format": "checkpoint-format"}
#: Kinds whose words are not their names.
_WORDS = {"optimizer": "optimiser", "attribute": "attribute control"}


class Kind(StrEnum):
    """One kind of component; equal to its name, such as ``"checkpoint-format"``.

    ``Kind(text)`` also takes a space or ``_`` for ``-``. Raises :class:`midigpt_core.errors.PluginError` for any other
    text.
    """

    SOURCE = "source"
    ENCODER = "encoder"
    MASK = "mask"
    ARCHITECTURE = "architecture"
    OPTIMIZER = "optimizer"
    LOGGER = "logger"
    CHECKPOINT_FORMAT = "checkpoint-format"
    METRIC = "metric"
    ATTRIBUTE = "attribute"
    ADAPTER = "adapter"

    @property
    def words(self) -> str:
        """The kind in a sentence, in British spelling: ``checkpoint format``, ``optimiser``."""
        return _WORDS.get(self.value) or self.value.replace("-", " ")

    @property
    def with_article(self) -> str:
        """``a checkpoint format``, ``an encoder``."""
        return f"{'an' if self.words[0] in 'aeiou' else 'a'} {self.words}"

    @property
    def setting(self) -> str:
        """The field of the configuration that chooses a component of this kind: ``checkpoint_format``.

        A kind outside :data:`RUN_KINDS` has no such field; the name still appears in messages and module names.
        """
        return self.value.replace("-", "_")

    @property
    def option(self) -> str:
        """The option of the command line that chooses a component of this kind: ``--checkpoint-format``."""
        return f"--{self.value}"

    @property
    def hook(self) -> str:
        """The function of :mod:`midigpt_core.hookspecs` that returns records of this kind."""
        return f"midigpt_{self.setting}s"

    @classmethod
    def _missing_(cls, value: object) -> Kind:
        name = str(value).replace(" ", "-").replace("_", "-")
        name = _OLD_NAMES.get(name, name)
        found = next((kind for kind in cls if kind.value == name), None)
        if found is None:
            raise PluginError(unknown_name("kind of component", str(value), [kind.value for kind in cls]))
        return found


#: The kinds of which a training run has exactly one component, chosen by :attr:`Kind.setting`. A run has any number of
#: metrics, and its encoder any number of attribute controls.
RUN_KINDS: tuple[Kind, ...] = tuple(kind for kind in Kind if kind not in (Kind.METRIC, Kind.ATTRIBUTE))
