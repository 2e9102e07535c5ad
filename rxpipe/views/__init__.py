"""What a person sees: terminal, Tk, Qt, notebook. The only place that knows a GUI toolkit."""
