"""The views: terminal, Tk, Qt, notebook. The only package that imports a GUI toolkit."""
