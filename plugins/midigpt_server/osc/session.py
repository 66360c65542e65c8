"""A session over OSC: what arrives changes the piece, and the end of a bar may make the agent write the next one.

One session per process. Messages are handled one after another; a generation runs in a thread of its own. While it runs
one more may wait, with the bar that it is to write; further ones are dropped. The timing is that of midigpt 0.4.2: with
lookahead k and playhead P, the number of closed bars, the end of a bar makes the agent write from bar P + k on, once
P + k is ``buffer_bars`` (P, without ``adapt_buffer``).
"""

from __future__ import annotations

import json
import threading
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core.config.wording import spell
from midigpt_core.encoding.encode_one import Part
from midigpt_core.errors import ComponentError, MidigptError, nearest
from midigpt_core.inference import GenerationRequest, InferenceConfig, TrackPrompt
from midigpt_core.inference.outcome import attribute_levels
from midigpt_core.score import editing
from midigpt_core.terminal import logger
from midigpt_server.osc.features import features
from midigpt_server.osc.parameters import Parameters
from midigpt_server.osc.piece import LiveTrack, Piece
from midigpt_server.refusals import failure_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.inference import InferenceEngine, SamplingSession
    from midigpt_core.score import Score

_log = logger(__name__)
_DRUM = 11
_MOST_BARS = 20_000
_MOST_NOTES = 200_000
#: Onsets stay below the end of the bar, and notes have a length.
_LAST_ONSET = 0.9999
_SHORTEST = 0.0001


class State(Enum):
    UNINITIALIZED = auto()
    INITIALIZING = auto()
    RUNNING = auto()
    STOPPED = auto()


class OscError(Exception):
    """What ``/error`` reports: a code and a text."""

    STATE, UNKNOWN_TRACK, DUPLICATE_TRACK, PARAMETER, GENERATION, NO_AGENT, TWO_AGENTS, AGENT_NOTE = range(1, 9)

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@frozen(eq=False, kw_only=True)
class _Task:
    """A generation: everything that it needs, taken from the session when it begins."""

    #: Sessions before it are over.
    number: int
    session: SamplingSession
    first: int
    #: Bars of the piece that are kept and sent.
    bars: range
    #: Bars that are written.
    written: range
    agent: LiveTrack
    place: int
    timeout: float


class LiveSession:
    """The session of a process; :meth:`handle` takes messages, ``send(address, *arguments)`` sends the answers.

    ``send`` is called in the threads of :meth:`handle` and of generations, one at a time.
    """

    def __init__(self, engine: InferenceEngine, send: Callable[..., None]) -> None:
        self._engine = engine
        self._send = send
        self._lock = threading.RLock()
        self._state = State.UNINITIALIZED
        self._resolution = int(engine.encoder.to_config().get("resolution", 12))
        self._piece = Piece(self._resolution)
        self._parameters = Parameters()
        self._attributes: dict[str, int] = {}
        self._sessions = 0
        self._running: _Task | None = None
        self._thread: threading.Thread | None = None
        #: The first bar of the generation that waits.
        self._next: int | None = None
        self._handlers: dict[str, Callable[..., None]] = {
            "/session/init": self._init,
            "/session/start": self._start,
            "/session/stop": self._stop,
            "/track/create": self._create_track,
            "/track/remove": self._remove_track,
            "/track/set_ignore": self._set_ignore,
            "/track/param/set": self._set_track_parameter,
            "/note": self._note,
            "/bar/end": self._end_bar,
            "/param/set": self._set,
            "/param/set_once": lambda name, value: self._set(name, value, once=True),
            "/param/reset": self._reset,
            "/param/reset_all": self._parameters_reset_all,
            "/attr/set": self._set_attribute,
            "/attr/reset_all": self._attributes_reset_all,
        }
        #: How many arguments each takes; more are ignored.
        self._counts = {"/session/init": 0, "/session/start": 0, "/session/stop": 0, "/track/create": 4,
                        "/track/remove": 1, "/track/set_ignore": 2, "/track/param/set": 3, "/note": 6, "/bar/end": 3,
                        "/param/set": 2, "/param/set_once": 2, "/param/reset": 1, "/param/reset_all": 0,
                        "/attr/set": 2, "/attr/reset_all": 0}  # fmt: skip

    def handle(self, address: str, *arguments: Any) -> None:
        """Carry out a message; ``address`` is without ``/midigpt``. What is wrong with it is sent as ``/error``."""
        with self._lock:
            try:
                handler = self._handlers.get(address)
                if handler is None:
                    raise OscError(
                        OscError.PARAMETER, f"there is no message {spell(address)}.{nearest(address, self._handlers)}"
                    )
                count = self._counts[address]
                if len(arguments) < count:
                    raise OscError(OscError.PARAMETER, f"{address} takes {count} arguments, not {len(arguments)}.")
                handler(*arguments[:count])
            except OscError as error:
                self._send("/error", error.code, str(error))
            except (MidigptError, ComponentError) as error:
                self._send("/error", OscError.PARAMETER, failure_text(error))

    def close(self) -> None:
        """End the session and its generation."""
        with self._lock:
            self._end_generations()
            self._state = State.STOPPED
            thread = self._thread
        if thread is not None:
            thread.join()

    # --- the session ---------------------------------------------------------------------------------------------

    def _init(self) -> None:
        self._end_generations()
        self._sessions += 1
        self._piece = Piece(self._resolution)
        self._parameters.reset_all()
        self._attributes.clear()
        self._state = State.INITIALIZING
        self._send("/capabilities", json.dumps(self._capabilities()))
        self._send("/session/ready")

    def _capabilities(self) -> dict[str, bool]:
        encoder = self._engine.encoder
        names = {attribute.name for attribute in encoder.attributes if attribute.size}
        known = ("tension", "note_density", "min_polyphony", "max_polyphony", "min_note_duration", "max_note_duration")
        return {
            **{name: name in names for name in known},
            "supports_token_mask": "mask_bar" in encoder.provides,
            "supports_attention_mask": True,
            "supports_attention_approx": True,
            "supports_attention_skip": True,
            "supports_remove": True,
        }

    def _start(self) -> None:
        self._require(State.INITIALIZING)
        if self._piece.agent is None:
            raise OscError(OscError.NO_AGENT, "there is no agent. Create a track with agent 1.")
        if len(self._piece.tracks) < 2:
            raise OscError(OscError.UNKNOWN_TRACK, "the agent has nothing to hear. Create another track.")
        self._check_window()
        self._state = State.RUNNING
        self._send("/session/started")

    def _check_window(self) -> None:
        window, sizes = self._window(), self._engine.trained.sizes
        if sizes and window not in sizes:
            listed = ", ".join(map(str, sizes))
            raise OscError(OscError.PARAMETER, f"model_dim is {window}. The model has windows of {listed} bars.")
        buffer = self._parameters["buffer_bars"]
        if buffer > window:
            raise OscError(OscError.PARAMETER, f"buffer_bars is {buffer}, more than model_dim, {window}.")
        anticipated = self._parameters["num_anticipated_bars"]
        if anticipated > window:
            raise OscError(OscError.PARAMETER, f"num_anticipated_bars is {anticipated}, more than model_dim, {window}.")

    def _window(self) -> int:
        """The window in bars; the default is the widest that the model has, up to 8."""
        sizes, window = self._engine.trained.sizes, int(self._parameters["model_dim"])
        if self._parameters.is_default("model_dim") and sizes and window not in sizes:
            return max((size for size in sizes if size <= window), default=min(sizes))
        return window

    def _stop(self) -> None:
        self._end_generations()
        self._sessions += 1
        self._state = State.STOPPED
        self._send("/session/stopped")

    def _require(self, *states: State) -> None:
        if self._state not in states:
            allowed = " or ".join(state.name for state in states)
            raise OscError(OscError.STATE, f"the session is {self._state.name}; this message needs {allowed}.")

    # --- tracks --------------------------------------------------------------------------------------------------

    def _create_track(self, number: Any, program: Any, kind: Any, agent: Any) -> None:
        self._require(State.INITIALIZING, State.RUNNING)
        track = _whole(number, "id")
        if track in self._piece.tracks:
            raise OscError(OscError.DUPLICATE_TRACK, f"track {track} is there already. Choose another id.")
        if agent and self._piece.agent is not None:
            raise OscError(OscError.TWO_AGENTS, f"track {self._piece.agent.id} is the agent. There is one at most.")
        if len(self._piece.tracks) >= 128:
            raise OscError(OscError.PARAMETER, "a piece has at most 128 tracks.")
        program = _whole(program, "program", 0, 127)
        self._piece.tracks[track] = LiveTrack(track, program, _whole(kind, "type") == _DRUM, bool(agent))

    def _remove_track(self, number: Any) -> None:
        self._require(State.INITIALIZING, State.RUNNING)
        track = self._track(number)
        if track.agent:
            raise OscError(OscError.STATE, "the agent cannot be removed. Begin another session.")
        del self._piece.tracks[track.id]

    def _set_ignore(self, number: Any, value: Any) -> None:
        self._require(State.INITIALIZING, State.RUNNING)
        track = self._track(number)
        if track.agent:
            raise OscError(OscError.PARAMETER, "the agent cannot be ignored.")
        track.ignored = bool(value)

    def _set_track_parameter(self, number: Any, name: Any, value: Any) -> None:
        self._require(State.INITIALIZING, State.RUNNING)
        track = self._track(number)
        if name == "ignore" and not track.agent:
            track.ignored = bool(value)
        elif name == "temperature":
            # Of the agent alone: nothing is sampled for other tracks.
            checked = Parameters()
            checked.set("temperature", value)
            track.temperature = checked["temperature"] if track.agent else None
        elif name in ("min_pitch", "max_pitch") and track.agent:
            pitch = _whole(value, name, 0, 127)
            low, high = track.pitches
            track.pitches = (pitch, high) if name == "min_pitch" else (low, pitch)
        else:
            names = "temperature, min_pitch, max_pitch" if track.agent else "ignore, temperature"
            raise OscError(OscError.PARAMETER, f"track {track.id} has no parameter {spell(name)}, but {names}.")

    def _track(self, number: Any) -> LiveTrack:
        track = self._piece.tracks.get(_whole(number, "id"))
        if track is None:
            raise OscError(OscError.UNKNOWN_TRACK, f"there is no track {spell(number)}. Create it.")
        return track

    # --- music ---------------------------------------------------------------------------------------------------

    def _note(self, number: Any, *note: Any) -> None:
        self._require(State.RUNNING)
        pitch, velocity, onset, duration, bar = note
        track = self._track(number)
        if track.agent:
            raise OscError(OscError.AGENT_NOTE, "notes of the agent are its own: this one was ignored.")
        place = _whole(bar, "bar", 0, _MOST_BARS)
        read = (
            _whole(pitch, "pitch", 0, 127),
            _whole(velocity, "velocity", 0, 127),
            min(_number(onset, "onset", 0, 1), _LAST_ONSET),
            _number(duration, "duration", 0, _MOST_BARS),
        )
        if sum(map(len, track.bars.values())) >= _MOST_NOTES:
            raise OscError(OscError.PARAMETER, f"track {track.id} has {_MOST_NOTES:,} notes. Begin another session.")
        track.bars.setdefault(place, []).append(read)

    def _end_bar(self, bar: Any, numerator: Any, denominator: Any) -> None:
        self._require(State.RUNNING)
        number = _whole(bar, "bar", 0, _MOST_BARS)
        signature = _whole(numerator, "numerator", 1, 255), _whole(denominator, "denominator", 1, 255)
        accepted = self._engine.encoder.accepts_signatures(*(np.array([part], np.int32) for part in signature))
        if accepted is not None and not accepted[0]:
            raise OscError(OscError.PARAMETER, f"the model has no time signature {signature[0]}/{signature[1]}.")
        if not self._piece.close_bar(number, signature):
            return
        lookahead = self._parameters["lookahead_bars"]
        ready = self._piece.playhead + (lookahead if self._parameters["adapt_buffer"] else 0)
        if ready >= self._parameters["buffer_bars"]:
            self._trigger(self._piece.playhead + lookahead)

    # --- parameters ----------------------------------------------------------------------------------------------

    def _set(self, name: Any, value: Any, *, once: bool = False) -> None:
        self._parameters.set(name, value, once=once)

    def _reset(self, name: Any) -> None:
        self._parameters.reset(name)

    def _parameters_reset_all(self) -> None:
        self._parameters.reset_all()

    def _set_attribute(self, name: Any, level: Any) -> None:
        known = {attribute.name: attribute for attribute in self._engine.encoder.attributes if attribute.size}
        if not isinstance(name, str) or name not in known:
            raise OscError(OscError.PARAMETER, f"the model has no attribute {spell(name)}.{nearest(str(name), known)}")
        level = _whole(level, f"attribute {name}", high=known[name].size - 1)
        if level < 0:
            self._attributes.pop(name, None)
        else:
            self._attributes[name] = level

    def _attributes_reset_all(self) -> None:
        self._attributes.clear()

    # --- generations ---------------------------------------------------------------------------------------------

    def _trigger(self, target: int) -> None:
        """Let the agent write from bar ``target`` on: now, or after the generation that runs."""
        if self._thread is None:
            self._begin(target)
        elif self._next is None:
            self._next = target
        else:
            _log.warning("bar %d is not written: one generation runs and one waits.", target)

    def _begin(self, target: int) -> None:
        try:
            task = self._task(target)
        except (MidigptError, ComponentError) as error:
            self._send("/error", OscError.GENERATION, failure_text(error))
            return
        self._running = task
        self._thread = threading.Thread(target=self._carry_out, args=(task,), name="osc-generation", daemon=True)
        self._send("/status", "generating")
        self._send("/prompt/state", json.dumps(self._prompt_state(task)))
        self._thread.start()

    def _task(self, target: int) -> _Task:
        """Raises MidigptError for a request that the model cannot take."""
        self._check_window()
        agent, window, anticipated = self._piece.agent, self._window(), int(self._parameters["num_anticipated_bars"])
        assert agent is not None
        heard = [track for track in self._piece.tracks.values() if not track.ignored or track.agent]
        end = max(target + anticipated, window)
        policy = self._parameters["warmup_policy"]
        begins = policy in ("b", "b_collapse") and not any(agent.bars.values())
        first = 0 if begins and policy == "b" else end - window
        written = range(first if begins else target, target + anticipated)
        earlier = [bar for bar in range(first, written.start) if not agent.bars.get(bar)]
        masked = [*(earlier if policy == "a_masked" else ()), *range(written.stop, end)]
        place = heard.index(agent)
        prompts = [
            TrackPrompt(
                id=index,
                bars=[bar - first for bar in written] if track.agent else (),
                autoregressive=track.agent,
                mask_bars=[
                    bar - first for bar in (masked if track.agent else range(max(first, self._piece.playhead), end))
                ],
                **(self._asked(agent, range(written.start - first, written.stop - first)) if track.agent else {}),
            )
            for index, track in enumerate(heard)
        ]
        score = self._piece.score(first, end, heard)
        session = self._engine.session(score, GenerationRequest(prompts, self._config(window, anticipated)))
        return _Task(
            number=self._sessions,
            session=session,
            first=first,
            bars=range(target, target + anticipated),
            written=written,
            agent=agent,
            place=place,
            timeout=self._parameters["gen_timeout"],
        )

    def _config(self, window: int, anticipated: int) -> InferenceConfig:
        values = self._parameters
        mode = values["mask_mode"]
        if mode.startswith("attention") or (mode == "token" and "mask_bar" not in self._engine.encoder.provides):
            mode = "attention"
        same = ("top_p", "top_k", "mask_p", "mask_k", "temperature_escalation", "novelty_check", "silence_check",
                "max_attempts", "polyphony_hard_limit", "density_hard_limit")  # fmt: skip
        agent = self._piece.agent
        own = agent.temperature if agent is not None else None
        return InferenceConfig(
            temperature=values["temperature"] if own is None else own,
            seed=values["sampling_seed"],
            model_dim=window,
            bars_per_step=anticipated,
            mask_mode=mode,
            **{name: values[name] for name in same},
        )

    def _asked(self, agent: LiveTrack, bars: range) -> dict[str, Any]:
        """Attribute levels and controls of the agent's prompt."""
        levels = {attribute.name: attribute.level for attribute in self._engine.encoder.attributes}
        of_bar = {name: level for name, level in self._attributes.items() if levels[name] == "bar"}
        of_track = {name: level for name, level in self._attributes.items() if levels[name] == "track"}
        low, high = agent.pitches
        every = (low, high) == (0, 127)
        return {
            "attributes": of_track,
            "bar_attributes": dict.fromkeys(bars, of_bar) if of_bar else {},
            "controls": {} if every else {"pitch_mask": {"pitches": list(range(low, high + 1))}},
        }

    def _prompt_state(self, task: _Task) -> dict[str, Any]:
        """C: context, T: to write, M: masked by a token, A: masked by attention or left out."""
        mode = task.session.request.config.mask_mode
        by_token = mode == "token" or (mode == "auto" and "mask_bar" in self._engine.encoder.provides)
        mask = "M" if by_token else "A"
        tracks = []
        heard = [track for track in self._piece.tracks.values() if not track.ignored or track.agent]
        num_bars = editing.num_bars(task.session.score)
        prompts = {prompt.id: prompt for prompt in task.session.request.tracks}
        for index, track in enumerate(heard):
            prompt = prompts[index]
            states = ["C"] * num_bars
            for bar in prompt.mask_bars:
                states[bar] = mask
            for bar in prompt.bars:
                states[bar] = "T"
            tracks.append({"id": track.id, "is_agent": track.agent, "states": states})
        return {
            "target_bar": task.bars.start,
            "start_bar": task.first,
            "end_bar": task.first + num_bars,
            "tracks": tracks,
        }

    def _carry_out(self, task: _Task) -> None:
        timer = threading.Timer(task.timeout, task.session.cancel) if task.timeout else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        failure: str | None = None
        score: Score | None = None
        try:
            score = task.session.run()
        except (MidigptError, ComponentError) as error:
            failure = failure_text(error)
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                self._ended(task, score, failure)

    def _ended(self, task: _Task, score: Score | None, failure: str | None) -> None:
        self._running = self._thread = None
        if task.number != self._sessions:
            # The session was stopped, or another one began and has its own bars to write.
            self._continue()
            return
        self._parameters.end_once()
        if score is None:
            self._send(
                "/error", OscError.GENERATION, failure or "the generation failed. The server's log has the cause."
            )
        elif task.session.cancelled:
            self._send("/error", OscError.GENERATION, f"bar {task.bars.start} took longer than {task.timeout:g} s.")
        else:
            self._take(task, score)
        self._send("/status", "ready")
        self._continue()

    def _continue(self) -> None:
        if self._next is not None:
            target, self._next = self._next, None
            self._begin(target)

    def _take(self, task: _Task, score: Score) -> None:
        """Keep the new bars and send them."""
        table = editing.note_table(score)
        mine = table.track == task.place
        inside = (table.bar >= task.written.start - task.first) & (table.bar < task.written.stop - task.first)
        self._piece.keep(task.agent, task.first, task.written, table.where(mine & inside))
        for bar in task.bars:
            notes = sorted(task.agent.bars[bar], key=lambda note: (note[2], note[0]))
            self._send("/generated/open", task.agent.id, bar, len(notes))
            for pitch, velocity, onset, duration in notes:
                at, lasts = min(max(onset, 0.0), _LAST_ONSET), min(max(duration, _SHORTEST), 1.0)
                self._send("/generated/note", task.agent.id, bar, pitch, velocity, at, lasts)
            self._send("/generated/close", task.agent.id, bar)
            if notes:
                quarters = self._piece.ticks(bar) / self._resolution
                described = features(notes, self._piece.signature(bar)[0], quarters)
                self._send("/generated/features", task.agent.id, bar, *described)
        levels = self._levels_of(task, score)
        if levels:
            content = {"start_bar": task.bars.start, "end_bar": task.bars.stop, "attrs": levels}
            self._send("/sampled/attrs", json.dumps(content))

    def _levels_of(self, task: _Task, score: Score) -> dict[str, int]:
        """The levels of the agent's track attributes in the window that was written."""
        encoder = self._engine.encoder
        last = task.bars.stop - task.first - 1
        part = Part(first_bar=max(0, last + 1 - self._window()), last_bar=last, tracks=(task.place,))
        levels = attribute_levels(encoder, score, part)
        return {
            attribute.name: int(levels[0, 0, number])
            for number, attribute in enumerate(encoder.attributes)
            if attribute.level == "track" and levels.size and levels[0, 0, number] >= 0
        }

    def _end_generations(self) -> None:
        self._next = None
        if self._running is not None:
            self._running.session.cancel()


def _whole(value: Any, what: str, low: int = -(2**31), high: int = 2**31 - 1) -> int:
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or not low <= number <= high:
        raise OscError(OscError.PARAMETER, f"{what} is {spell(value)}. Choose a whole number from {low} to {high}.")
    return int(number)


def _number(value: Any, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OscError(OscError.PARAMETER, f"{what} is {spell(value)}. Choose a number from {low:g} to {high:g}.")
    return float(value)
