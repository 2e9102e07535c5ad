"""Config files and pictures of any tool, as the values of a config."""
