"""The node classes that the server knows: `/object_info` in the shape of its release, filled with its own lists."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rxpipe.testing.servers.comfyui.versions import Version, recorded_answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.servers.comfyui.files import FileStore

Pack = Literal["impact", "subpack", "tooling", "websocket", "probes"]
PACKS: tuple[Pack, ...] = ("impact", "subpack", "tooling", "websocket", "probes")
"""The custom nodes of the recorded server; `probes` are nodes that send text, raise or sleep."""

MODELS: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("tiny-a.safetensors", "tiny-b.safetensors"),
    "loras": ("tiny-lora.safetensors",),
    "vae": ("tiny-vae.safetensors",),
    "upscale_models": ("tiny-esrgan-x2.safetensors", "tiny-esrgan-x4.safetensors"),
    "embeddings": ("tiny-emb.safetensors",),
    "ultralytics": ("bbox/face_yolov8n.pt",),
    "onnx": ("no-face.onnx", "one-face.onnx", "two-faces.onnx"),
}
"""The model files of the recorded server, by folder."""

_MODULES: dict[str, Pack] = {
    "custom_nodes.ComfyUI-Impact-Pack": "impact",
    "custom_nodes.ComfyUI-Impact-Subpack": "subpack",
    "custom_nodes.comfyui-tooling-nodes": "tooling",
    "custom_nodes.websocket_image_save": "websocket",
    "custom_nodes.rec_nodes": "probes",
}
_FOLDERS = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("VAELoader", "vae_name"): "vae",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("ControlNetLoader", "control_net_name"): "controlnet",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name1"): "text_encoders",
    ("TripleCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name3"): "text_encoders",
    ("UltralyticsDetectorProvider", "model_name"): "ultralytics",
    ("ONNXDetectorProvider", "model_name"): "onnx",
    ("LoadMediaPipeFaceLandmarker", "model_name"): "detection",
}
_FILES = {("LoadImage", "image"): "input", ("LoadImageMask", "image"): "input"}
_LISTS_FILES = frozenset(name for name, _ in _FILES)
_ALWAYS = {"vae": ("pixel_space",)}


@dataclass(frozen=True, slots=True)
class Catalog:
    """The classes of one server.

    models: folder to file names. packs: the custom nodes that are installed.
    """

    version: Version
    models: Mapping[str, Sequence[str]]
    packs: Sequence[str]
    files: FileStore
    _known: dict[str, dict[str, Any] | None] = field(default_factory=dict, compare=False)

    def info(self, name: str) -> dict[str, Any] | None:
        """Return the `/object_info` of a class, None where there is none. Not to be changed."""
        if name not in self._known or name in _LISTS_FILES:
            self._known[name] = self._info(name)
        return self._known[name]

    def _info(self, name: str) -> dict[str, Any] | None:
        known = _OWN.get(name) or recorded_answers()["object_info"].get(name)
        if known is None:
            return None
        if known["python_module"] == "comfy_extras.nodes_mediapipe" and not self.version.has("face landmarks"):
            return None
        pack = _MODULES.get(known["python_module"])
        if pack is not None and pack not in self.packs:
            return None
        recorded = self.version.recorded["own"].get(name)
        shown: dict[str, Any] = deepcopy(recorded or known)
        for group in shown["input"].values():
            for input_name, spec in group.items():
                group[input_name] = self._filled(name, input_name, spec)
        if recorded or self.version.is_newest:
            return shown
        new_style = "price_badge" in shown and self.version.has("typed lists")
        return {key: shown[key] for key in self.version.recorded["v3" if new_style else "v1"] if key in shown}

    def names(self) -> list[str]:
        """Return the names of every class, those of the core first."""
        return [name for name in (*recorded_answers()["object_info"], *_OWN) if self.info(name) is not None]

    def folder(self, name: str) -> list[str] | None:
        """Return the file names of a folder of models, None where there is no such folder."""
        known = self.version.recorded["folders"] or recorded_answers()["versions"]["0.3.64"]["folders"]
        if name not in known and name not in self.models:
            return None
        return list(self.models.get(name, ()))

    def _filled(self, name: str, input_name: str, spec: list[Any]) -> list[Any]:
        """Return an input's declaration with this server's list in it, in the shape of its release."""
        typed, options = _is_typed(spec), (spec[1] if len(spec) > 1 else {})
        listed = options.get("options") if typed else spec[0]
        listed = self._list(name, input_name, listed)
        if listed is None:
            return spec
        if not typed:
            return [listed, *spec[1:]]
        if self.version.has("typed lists"):
            return [spec[0], {**options, "options": listed}]
        plain = {key: value for key, value in options.items() if key not in ("options", "multiselect")}
        return [listed, plain] if plain else [listed]

    def _list(self, name: str, input_name: str, listed: Any) -> list[str] | None:
        if listed == "$samplers" or listed == "$schedulers":  # noqa: PLR1714  # read as two names
            return list(self.version.recorded[listed[1:]])
        if folder := _FOLDERS.get((name, input_name)):
            return [*self.models.get(folder, ()), *_ALWAYS.get(folder, ())]
        if kind := _FILES.get((name, input_name)):
            return self.files.names(kind)
        return listed if isinstance(listed, list) else None


def _is_typed(spec: Sequence[Any]) -> bool:
    return bool(spec[0] == "COMBO")


def _own(name: str, inputs: dict[str, Any], outputs: list[str], module: str, *, ends: bool) -> dict[str, Any]:
    return {
        "input": {"required": inputs},
        "input_order": {"required": list(inputs)},
        "is_input_list": False,
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": outputs,
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": f"custom_nodes.{module}",
        "category": "api/image" if module == "websocket_image_save" else "rec",
        "output_node": ends,
        "has_intermediate_output": False,
        "search_aliases": [],
    }


_OWN = {
    "SaveImageWebsocket": _own("SaveImageWebsocket", {"images": ["IMAGE"]}, [], "websocket_image_save", ends=True),
    "RecText": _own("RecText", {"text": ["STRING", {"default": ""}]}, [], "rec_nodes", ends=True),
    "RecFail": _own("RecFail", {"image": ["IMAGE"], "kind": [["oom", "runtime"]]}, ["IMAGE"], "rec_nodes", ends=False),
    "RecSleep": _own(
        "RecSleep",
        {"image": ["IMAGE"], "seconds": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 60.0}]},
        ["IMAGE"],
        "rec_nodes",
        ends=False,
    ),
    "RecSleepOut": _own(
        "RecSleepOut",
        {"image": ["IMAGE"], "seconds": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 60.0}]},
        [],
        "rec_nodes",
        ends=True,
    ),
}
