"""StableNew's presets as config values: every shape of file that holds one, every key carried over or named.

Nothing raises but ConfigError, whatever a file holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any, TypeGuard

from rxpipe.config import SECTIONS
from rxpipe.errors import ConfigError
from rxpipe.pictures.names import sampler_named, scheduler_named
from rxpipe.presets import stablenew_keys as table
from rxpipe.presets.notes import Note
from rxpipe.shown import cut, escaped, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.presets.stablenew_keys import Keys

__all__ = ["Preset", "is_preset", "preset_in", "read_preset"]

_OWN_SECTIONS = frozenset({"pipeline", "api", "video", "aesthetic", "randomization", "hires_fix"})
_FOREIGN = re.compile(
    r"enable_hr|hr_.+|hires_.+|refiner_.+|use_refiner|hypernetwork.*|face_restor.+|adetailer_.+|ad_.+|upscaling_resize"
    r"|upscale_mode|model_name|vae_name|prompt_adjust|negative_adjust|mask_mode|n_iter|batch_count|codeformer_.+|tile_size"
)
_FOREIGN_NEEDED = 3
_PIPELINE_KEYS = frozenset(
    {
        "txt2img_enabled",
        "img2img_enabled",
        "upscale_enabled",
        "adetailer_enabled",
        "images_per_prompt",
        "loop_type",
        "loop_count",
        "pack_mode",
    }
)
_APPLICATION = re.compile(r"(webui|comfy|queue|window|gui)_.+|output_dir|prompt_optimizer|api_.+|model_dir|watchdog.*")
_NAMES = ("txt2img", "img2img", "adetailer", "upscale")
_NOTHING = frozenset({"", "none", "null", "inherit", "automatic", "default", "use same sampler", "use base model"})
_FIGURES = 6  # digits that a number has behind its point; StableNew's sliders write 6.499999999999998
_MODES = frozenset({"single", "img2img"})


class Preset:
    """A preset as it was read.

    values: of a config. notes: about its keys. matrix: the values of each slot, and how they are chosen; None where the
    preset has none. global_negative: whether the text that StableNew excludes from every picture belongs to it;
    asks_for_global: whether a key says so.
    """

    def __init__(self, values: dict[str, Any], notes: list[Note], matrix: Mapping[str, Any] | None) -> None:
        self.values = values
        self.notes = notes
        self.matrix = matrix
        self.global_negative = False
        self.asks_for_global = False


def is_preset(values: Mapping[str, object]) -> bool:
    """Whether values of a JSON file are one of StableNew's shapes and no config of rxpipe."""
    return is_marked(values) or _foreign(values) >= _FOREIGN_NEEDED


def is_marked(values: Mapping[str, object]) -> bool:
    """Whether values of any file have a section that only StableNew's files have."""
    if isinstance(values.get("preset_data"), Mapping) or "pack_data" in values:
        return True
    if isinstance(values.get("config"), Mapping) and not SECTIONS.keys() & values.keys():
        return True
    if any(isinstance(values.get(name), Mapping) for name in _OWN_SECTIONS):
        return True
    return len(_PIPELINE_KEYS & values.keys()) > 1


def _foreign(values: Mapping[str, object]) -> int:
    return sum(_FOREIGN.fullmatch(str(key)) is not None for name in _NAMES for key in _table(values.get(name)))


def is_application(values: Mapping[str, object]) -> bool:
    """Whether values of a file are settings of StableNew's window only."""
    return bool(values) and all(_APPLICATION.fullmatch(str(key)) for key in values)


def preset_in(values: Mapping[str, object]) -> Mapping[str, object]:
    """Return the preset within a file of any shape."""
    for key in ("preset_data", "config"):
        inner = values.get(key)
        if isinstance(inner, Mapping) and not SECTIONS.keys() & values.keys():
            controls = values.get("pipeline_controls")
            return (
                inner if not isinstance(controls, Mapping) or "pipeline" in inner else {**inner, "pipeline": controls}
            )
    if "pack_data" in values and not SECTIONS.keys() & values.keys():
        return {}
    if _PIPELINE_KEYS & values.keys() and not SECTIONS.keys() & values.keys() and "pipeline" not in values:
        return {"pipeline": dict(values)}
    return values


def read_preset(values: Mapping[str, object], where: str) -> Preset:
    """Return a preset as config values, with a note for each key that they leave out or read in another way.

    Args:
        values: of a file of any shape. where: names the file in errors.

    Raises:
        ConfigError: a section is no table.
    """
    preset = preset_in(values)
    problems = [
        f"{where}: {name}: got {shown(preset[name])}, should be a section, a table of settings"
        for name in (*_NAMES, *sorted(_OWN_SECTIONS))
        if name in preset and not isinstance(preset[name], Mapping) and preset[name] is not None
    ]
    if problems:
        raise ConfigError(problems)
    return _Reading(preset).result()


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class _Reading:
    """The reading of one preset."""

    def __init__(self, preset: Mapping[str, object]) -> None:
        self.preset = preset
        self.notes: list[Note] = []
        self.used: dict[str, set[str]] = {}
        self.pipeline = _table(preset.get("pipeline"))

    def result(self) -> Preset:
        values: dict[str, Any] = {}
        for name, read in (
            ("txt2img", self._txt2img),
            ("img2img", self._img2img),
            ("adetailer", self._adetailer),
            ("upscale", self._upscale),
        ):
            enabled = self._enabled(name)
            if enabled or self.preset.get(name):
                values[name] = {**read(), **({} if enabled else {"enabled": False})}
        self._run(values)
        self._hires_and_more(values)
        matrix = self._matrix(values)
        self._name_the_rest()
        found = Preset(values, self.notes, matrix)
        asked = self._take("pipeline", "apply_global_negative_txt2img")
        found.global_negative, found.asks_for_global = asked is not False, asked is True
        for stage in ("img2img", "upscale"):
            self._take("pipeline", f"apply_global_negative_{stage}")
        return found

    def _note(self, kind: Any, key: str, reason: str, *, active: bool = False) -> None:
        self.notes.append(Note(kind, escaped(cut(key)), reason, active))

    def _take(self, section: str, key: str) -> Any:
        self.used.setdefault(section, set()).add(key)
        return _table(self.preset.get(section)).get(key)

    # -- stages -------------------------------------------------------------------------------------------------------

    def _enabled(self, name: str) -> bool:
        """Return whether a stage runs: the pipeline's flag, else the section's own, else txt2img only."""
        flag = self._take("pipeline", f"{name}_enabled")
        own_keys = ("enabled", f"{name}_enabled") if name == "adetailer" else ("enabled",)
        own = {key: value for key in own_keys if isinstance(value := self._take(name, key), bool)}
        for key, value in own.items():
            if isinstance(flag, bool) and value is not flag:
                self._note(
                    "contradiction", f"{name}.{key}", f"{value}, but pipeline.{name}_enabled is {flag} and decides"
                )
        if isinstance(flag, bool):
            return flag
        return next(reversed(own.values()), name == "txt2img")

    def _section(self, section: str, keys: Iterable[Keys]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for each in keys:
            given = [(key, value) for key in each.keys if _says(value := self._take(section, key))]
            if not given:
                continue
            values[each.setting] = self._plain(given[0][1])
            for key, value in given[1:]:
                if self._plain(value) != values[each.setting]:
                    reason = f"{shown(value)}, but {given[0][0]} is {shown(given[0][1])} and decides"
                    self._note("contradiction", f"{section}.{key}", reason)
        return self._named(section, values)

    def _plain(self, value: Any) -> Any:
        return round(value, _FIGURES) if isinstance(value, float) else value

    def _named(self, section: str, values: dict[str, Any]) -> dict[str, Any]:
        """Split a sampler that holds its schedule, and spell both as A1111 does."""
        sampler, scheduler = values.get("sampler_name"), values.get("scheduler")
        if isinstance(scheduler, str) and (known := scheduler_named(scheduler)) is not None:
            values["scheduler"] = known
        if isinstance(sampler, str) and (found := sampler_named(sampler)) is not None:
            values["sampler_name"] = found.sampler
            if found.scheduler is not None:
                values.setdefault("scheduler", found.scheduler)
                self._note("read as", f"{section}.sampler_name", f"{found.sampler} with schedule {values['scheduler']}")
        return values

    def _txt2img(self) -> dict[str, Any]:
        values = self._section("txt2img", table.TXT2IMG)
        hires = self._section("txt2img", table.HIRES)
        enabled = self._take("txt2img", "enable_hr")
        if enabled is None and isinstance(twin := self._take("hires_fix", "hires_enabled"), bool):
            hires, enabled = self._section("hires_fix", table.HIRES_SECTION), twin
        if hires.keys() - {"denoising_strength"} or enabled:
            values["hires"] = {**hires, **({} if enabled else {"enabled": False})}
        refiner = self._refiner(values)
        return {**values, **({"refiner": refiner} if refiner else {})}

    def _refiner(self, values: Mapping[str, Any]) -> dict[str, Any]:
        names = [self._take("txt2img", key) for key in ("refiner_checkpoint", "refiner_model_name")]
        flags = [self._take("txt2img", key) for key in ("use_refiner", "refiner_enabled")]
        switch, steps = self._take("txt2img", "refiner_switch_at"), self._take("txt2img", "refiner_switch_steps")
        name = next((value for value in names if _says(value)), None)
        if name is None:
            return {}
        refiner: dict[str, Any] = {"checkpoint": name}
        if _is_number(switch):
            refiner["switch_at"] = self._share(switch)
        total = values.get("steps")
        if _is_number(steps) and steps > 0 and _is_number(total) and total > 0:
            refiner["switch_at"] = round(min(1.0, steps / total), _FIGURES)
            self._note("read as", "txt2img.refiner_switch_steps", f"switch_at {refiner['switch_at']:g}")
        if False in flags:
            refiner["enabled"] = False
        return refiner

    def _share(self, switch: float) -> float:
        if switch <= 1:
            return round(switch, _FIGURES)
        self._note("read as", "txt2img.refiner_switch_at", f"{shown(switch)} is percent: {switch / 100:g}")
        return round(switch / 100, _FIGURES)

    def _img2img(self) -> dict[str, Any]:
        values = self._section("img2img", table.IMG2IMG)
        adjust = self._take("img2img", "negative_adjust")
        if isinstance(adjust, str) and adjust.strip():
            base = values.get("negative_prompt") or _table(self.preset.get("txt2img")).get("negative_prompt") or ""
            values["negative_prompt"] = f"{base}, {adjust}" if base else adjust
        return values

    def _adetailer(self) -> dict[str, Any]:
        unit = self._unit(self._section("adetailer", table.ADETAILER))
        use_size = self._take("adetailer", "ad_use_inpaint_width_height")
        if use_size is not True:
            unit.pop("inpaint_width", None)
            unit.pop("inpaint_height", None)
        for key, name in (("use_separate_steps", "steps"), ("use_separate_cfg", "cfg_scale")):
            if self._take("adetailer", key) is False:
                unit.pop(name, None)
        hands = self._unit(self._section("adetailer", table.HANDS))
        size = self._take("adetailer", "ad_hands_use_inpaint_width_height")
        if size is not True:
            hands = {name: value for name, value in hands.items() if name not in {"inpaint_width", "inpaint_height"}}
        if self._take("adetailer", "ad_hands_enabled") is True:
            unit["units"] = [{"detector": "hand_yolov8s.pt", **hands}]
        return unit

    def _unit(self, unit: dict[str, Any]) -> dict[str, Any]:
        method = unit.get("mask_filter_method")
        if isinstance(method, str) and method not in {"Area", "Confidence"}:
            unit.pop("mask_filter_method")
            self._note("no effect", "adetailer.ad_mask_filter_method", f"{shown(method)}; allowed: Area, Confidence")
        return unit

    def _upscale(self) -> dict[str, Any]:
        values = self._section("upscale", table.UPSCALE)
        mode = values.get("mode")
        if isinstance(mode, str) and mode.casefold() in _MODES:
            values["mode"] = mode.casefold()
        return values

    # -- the run ------------------------------------------------------------------------------------------------------

    def _run(self, values: dict[str, Any]) -> None:
        counts = [
            self._take("pipeline", "images_per_prompt"),
            self._take("pipeline", "n_iter"),
            self._take("txt2img", "n_iter"),
        ]
        if self._take("pipeline", "loop_type") == "pipeline":
            counts.append(self._take("pipeline", "loop_count"))
        elif (loops := self._take("pipeline", "loop_count")) not in (None, 1):
            self._note("no effect", "pipeline.loop_count", f"{shown(loops)}: only loop_type pipeline draws it again")
        images = 1
        for count in counts:
            images *= count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 1
        first = next(
            (name for name in ("txt2img", "img2img") if values.get(name, {}).get("enabled", name in values)), None
        )
        if images > 1 and first is not None:
            values[first]["images"] = images
        self._seed(values)
        self._folder(values)

    def _seed(self, values: dict[str, Any]) -> None:
        mode = self._take("pipeline", "seed_mode")
        seed = values.get("txt2img", {}).get("seed")
        if mode == "random" and isinstance(seed, int) and seed >= 0:
            self._note("contradiction", "txt2img.seed", f"{seed}, but pipeline.seed_mode is random and decides")
            values["txt2img"]["seed"] = -1

    def _folder(self, values: dict[str, Any]) -> None:
        folder = self._take("pipeline", "output_dir")
        if not isinstance(folder, str) or not folder.strip():
            return
        if PureWindowsPath(folder).drive or PureWindowsPath(folder).root:
            reason = f"{shown(folder)} is of another machine; give --out"
            self._note("no effect", "pipeline.output_dir", reason)
        else:
            values["out"] = folder

    def _hires_and_more(self, values: Mapping[str, Any]) -> None:
        hires = values.get("txt2img", {}).get("hires", {})
        later = [name for name in _NAMES[1:] if name in values and values[name].get("enabled", True)]
        if hires and hires.get("enabled", True) and later:
            self._note("contradiction", "txt2img.enable_hr", f"the hires fix is on beside {', '.join(later)}: both run")

    def _matrix(self, values: dict[str, Any]) -> Mapping[str, Any] | None:
        randomization = _table(self.preset.get("randomization"))
        matrix = _table(randomization.get("matrix"))
        on = bool(randomization.get("enabled")) and bool(matrix.get("enabled"))
        self.used.setdefault("randomization", set()).update({"enabled", "matrix", "seed", "max_variants"})
        for key in ("prompt_sr", "wildcards"):
            inner = _table(randomization.get(key))
            self.used["randomization"].add(key)
            if randomization.get("enabled") and inner.get("enabled") and (inner.get("rules") or inner.get("tokens")):
                self._note(
                    "no effect", f"randomization.{key}", "rxpipe takes its variants on the command line", active=True
                )
        base = matrix.get("base_prompt")
        section = values.get("txt2img")
        if on and isinstance(base, str) and base.strip() and isinstance(section, dict) and not section.get("prompt"):
            section["prompt"] = base
        return matrix if on else None

    # -- what is left -------------------------------------------------------------------------------------------------

    def _name_the_rest(self) -> None:
        for key, value in self.preset.items():
            name = str(key)
            if name in (*_NAMES, "pipeline", "hires_fix", "randomization") and isinstance(value, Mapping):
                self._name_keys(name, value)
            elif value not in (None, {}, []):
                known = table.NO_EFFECT[""].get(name)
                active = name == "aesthetic" and bool(_table(value).get("enabled"))
                self._note("no effect", name, known or "neither StableNew nor rxpipe knows it", active=active)

    def _name_keys(self, section: str, values: Mapping[str, Any]) -> None:
        known = table.NO_EFFECT.get(section, {})
        pattern, reason = table.NO_EFFECT_IN.get(section, ("", ""))
        for key, value in values.items():
            name = str(key)
            if name in self.used.get(section, ()) or (name.startswith("apply_global_negative_") and name not in known):
                continue
            why = known.get(name) or (reason if pattern and re.fullmatch(pattern, name) else None)
            active = why is None or (why.startswith("rxpipe has no") and _says(value) and not _is_off(name, value))
            self._note("no effect", f"{section}.{name}", why or "neither StableNew nor rxpipe knows it", active=active)


def _says(value: object) -> bool:
    """Whether a value says anything: StableNew writes empty texts and "None" where it means nothing."""
    return value is not None and not (isinstance(value, str) and value.strip().casefold() in _NOTHING) and value != []


def _is_off(name: str, value: object) -> bool:
    """Whether a value is the one that switches its key off."""
    return value in (False, 0, -1, "single") or (name == "hypernetwork_strength")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
