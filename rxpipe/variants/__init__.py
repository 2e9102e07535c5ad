"""Variants: many settings from one config, made one by one when they are drawn.

```text
syntax.py      a prompt's text as a tree: {a|b}, {2$$a|b}, __wildcard__, [[slot]], ${name}
wildcards.py   the values of __wildcards__: files, folders, YAML
choices.py     the tree's combinations: how many, the n-th, one by chance
axes.py        sweeps over settings, and search and replace
source.py      Variants: how many, the settings of each image, what is recorded about it
```

The n-th variant is computed from n: nothing is listed, whatever their number.
"""
