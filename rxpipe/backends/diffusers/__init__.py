"""Models of Stable Diffusion drawn in this process by diffusers, without a server.

```text
kind.py       what `open_backend` must know, and the options of an address
files.py      model files: where they are, what they are by their header
samplers.py   A1111's samplers and schedules as schedulers of diffusers
checks.py     a plan before it runs
backend.py    the port; task.py one drawing on the model's thread
engine.py     models in memory; loading.py, onefile.py, networks.py
stages.py     the four stages; passes.py one sampling; previews.py; upscalers.py; detectors.py (YOLO files)
embeds.py     prompts; inversions.py embeddings by their names
children.py   several devices, a process each
```

Torch and diffusers are imported on the model's thread when something is drawn first, never before.
"""
