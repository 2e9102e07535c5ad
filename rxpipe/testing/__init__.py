"""Testing streams and pipelines in virtual time: part of the product."""
