"""Ten wrong settings: a type checker flags each line that is marked, and no other. The rest are right ones."""

from __future__ import annotations

from pathlib import Path

import rxpipe as rxp
from rxpipe.chains import with_settings

rxp.Txt2ImgConfig(promt="a lighthouse")  # wrong: name
rxp.Txt2ImgConfig(steps="many")  # wrong: type
rxp.Txt2ImgConfig(hires={"scal": 2})  # wrong: name inside a section
rxp.AdetailerConfig(mask_filter_method="area")  # wrong: none of the allowed values
rxp.PipelineConfig(stage="txt2img")  # wrong: name
rxp.txt2img("a lighthouse", imges=4)  # wrong: name
rxp.img2img(denoising_strength="strong")  # wrong: type
rxp.adetailer(units=[{"detectr": "hand_yolov8n.pt"}])  # wrong: name inside a list
CHAIN = rxp.chain(rxp.upscale(), order="stge")  # wrong: none of the allowed values
with_settings(CHAIN, timeout_s="long")  # wrong: type

rxp.Txt2ImgConfig(prompt="a lighthouse", cfg_scale=7, styles=["anime"], hires={"scale": 2}, refiner=None)
rxp.HiresConfig(scale=1.5, sampler_name=None)
rxp.RefinerConfig(checkpoint="xl", switch_at=0.5)
rxp.AdetailerConfig(units=[rxp.AdetailerUnit(detector="hand_yolov8n.pt"), {"confidence": 0.5}])
rxp.UpscaleConfig(scale=2, on_error="stop")
rxp.RunMetadata(run_id="r1", pack="mine", takes=[1, {"a": None}])
rxp.RunSettings(input=[Path("a.png")], retry=rxp.RetryConfig(attempts=1), metadata={"pack": "mine"})
rxp.PipelineConfig(order="image", out="pictures", txt2img={"prompt": "a"}, upscale=rxp.UpscaleConfig())
with_settings(rxp.chain(rxp.img2img(), rxp.upscale(scale=2), input=["a.png"], out=None), save="final")
