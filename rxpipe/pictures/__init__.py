"""Pictures as bytes: PNG chunks, and what the programs that made a picture wrote into it."""
